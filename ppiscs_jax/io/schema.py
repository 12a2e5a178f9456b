"""Schemas of the arrays in a file: writers and readers of a format share one schema."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from math import inf, isnan, prod

import numpy as np

from ppiscs_jax.errors import InputError


@dataclass(frozen=True)
class Numbers:
    """Schema of one array.

    Attributes:
        axes: names of its axes, which have one length in all arrays of a schema. "n+1" is one
            longer than "n"; a number is a length.
        unit: what it is counted in, as text.
        low, high: smallest and largest value.
        kinds: of its dtype, as NumPy's `dtype.kind`.
        gaps: whether NaN may stand for what is not known.
        rising: whether values increase along the last axis.
        optional: whether it may be missing.
    """

    axes: tuple[str, ...]
    unit: str = ""
    low: float = -inf
    high: float = inf
    kinds: str = "f"
    gaps: bool = False
    rising: bool = False
    optional: bool = False


@dataclass(frozen=True)
class Schema:
    """The arrays of a format.

    Attributes:
        arrays: by name.
        longest: the most along each axis that has a name.
        most: numbers in all arrays together.
    """

    arrays: Mapping[str, Numbers]
    longest: Mapping[str, int] = field(default_factory=dict)
    most: int = 10_000_000

    def names(self, there: Collection[str]) -> list[str]:
        """Names of the arrays to be read, of a file in which some are there.

        Raises:
            ValueError: one is missing.
        """
        missing = [n for n, a in self.arrays.items() if n not in there and not a.optional]
        if missing:
            raise ValueError(f"{missing[0]} is missing")
        return [name for name in self.arrays if name in there]

    def sizes(
        self, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, np.dtype]
    ) -> dict[str, int]:
        """Lengths of the named axes, before values are read.

        Raises:
            ValueError: arrays are of other types, do not belong together, or are too large.
        """
        sizes: dict[str, int] = {}
        for name in self.names(shapes):
            numbers, shape = self.arrays[name], shapes[name]
            if dtypes[name].kind not in numbers.kinds or dtypes[name].itemsize > 8:
                raise ValueError(f"{name} holds {dtypes[name]}, not numbers as expected")
            if len(shape) != len(numbers.axes):
                raise ValueError(f"{name} has {len(shape)} axes, not {len(numbers.axes)}")
            for axis, length in zip(numbers.axes, shape, strict=True):
                self._fit(name, axis, length, sizes)
        if sum(prod(shapes[name]) for name in self.names(shapes)) > self.most:
            raise ValueError(f"more than {self.most} numbers")
        return sizes

    def _fit(self, name: str, axis: str, length: int, sizes: dict[str, int]) -> None:
        """One axis of one array against its limits and the arrays before it."""
        axis, _, more = axis.partition("+")
        length -= int(more or 0)
        wanted = int(axis) if axis.isdigit() else sizes.setdefault(axis, length)
        if length != wanted:
            raise ValueError(f"{name} has {length} {axis}, not {wanted}")
        if not 1 <= length <= self.longest.get(axis, wanted):
            raise ValueError(f"{name} has {length} {axis}; 1 to {self.longest[axis]} are allowed")

    def check(self, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Lengths of the named axes, after all has been checked.

        Raises:
            ValueError: naming the array that is not as it must be.
        """
        there = {name: arrays[name] for name in self.names(arrays)}
        sizes = self.sizes(
            {name: array.shape for name, array in there.items()},
            {name: array.dtype for name, array in there.items()},
        )
        for name, array in there.items():
            check_numbers(name, array, self.arrays[name])
        return sizes


def check_numbers(name: str, array: np.ndarray, numbers: Numbers) -> None:
    """Refuse values that are out of range, unknown, or in the wrong order.

    Raises:
        ValueError: naming the array.
    """
    known = array[~np.isnan(array)] if numbers.gaps else array
    # Extremes of arrays in which there is NaN are NaN, which is nowhere inside.
    ends = [float(known.min()), float(known.max())] if known.size else []
    if any(isnan(end) for end in ends):
        raise ValueError(f"{name} has values that are not numbers")
    for end in ends:
        if not (numbers.low <= end <= numbers.high and abs(end) < inf):
            raise ValueError(
                f"{name} = {end:g} {numbers.unit}: must be {numbers.low:g} to {numbers.high:g}"
            )
    if numbers.rising and np.any(np.diff(array.astype(float), axis=-1) <= 0):
        raise ValueError(f"{name} must increase")


def must_fit(schema: Schema, arrays: Mapping[str, np.ndarray], what: str) -> None:
    """Refuse to write arrays that could not be read again.

    Raises:
        InputError: naming what is wrong; `what` names their whole.
    """
    try:
        schema.check(arrays)
    except ValueError as error:
        raise InputError(f"{what}: {error}") from error
