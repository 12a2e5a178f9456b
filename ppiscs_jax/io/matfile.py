"""Variables of .mat files (MATLAB 5 to 7.2) that anybody may have written.

Written in Python, so that no file can crash the process: SciPy's reader trusts lengths and types
that a file states. Format: "MAT-File Format" (MathWorks), level 5. Arrays of numbers, cells and
structs are read, as files of this package and libraries need them; of others the kind is reported.
"""

import struct
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.errors import InputError
from ppiscs_jax.reading import read_bytes

MOST_FILE = 64 * 2**20
"""Bytes of a file: twenty times the published network."""

MOST_UNPACKED = 128 * 2**20
"""Bytes of all compressed variables together, unpacked."""

MOST_NUMBERS = 2**24
"""Numbers in all arrays together; a byte of a file can become eight."""

MOST_ARRAYS = 10_000
"""Arrays, those in cells and structs included: each costs some hundred bytes, however small."""

NESTING = 8
"""Levels of cells and structs."""

STORED = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
"""Data types by their numbers in the format."""

COMPRESSED, MATRIX = 15, 14

NUMBERS = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
"""Classes of numeric arrays by their numbers in the format."""

CELL, STRUCT, OPAQUE = 1, 2, 17
OTHERS = {3: "object", 4: "text", 5: "sparse", 16: "function"}
COMPLEX = 0x0800


@dataclass(frozen=True)
class Other:
    """A variable that is reported but not read."""

    kind: str
    shape: tuple[int, ...] = ()


def read_mat(path: str | Path) -> dict[str, Any]:
    """The variables of a .mat file by name.

    Returns:
        Arrays of numbers as NumPy arrays, cells as lists in MATLAB's order, structs of one element
        as dictionaries, everything else as `Other`.

    Raises:
        InputError: the file is not such a file, is damaged, or is too large.
        FileNotFoundError: there is no such file.
    """
    content = read_bytes(path, MOST_FILE)
    if content[:8] == b"\x89HDF\r\n\x1a\n" or content[512:520] == b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path}: of MATLAB 7.3; save it with -v7")
    try:
        return _Reader(content).variables()
    except (ValueError, LookupError, struct.error, zlib.error, MemoryError) as error:
        raise InputError(f"{path}: not a .mat file of MATLAB 5 to 7.2 ({error})") from error


def described(value: Any) -> str:
    """Shape and kind of a variable, for messages."""
    if isinstance(value, dict):
        return "1×1 struct"
    if isinstance(value, list):
        return f"cell of {len(value)}"
    kind, shape = (
        ("numbers", value.shape) if isinstance(value, np.ndarray) else (value.kind, value.shape)
    )
    return f"{'×'.join(map(str, shape))} {kind}".strip()


