"""Arrays from .npz files that anybody may have written.

NumPy's own reader trusts what a file says of its sizes, and parses headers of any length.
"""

import ast
import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from ppiscs_jax.errors import InputError, shown
from ppiscs_jax.files import require_file
from ppiscs_jax.io.schema import Schema

MOST_BYTES = 256 * 2**20
"""Bytes of all arrays of a file, unpacked: twice those of the largest surrogate shipped."""

MOST_DIRECTORY = 2**20
"""Bytes of the list of members at the end of a .npz file: some ten thousand arrays."""

CHUNK = 2**18
"""Bytes that are unpacked at a time: much larger parts are copied more often."""

MOST_HEADER = 1000
"""Characters in which an array says its type and shape; what it is parsed with (`ast`) takes a
thousand times more memory than that."""

LONGEST_TEXT = 100_000
"""Characters of a text."""

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions of `zipfile`, `zlib` and `ast` for files that are not whole .npz, and of schemas;
RuntimeError for encrypted members, RecursionError among them."""


class _Bounded(io.BufferedReader):
    """A file of which no more than `most` bytes can be read at once, unless that is None."""

    most: int | None = MOST_DIRECTORY

    def read(self, size: int | None = -1) -> bytes:
        if self.most is not None and (size is None or size < 0):
            size = self.most
        if self.most is not None and size is not None and size > self.most:
            raise ValueError("its list of members is too long")
        return super().read(size)


class NpzArrays:
    """The arrays of an open .npz file by name, each read when it is asked for."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = MOST_BYTES
        self.names = [n.removesuffix(".npy") for n in archive.namelist()]

    def text(self, name: str) -> str:
        """A text.

        Raises:
            ValueError: it is not text, or too long.
        """
        with self._archive.open(f"{name}.npy") as member:
            dtype, shape, _ = _header(member)
            if dtype.kind != "U" or shape or dtype.itemsize > 4 * LONGEST_TEXT:
                raise ValueError(f"{name} is not text of at most {LONGEST_TEXT} characters")
            return str(np.frombuffer(self._content(member, dtype.itemsize), dtype)[0])

    def read(self, schema: Schema) -> dict[str, np.ndarray]:
        """The arrays of a schema, checked.

        Raises:
            ValueError: they are not as the schema says.
        """
        with ExitStack() as opened:
            # Unpacking begins with the headers, and goes on once the sizes are known to fit.
            members = {
                name: opened.enter_context(self._archive.open(f"{name}.npy"))
                for name in schema.names(self.names)
            }
            declared = {name: _header(member) for name, member in members.items()}
            shapes = {name: shape for name, (_, shape, _) in declared.items()}
            schema.sizes(shapes, {name: dtype for name, (dtype, _, _) in declared.items()})
            arrays = {name: self._array(members[name], *of) for name, of in declared.items()}
        schema.check(arrays)
        return arrays

    def _array(
        self, member: IO[bytes], dtype: np.dtype, shape: tuple[int, ...], fortran: bool
    ) -> np.ndarray:
        content = self._content(member, dtype.itemsize * prod(shape))
        return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")

    def _content(self, member: IO[bytes], size: int) -> np.ndarray:
        self._left -= size
        if self._left < 0:
            raise ValueError(f"more than {MOST_BYTES} bytes of arrays")
        content, filled = np.empty(size, np.uint8), 0
        while part := member.read(min(CHUNK, size - filled)):
            content[filled : filled + len(part)] = np.frombuffer(part, np.uint8)
            filled += len(part)
        # Read to the end, so that the checksum is compared.
        if filled != size or member.read(1):
            raise ValueError("an array is not as long as it says")
        return content


def _header(member: IO[bytes]) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Type, shape, and whether an array is in Fortran's order, from the start of a member."""
    magic = member.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6] not in (1, 2, 3):
        raise ValueError("a member is not an array")
    length = int.from_bytes(member.read(2 if magic[6] == 1 else 4), "little")
    if length > MOST_HEADER:
        raise ValueError("an array's header is too long")
    said = ast.literal_eval(member.read(length).decode("latin-1").strip())
    shape, order = said["shape"], said["fortran_order"]
    if not isinstance(said["descr"], str):
        raise ValueError(f"an array of {shown(said['descr'])}")
    dtype = np.dtype(said["descr"])
    whole = isinstance(shape, tuple) and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    if dtype.kind not in "fiuU" or not whole or not isinstance(order, bool):
        raise ValueError(f"an array of {shown(dtype)}, shape {shown(shape)}")
    return dtype, shape, order


@contextmanager
def reading_npz(path: str | Path, file_format: str, what: str) -> Iterator[NpzArrays]:
    """The arrays of a .npz file whose entry `format` says what it holds; no pickles.

    Raises:
        InputError: it is damaged, of another format, or not as a schema says that is read from
            it. `what` names its content.
        FileNotFoundError: there is no such file.
    """
    require_file(path)
    try:
        with _opened(path) as arrays:
            if (found := arrays.text("format")) != file_format:
                raise InputError(f"{path}: its format is {found[:80]}, not {file_format}")
            yield arrays
    except UNREADABLE as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a file of {what} ({error})") from error


def npz_format(path: str | Path) -> str:
    """The entry `format` of a .npz file; "" if it cannot be read."""
    try:
        with _opened(path) as arrays:
            return arrays.text("format")
    except UNREADABLE:
        return ""


@contextmanager
def _opened(path: str | Path) -> Iterator[NpzArrays]:
    with _Bounded(io.FileIO(path)) as file, zipfile.ZipFile(file) as archive:
        file.most = None
        for member in archive.infolist():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{shown(member.filename)} is compressed in another way")
        yield NpzArrays(archive)
