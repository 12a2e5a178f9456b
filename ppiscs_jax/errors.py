"""Errors that name the field, the value, the allowed range and the unit."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np

LONGEST_PROBLEM = 1000
"""Characters of one problem: a few lines of a terminal."""

LONGEST_SHOWN = 80
"""Characters of a value that a message repeats."""

MOST_LISTED = 20
"""Problems that a message lists; the others are counted."""


class InputError(ValueError):
    """Bad input, found before any work started. The message lists every problem.

    Problems may repeat what a file says, so that they are cut to a few lines, and characters
    that would control a terminal are replaced.

    Example:
        >>> import ppiscs_jax as pp
        >>> pp.Settings("Au", "110", 300e3, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        Traceback (most recent call last):
            ...
        ppiscs_jax.errors.InputError: voltage_kv = 300000 kV: must be 20 to 1000 kV
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [
            _printable(p) for p in ([problems] if isinstance(problems, str) else problems)
        ]
        more = len(self.problems) - MOST_LISTED
        rest = [f"and {more} more problems"] if more > 0 else []
        super().__init__("; ".join(self.problems[:MOST_LISTED] + rest))


def _printable(text: str) -> str:
    if len(text) > LONGEST_PROBLEM:
        text = text[:LONGEST_PROBLEM] + "…"
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown(value: object) -> str:
    """`value` as a message repeats it: its `repr`, of at most LONGEST_SHOWN characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # integers of thousands of digits, deep nesting
        text = f"{type(value).__name__} too large to show"
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


class MissingFileError(InputError, FileNotFoundError):
    """A file that was to be read is not there: bad input, and a `FileNotFoundError`."""


EXTRAS = {
    "abtem": "abtem",
    "dask": "campaigns",
    "distributed": "campaigns",
    "flax": "networks",
    "optax": "networks",
    "orbax": "networks",
}
"""Packages that the default installation leaves out, and the extra that installs each."""


class MissingExtraError(InputError, ModuleNotFoundError):
    """Something was asked for that needs an extra of this package, which is not installed."""

    def __init__(self, error: ModuleNotFoundError) -> None:
        package = (error.name or "").split(".")[0]
        name = f"ppiscs-jax[{EXTRAS[package]}]" if package in EXTRAS else package
        super().__init__(f"{package}: is not installed; pip install '{name}'")


def is_number(value: object) -> bool:
    """Whether `value` is a single real number, rather than text, a bool or an array of several."""
    if value is None or isinstance(value, bool | np.bool_ | str | bytes | complex):
        return False
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return np.ndim(value) == 0  # type: ignore[arg-type]


def range_problem(
    field: str,
    value: Any,
    low: float,
    high: float,
    unit: str,
    *,
    open_low: bool = False,
    whole: bool = False,
) -> str | None:
    """Say what is wrong with `value`, or None if it is a number with low ≤ value ≤ high.

    `open_low` excludes the lower bound itself; `whole` accepts integers only. NaN is outside every
    range. If an angle in mrad seems to have been given in rad, the message points this out.
    """
    suffix = f" {unit}" if unit else ""
    if open_low:
        allowed = f"above {low:.10g} and up to {high:.10g}{suffix}"
    else:
        allowed = f"{low:.10g} to {high:.10g}{suffix}"
    if not is_number(value):
        return f"{field} = {shown(value)}: must be one number, {allowed}"
    if whole and not isinstance(value, Integral):
        return f"{field} = {shown(value)}: must be a whole number, {allowed}"
    inside = (value > low if open_low else value >= low) and value <= high
    if inside:
        return None
    problem = f"{field} = {float(value):.10g}{suffix}: must be {allowed}"
    if unit.startswith("mrad") and 0 < value < low <= 1000 * value <= high:
        problem += f"; if it is in rad, give {1000 * value:g} mrad"
    return problem


def as_numbers(field: str, values: Any, shape: tuple[int | None, ...], unit: str) -> np.ndarray:
    """`values` as an array of floats of that shape; None stands for any length.

    Raises:
        InputError: they are not numbers, or of another shape.
    """
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{field} = {shown(values)}: must be numbers [{unit}]") from None
    fits = array.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        wanted = " × ".join("any number of" if n is None else str(n) for n in shape)
        raise InputError(
            f"{field} of shape {np.shape(values)}, {shown(values)}: "
            f"must be {wanted} numbers [{unit}]"
        )
    return array


def choice_problem(field: str, value: object, choices: Iterable[object]) -> str | None:
    """Say what is wrong with `value`, or None if it is one of `choices`."""
    allowed = list(choices)
    if isinstance(value, str | int | float) and value in allowed:
        return None
    return f"{field} = {shown(value)}: must be one of {', '.join(str(c) for c in allowed)}"
