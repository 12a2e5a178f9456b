"""Numbers with units as people type them, parsed at the one boundary where text comes in."""

from ppiscs_jax.errors import InputError, range_problem

LEAST_RELATIVE_ERROR = 1e-6
"""Smallest relative error that may be asked for: waves are computed in float32, whose rounding
(6e-8 of each number, and more in sums) hides smaller ones."""


def parse_fraction(text: str, field: str) -> float:
    """A fraction from LEAST_RELATIVE_ERROR to 1, from "0.005" or "0.5%".

    Raises:
        InputError: naming `field`, if the text is not a number or out of range.
    """
    stripped = text.strip()
    try:
        value = float(stripped.removesuffix("%"))
    except ValueError:
        raise InputError(
            f"{field} = {text!r}: must be a fraction such as 0.005 or a percentage such as 0.5%"
        ) from None
    if stripped.endswith("%"):
        value /= 100
    if problem := range_problem(field, value, LEAST_RELATIVE_ERROR, 1.0, ""):
        raise InputError(problem)
    return value


def parse_pair(text: str, field: str, unit: str) -> tuple[float, float]:
    """Two numbers of one unit, from "60 200".

    Raises:
        InputError: naming `field` and `unit`, if the text is not two numbers.
    """
    try:
        first, second = map(float, text.split())
    except ValueError:
        raise InputError(f"{field} = {text!r}: must be two numbers [{unit}]") from None
    return first, second
