"""Errors that name the field, the value, the allowed range and the unit."""

from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, found before any work started. The message lists every problem."""

    def __init__(self, problems: str | Iterable[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("; ".join(self.problems))


def range_problem(
    field: str, value: float, low: float, high: float, unit: str, *, open_low: bool = False
) -> str | None:
    """Say what is wrong with `value`, or None if low ≤ value ≤ high.

    `open_low` excludes the lower bound itself. NaN is outside every range.
    """
    inside = (value > low if open_low else value >= low) and value <= high
    if inside:
        return None
    suffix = f" {unit}" if unit else ""
    if open_low:
        allowed = f"above {low:.10g} and up to {high:.10g}{suffix}"
    else:
        allowed = f"{low:.10g} to {high:.10g}{suffix}"
    return f"{field} = {value:.10g}{suffix}: must be {allowed}"


def choice_problem(field: str, value: object, choices: Iterable[object]) -> str | None:
    """Say what is wrong with `value`, or None if it is one of `choices`."""
    allowed = list(choices)
    if value in allowed:
        return None
    return f"{field} = {value!r}: must be one of {', '.join(str(c) for c in allowed)}"
