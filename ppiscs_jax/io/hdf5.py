"""HDF5 files: made in memory and written whole; read with nothing in them trusted.

Only what this package writes is read: numbers and text of fixed length, in the file itself,
compressed with deflate alone. Text of variable length, links to other files, other filters and
compressed data that expand to more than they should are what files can do harm with.
"""

import errno
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ppiscs_jax.files import naming
from ppiscs_jax.io.schema import Schema


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


UNREADABLE = (OSError, LookupError, TypeError, ValueError, RuntimeError, AttributeError)
"""Exceptions that h5py raises for damaged files."""

LONGEST_TEXT = 10_000
"""Bytes of an attribute; the longest one here is 300."""

DEFLATE, SHUFFLE = h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE


def variable_text(holder: h5py.Group, name: str) -> bool:
    """Whether an attribute is text of variable length."""
    kind = h5py.h5a.open(holder.id, name.encode()).get_type()
    return isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()


def read_variable_texts(path: Path, names: Sequence[str]) -> dict[str, str]:
    """Attributes of a file that are text of variable length, as older files have them.

    HDF5 can be led into endless loops by them, so that another process reads them.

    Raises:
        ValueError: they are damaged; it took longer than SECONDS.
    """
    arguments = [sys.executable, "-I", "-c", _READ_TEXTS, str(path), *names]
    # OpenBLAS would reserve memory for many threads.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            arguments, check=True, capture_output=True, timeout=SECONDS, env=environment
        )
    except subprocess.SubprocessError:
        raise ValueError("damaged, its texts cannot be read") from None
    texts = json.loads(done.stdout)
    return {name: str(texts[name]) for name in names}


SECONDS = 30.0
"""A process that reads the attributes of a file takes half a second, more on a loaded machine."""

_READ_TEXTS = f"""
import sys, json
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    resource.setrlimit(resource.RLIMIT_CPU, (3, 3))
except (ImportError, ValueError, OSError):
    pass
import h5py
with h5py.File(sys.argv[1], "r") as file:
    texts = {{name: str(file.attrs[name])[:{LONGEST_TEXT}] for name in sys.argv[2:]}}
sys.stdout.write(json.dumps(texts))
"""


def attribute(holder: h5py.Group, name: str) -> Any:
    """An attribute: text, a number, or a list of some numbers.

    Raises:
        ValueError: it is something else.
        KeyError: there is none of that name.
    """
    there = h5py.h5a.open(holder.id, name.encode())
    kind = there.get_type()
    known = isinstance(kind, h5py.h5t.TypeStringID | h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID)
    if not known or (isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()):
        raise ValueError(f"attribute {name} is neither a number nor text of fixed length")
    if len(there.shape) > 1 or there.get_storage_size() > LONGEST_TEXT:
        raise ValueError(f"attribute {name} is too large")
    value = np.empty(there.shape, there.dtype)
    there.read(value)
    return value.tolist() if value.ndim else plain(value[()])


def read_arrays(group: h5py.Group, schema: Schema) -> dict[str, np.ndarray]:
    """The arrays of a schema, of which types and shapes are checked before they are read.

    Raises:
        ValueError, KeyError, OSError: they are damaged, or not as the schema says. Values are
            not checked.
    """
    there = {name: _dataset(group, name) for name in schema.names(list(group))}
    schema.sizes({n: d.shape for n, d in there.items()}, {n: d.dtype for n, d in there.items()})
    return {name: _values(name, dataset) for name, dataset in there.items()}


def _dataset(group: h5py.Group, name: str) -> h5py.h5d.DatasetID:
    if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise ValueError(f"{name} is elsewhere")
    dataset = h5py.h5o.open(group.id, name.encode())
    if not isinstance(dataset, h5py.h5d.DatasetID) or dataset.shape is None:
        raise ValueError(f"{name} is not an array")
    return dataset


def _values(name: str, dataset: h5py.h5d.DatasetID) -> np.ndarray:
    """Values of a dataset that is not compressed, or compressed as one chunk."""
    created, shape, dtype = dataset.get_create_plist(), dataset.shape, dataset.dtype
    layout = created.get_layout()
    if layout == h5py.h5d.VIRTUAL or created.get_external_count():
        raise ValueError(f"{name} is in another file")
    if layout != h5py.h5d.CHUNKED:
        return h5py.Dataset(dataset)[...]
    filters = [created.get_filter(i)[0] for i in range(created.get_nfilters())]
    if created.get_chunk() != shape or filters not in ([SHUFFLE, DEFLATE], [DEFLATE], []):
        raise ValueError(f"{name} is stored in a way that is not read")
    size = dtype.itemsize * prod(shape)
    if dataset.get_storage_size() > size + size // 8 + 1000:
        raise ValueError(f"{name} takes more than it holds")
    mask, content = dataset.read_direct_chunk((0,) * len(shape))
    if mask:
        raise ValueError(f"{name} is stored in a way that is not read")
    if DEFLATE in filters:
        # HDF5 itself would expand to any size.
        inflate = zlib.decompressobj()
        try:
            content = inflate.decompress(content, size + 1)
        except zlib.error as error:
            raise ValueError(f"{name}: {error}") from None
    if len(content) != size:
        raise ValueError(f"{name} does not hold as much as it says")
    if SHUFFLE in filters:
        planes = np.frombuffer(content, np.uint8).reshape(dtype.itemsize, -1)
        content = np.ascontiguousarray(planes.T).data
    return np.frombuffer(content, dtype).reshape(shape)


def plain(value: Any) -> Any:
    """An attribute as it was written: text, number."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode() if isinstance(value, bytes) else value
