"""The structure of a TIFF file, checked before a library follows it.

A damaged file can send a reader through thousands of overlapping directories, or declare more
pixels than memory holds.
"""

import os
import struct
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from ppiscs_jax.errors import InputError

MOST_DIRECTORIES = 10_000
"""Images of a stack."""

MOST_ENTRIES = 500
"""Entries of a directory; TIFF and its extensions define fewer."""

MOST_SUBDIRECTORIES = 100
"""Reduced copies of an image."""

BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
         16: 8, 17: 8, 18: 8}  # fmt: skip
"""Bytes of a value by its type, as TIFF 6.0 and BigTIFF number them."""

SUBDIRECTORIES = 330
"""Tag of the offsets of further directories."""


def check_structure(path: Path) -> None:
    """Directories and the values of their entries lie in the file, and directories do not overlap.

    Raises:
        InputError: they do not, or there are more than a file of images has.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        try:
            _walk(file, os.fstat(file.fileno()).st_size)
        except (struct.error, ValueError) as error:
            raise InputError(f"{path}: not a TIFF file that can be read ({error})") from error


def _walk(file: BinaryIO, size: int) -> None:
    """Follow the chain of directories."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
    if version == 42:
        count_format, offset_format = f"{order}H", f"{order}I"
        offset = struct.unpack(offset_format, head[4:8])[0]
    elif version == 43:
        count_format, offset_format = f"{order}Q", f"{order}Q"
        offset = struct.unpack(offset_format, head[8:16])[0]
    else:
        raise ValueError("it does not begin as a TIFF file does")
    ends: dict[int, int] = {}
    while offset:
        if offset in ends or len(ends) == MOST_DIRECTORIES:
            raise ValueError(f"its directories repeat, or are more than {MOST_DIRECTORIES}")
        ends[offset], offset = _directory(file, size, offset, count_format, offset_format)
    starts = sorted(ends)
    if any(ends[first] > second for first, second in pairwise(starts)):
        raise ValueError("its directories overlap")


def _directory(
    file: BinaryIO, size: int, start: int, count_format: str, offset_format: str
) -> tuple[int, int]:
    """Check a directory; where it ends, and where the next one starts (0 after the last)."""
    if start >= size:
        raise ValueError("a directory lies beyond its end")
    file.seek(start)
    number = struct.unpack(count_format, file.read(struct.calcsize(count_format)))[0]
    if not 1 <= number <= MOST_ENTRIES:
        raise ValueError(f"a directory of {number} entries; must be 1 to {MOST_ENTRIES}")
    width = struct.calcsize(offset_format)
    entry = f"{offset_format[0]}HH{2 * offset_format[1]}"
    entries = file.read(number * struct.calcsize(entry))
    following = struct.unpack(offset_format, file.read(width))[0]
    for tag, kind, count, place in struct.iter_unpack(entry, entries):
        length = count * BYTES.get(kind, 0)
        if length > width and place + length > size:
            raise ValueError(f"the values of its tag {tag} lie beyond its end")
        if tag == SUBDIRECTORIES and count > MOST_SUBDIRECTORIES:
            raise ValueError(f"{count} reduced images; at most {MOST_SUBDIRECTORIES}")
    return file.tell(), following
