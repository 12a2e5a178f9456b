"""The additive model in the form that the explorer page reads.

Each group, an element and a zone axis, is one zlib stream in base64. The stream holds, one after
the other, the whole numbers of `surrogate.additive_file` as single bytes, larger ones as four
bytes, and the arrays by which they are turned into coefficients. `model.js` reads it.
"""

import base64
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.surrogate.additive_file import Arrays, reading_packed
from ppiscs_jax.surrogate.additive_schema import AXES, FIELDS, HALF

ESCAPE = 255
"""The byte that stands for a number too large for one byte."""

COMPACT_STEPS = (8, 12, 16, 24, 32, 48, 64)
MOST_COMPACT = 4_850_000
"""Compact pages round the whole numbers of the file to multiples of the first of these steps with
which the weights take no more than so many characters, and the page no more than 5 MB."""

RARE = 0.01
"""Compact pages leave out components of which fewer numbers than this are not 0."""


@dataclass(frozen=True)
class Group:
    """One element along one zone axis.

    Attributes:
        about: what the page needs before it decodes the stream, for JSON.
        stream: the compressed arrays.
        parts: the arrays of the stream, as `surrogate.additive_file` has them.
    """

    about: dict[str, Any]
    stream: bytes
    parts: Arrays

    @property
    def text(self) -> str:
        """The stream in base64."""
        return base64.b64encode(self.stream).decode("ascii")


def read_groups(
    path: str | Path, zones: tuple[str, ...] | None = None, step: int = 1
) -> tuple[dict[str, Any], list[Group]]:
    """The fields that all groups share, for JSON, and the groups.

    Args:
        path: a file of `save_additive`.
        zones: zone axes to keep, by name. Default: all.
        step: whole numbers are rounded to multiples of it; 1 keeps the accuracy of the file.

    Raises:
        InputError: the file holds no additive model.
    """
    with reading_packed(path) as (whole, axes, read_group):
        shared = {
            **{name: np.asarray(whole[name]).tolist() for name in FIELDS if len(whole[name])},
            **{
                name: {"knots": np.asarray(axes[name].knots).tolist(), "degree": axes[name].degree}
                for name in AXES
            },
            "step": step,
        }
        groups = list(_kept(whole, read_group, zones, step))
    return shared, groups


def read_compact(
    path: str | Path, zones: tuple[str, ...] | None = None
) -> tuple[dict[str, Any], list[Group]]:
    """The same, rounded as far as compact pages need it."""
    for step in COMPACT_STEPS:
        shared, groups = read_groups(path, zones, step)
        if sum(len(group.text) for group in groups) <= MOST_COMPACT:
            break
    return shared, groups


def _kept(
    whole: Arrays, read_group: Callable[[int], Arrays], zones: tuple[str, ...] | None, step: int
) -> Iterator[Group]:
    symbols = {e.atomic_number: e.symbol for e in ELEMENTS.values()}
    names = {z.code: z.name for z in ZONE_AXES.values()}
    for index, (number, code) in enumerate(
        zip(whole["atomic_numbers"], whole["zone_codes"], strict=True)
    ):
        about = {"index": index, "symbol": symbols[int(number)], "zone": names[int(code)]}
        if zones is None or about["zone"] in zones:
            yield _encoded(about, read_group(index), whole["unscattered"][index], step)


def _encoded(about: dict[str, Any], parts: Arrays, unscattered: np.ndarray, step: int) -> Group:
    if step > 1:
        parts = _rounded(parts, step)
    differences = _differences(parts) // step
    # 0, −1, 1, −2, … become 0, 1, 2, 3, …, most of them below 255. Components lead, since numbers
    # of one component are alike, which the compression can use.
    unsigned = np.where(differences >= 0, 2 * differences, -2 * differences - 1)
    unsigned = unsigned.transpose(2, 1, 0, 3).ravel()
    large = unsigned[unsigned >= ESCAPE]
    content = np.minimum(unsigned, ESCAPE).astype(np.uint8).tobytes() + b"".join(
        map(
            _planes,
            (
                large.astype("<u4"),
                parts["basis"].astype("<f2" if step > 1 else "<f4"),
                parts["angle_scale"].astype("<f4"),
                parts["thickness_scale"].astype("<f4"),
                unscattered.astype("<f2"),
            ),
        )
    )
    # The last level takes four times longer for 2 %, of which only compact pages have need.
    level = 9 if step > 1 else 6
    packer = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_FILTERED)
    stream = packer.compress(content) + packer.flush()
    shape = {"components": parts["basis"].shape[2], "large": len(large)}
    return Group(about | shape, stream, parts)


def _differences(parts: Arrays) -> np.ndarray:
    """The whole numbers: differences along the angle, (voltages, cells, components, angles)."""
    return parts["high"] * np.int32(2 * HALF) + parts["low"]


def _rounded(parts: Arrays, step: int) -> Arrays:
    """Parts whose whole numbers are multiples of `step`, without components that hardly count."""
    # The sums are rounded, not the differences, whose errors would add up.
    sums = np.rint(np.cumsum(_differences(parts), axis=-1) / step).astype(np.int32)
    kept = np.mean(sums != 0, axis=(0, 1, 3)) >= RARE
    high, low = np.divmod(np.diff(sums[:, :, kept], axis=-1, prepend=0) * step + HALF, 2 * HALF)
    return {
        **parts,
        "high": high.astype(np.int16),
        "low": (low - HALF).astype(np.int16),
        "basis": parts["basis"][:, :, kept].astype(np.float16).astype(np.float32),
    }


def _planes(array: np.ndarray) -> bytes:
    """First bytes of all numbers, then second ones, and so on: they compress better."""
    return np.ascontiguousarray(array).view(np.uint8).reshape(-1, array.itemsize).T.tobytes()