class _Reader:
    """Elements of a file's content, each with a type, a length, and data."""

    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        order = bytes(content[126:128])
        if len(content) < 128 or order not in (b"IM", b"MI"):
            raise ValueError("its header is not there")
        self._order = "<" if order == b"IM" else ">"
        self._unpacked = 0
        self._arrays = 0
        self._count = 0

    def variables(self) -> dict[str, Any]:
        found = {}
        place = 128
        while place < len(self._content):
            kind, data, place = self._element(self._content, place)
            if kind == COMPRESSED:
                kind, data, _ = self._element(self._inflated(data), 0)
            if kind != MATRIX:
                raise ValueError(f"an element of type {kind}")
            name, value = self._matrix(data, 0)
            # What functions and objects need is kept in a variable without a name.
            if name:
                found[name] = value
        return found

    def _element(self, data: memoryview, place: int) -> tuple[int, memoryview, int]:
        """Type and data of the element at a place, and where the next one begins."""
        kind, size = struct.unpack_from(self._order + "II", data, place)
        start, end = place + 8, place + 8 + size
        if kind >> 16:  # of up to four bytes, which stand where the length would
            kind, size = kind & 0xFFFF, kind >> 16
            start, end, after = place + 4, place + 4 + size, place + 8
            if size > 4:
                raise ValueError("a short element is too long")
        else:
            after = end if kind == COMPRESSED else end + -size % 8
        if end > len(data):
            raise ValueError("the file ends too early")
        return kind, data[start:end], after

    def _inflated(self, data: memoryview) -> memoryview:
        inflate = zlib.decompressobj()
        content = inflate.decompress(data, MOST_UNPACKED - self._unpacked + 1)
        self._unpacked += len(content)
        if self._unpacked > MOST_UNPACKED:
            raise ValueError(f"more than {MOST_UNPACKED} bytes, unpacked")
        if not inflate.eof:
            raise ValueError("a compressed variable ends too early")
        return memoryview(content)

    def _matrix(self, data: memoryview, depth: int) -> tuple[str, Any]:
        """Name and value of an array."""
        self._arrays += 1
        if self._arrays > MOST_ARRAYS or depth > NESTING:
            raise ValueError(f"more than {MOST_ARRAYS} arrays, or nested more than {NESTING} deep")
        if not len(data):
            return "", np.empty((0, 0))
        flags, place = self._numbers(data, 0)
        of_class = int(flags[0]) & 0xFF
        if of_class == OPAQUE:
            return self._text(data, place)[0], Other("an object of a MATLAB class")
        dimensions, place = self._numbers(data, place)
        shape = tuple(map(int, dimensions))
        if not 2 <= len(shape) <= 8 or min(shape) < 0 or prod(shape) > MOST_NUMBERS:
            raise ValueError(f"an array of {len(shape)} dimensions, {prod(shape)} values")
        name, place = self._text(data, place)
        if of_class in NUMBERS and not int(flags[0]) & COMPLEX:
            values, _ = self._numbers(data, place)
            self._count += len(values)
            if self._count > MOST_NUMBERS:
                raise ValueError(f"more than {MOST_NUMBERS} numbers")
            if len(values) != prod(shape):
                raise ValueError(f"{len(values)} values, not {prod(shape)}")
            return name, values.astype(NUMBERS[of_class]).reshape(shape, order="F")
        if of_class == CELL:
            return name, self._matrices(data, place, prod(shape), depth)
        if of_class == STRUCT:
            return name, self._struct(data, place, shape, depth)
        return name, Other(OTHERS.get(of_class, "others"), shape)

    def _struct(self, data: memoryview, place: int, shape: tuple[int, ...], depth: int) -> Any:
        longest, place = self._numbers(data, place)
        _, names, place = self._element(data, place)
        length = int(longest[0])
        if prod(shape) != 1 or not 1 <= length <= 64 or len(names) % length:
            return Other("struct", shape)
        fields = [
            bytes(names[i : i + length]).split(b"\0")[0].decode("latin-1")
            for i in range(0, len(names), length)
        ]
        values = self._matrices(data, place, len(fields), depth)
        return dict(zip(fields, values, strict=True))

    def _matrices(self, data: memoryview, place: int, count: int, depth: int) -> list[Any]:
        values = []
        for _ in range(count):
            kind, content, place = self._element(data, place)
            if kind != MATRIX:
                raise ValueError("a cell or field is not an array")
            values.append(self._matrix(content, depth + 1)[1])
        return values

    def _numbers(self, data: memoryview, place: int) -> tuple[np.ndarray, int]:
        kind, content, place = self._element(data, place)
        if kind not in STORED:
            raise ValueError(f"numbers of type {kind}")
        dtype = np.dtype(self._order + STORED[kind])
        if len(content) % dtype.itemsize or not len(content):
            return np.empty(0, dtype), place
        return np.frombuffer(content, dtype), place

    def _text(self, data: memoryview, place: int) -> tuple[str, int]:
        _, content, place = self._element(data, place)
        if len(content) > 64:
            raise ValueError("a name is too long")
        return bytes(content).decode("latin-1"), place
