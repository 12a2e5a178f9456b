"""Damage to files: to their bytes, to the values in them, and to arrays."""

import json
import struct
import warnings
from copy import deepcopy
from random import Random
from typing import Any

import numpy as np

NUMBERS = (0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63 - 1)
"""Lengths and offsets at which readers go wrong."""

WORDS = (
    "nan", "inf", "-1", "0", "1e999", "1e20", "-0.0", "9" * 5000, "1_0", "0x" + "f" * 9000, "null",
    "[" * 3000, "{" * 3000, '"', "'", ",", ";", "\t", "\n", "\r", "\0", "#N/A", "#", "%", "\ufeff",
    "1,5", "a." * 3000, "\x1b[2J", "x" * 100_000, "," * 20_000, "\u2028", "١", "true",
)  # fmt: skip

VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2.5, 1e300, -1e300, 10**400, 2**63, "", "x", "x" * 100_000, "Au", "110",
    [], {}, [[]], [None], [1.0], [1e300], {"a": 1}, float("nan"), float("inf"), "\x1b[2J", "001",
)  # fmt: skip


def damaged(random: Random, content: bytes, others: list[bytes]) -> bytes:
    """Some bytes changed, cut out, repeated, or taken from another file."""
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        content = random.choice(_OF_BYTES)(random, content, others)
    return content


def _flip(random: Random, content: bytes, others: list[bytes]) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(random: Random, content: bytes, others: list[bytes]) -> bytes:
    start, end = _span(random, content)
    return content[:start] + content[end:]


def _truncate(random: Random, content: bytes, others: list[bytes]) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _repeat(random: Random, content: bytes, others: list[bytes]) -> bytes:
    start, end = _span(random, content)
    return content[:end] + random.choice((1, 2, 50)) * content[start:end] + content[end:]


def _splice(random: Random, content: bytes, others: list[bytes]) -> bytes:
    other = random.choice(others)
    start, end = _span(random, other)
    place = random.randrange(len(content) + 1)
    return content[:place] + other[start:end] + content[place + random.choice((0, end - start)) :]


def _number(random: Random, content: bytes, others: list[bytes]) -> bytes:
    packed = struct.pack(random.choice(("<Q", ">Q")), random.choice(NUMBERS))
    size = random.choice((1, 2, 4, 8))
    part = packed[:size] if random.random() < 0.5 else packed[-size:]
    place = random.randrange(len(content) + 1)
    return content[:place] + part + content[place + size :]


def _word(random: Random, content: bytes, others: list[bytes]) -> bytes:
    """Text instead of what stands between two separators."""
    places = [i for i, byte in enumerate(content[:100_000]) if byte in b' ,;:=\n\t[]"{}'] or [0]
    start = random.choice(places) + 1
    end = next((i for i in places if i >= start), len(content))
    end = start if random.random() < 0.2 else end
    return content[:start] + random.choice(WORDS).encode() + content[end:]


_OF_BYTES = (_flip, _flip, _cut, _truncate, _repeat, _splice, _number, _number, _word, _word)


def _span(random: Random, content: bytes) -> tuple[int, int]:
    start = random.randrange(len(content) + 1)
    return start, min(len(content), start + random.choice((1, 2, 4, 8, 40, 400)))


def changed_tree(random: Random, tree: Any) -> Any:
    """Nested dictionaries and lists with a value replaced, left out, or added."""
    tree = json.loads(json.dumps(tree))
    for _ in range(random.choice((1, 1, 2, 3))):
        holder: Any = tree
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = random.choice(keys)
            inner = holder[key]
            if isinstance(inner, dict | list) and inner and random.random() < 0.7:
                holder = inner
                continue
            if random.random() < 0.2:
                del holder[key]
            elif isinstance(inner, list) and random.random() < 0.3:
                holder[key] = inner * random.choice((0, 2, 100))
            else:
                holder[key] = deepcopy(random.choice(VALUES))  # it may be changed next
            break
    return tree


def changed_array(random: Random, array: np.ndarray) -> np.ndarray:
    """An array of other values, type, or shape."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complex numbers lose their imaginary parts, for example
        try:
            return random.choice(_OF_ARRAYS)(random, array)
        except (ValueError, TypeError, OverflowError):  # text that is changed to numbers
            return array


def _one_value(random: Random, array: np.ndarray) -> np.ndarray:
    changed = np.array(array)
    if changed.size and changed.dtype.kind in "fiu":
        nasty = (0, -1, 1, 1e6, -1e6, 1e30, 1e300, np.nan, np.inf, -np.inf, 0.5, 2**31, -(2**31))
        value = np.asarray(random.choice(nasty), float)
        changed.flat[random.randrange(changed.size)] = value.astype(changed.dtype)
    return changed


def _all_values(random: Random, array: np.ndarray) -> np.ndarray:
    factor = random.choice((0.0, -1.0, 1e3, 1e30, np.nan))
    return (array * factor).astype(array.dtype) if array.dtype.kind in "fiu" else array


def _type(random: Random, array: np.ndarray) -> np.ndarray:
    names = ["f2", "f4", "f8", "i1", "i4", "i8", "u8", "c8", "S3", "U3", "b1", ">f8", ">i4"]
    return array.astype(random.choice(names))


def _shape(random: Random, array: np.ndarray) -> np.ndarray:
    ways = (
        array.ravel(), array[None], array.T, array.ravel()[:0], np.atleast_1d(array)[:1],
        np.repeat(array, 2, axis=random.randrange(max(array.ndim, 1))) if array.ndim else array,
        np.zeros((0,) * array.ndim), np.zeros(()), array[..., :-1] if array.ndim else array,
    )  # fmt: skip
    return np.array(random.choice(ways))


_OF_ARRAYS = (_one_value, _one_value, _one_value, _all_values, _type, _shape, _shape)
