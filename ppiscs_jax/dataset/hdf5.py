"""HDF5 files that are made in memory and written whole, without what HDF5 trips over."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ppiscs_jax.files import naming


@contextmanager
def new_hdf5(path: Path, libver: str | None = None) -> Iterator[h5py.File]:
    """An HDF5 file to be filled, which is written to the path in the end.

    Where the disk is full this raises OSError; HDF5 2.0 writing by itself crashes the process.
    """
    options = {"libver": libver, "driver": "core", "backing_store": False}
    with h5py.File(path, "w", **options) as file:
        yield file
        file.flush()
        image = file.id.get_file_image()
    path.write_bytes(image)


@contextmanager
def reading_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file to be read.

    Raises:
        OSError: with the number and the name of the file where the system could not read it, be
            it for a moment; without a number where the file is damaged, as h5py does.
    """
    try:
        # Where a disk fails, HDF5 may say the same as of a damaged file.
        path.read_bytes()
    except OSError as error:
        raise naming(error, path) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        if error.errno is not None:
            held = isinstance(error, BlockingIOError)
            reason = "another program has it open" if held else os.strerror(error.errno)
            raise OSError(error.errno, reason, str(path)) from error
        if "already open for write" in str(error):
            # A mark in the file, which holds what was written: it stays where a writer died.
            reason = "marked as open for writing; if no program has it open, run h5clear -s on it"
            raise OSError(errno.EBUSY, reason, str(path)) from error
        raise
    with file:
        yield file


def of_the_system(error: Exception) -> bool:
    """Whether reading failed for a reason outside of the file."""
    return isinstance(error, OSError) and error.errno is not None


def fixed_text(value: Any) -> Any:
    """Text of fixed length for an attribute; anything else as it is.

    HDF5 keeps text of variable length in a heap without checksum, and reading a heap in which
    one bit has changed may never end.
    """
    if not isinstance(value, str):
        return value
    content = value.encode()
    return np.array(content, dtype=h5py.string_dtype("utf-8", max(1, len(content))))


def plain(value: Any) -> Any:
    """An attribute as it was written: text, number."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode() if isinstance(value, bytes) else value
