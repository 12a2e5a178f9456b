"""HDF5 files that are made in memory and written whole, without what HDF5 trips over."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np


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
