"""Numbers of a library in a text file, with the line of each."""

import math

import numpy as np
from jaxtyping import Float

from ppiscs_jax.errors import InputError, shown
from ppiscs_jax.io.delimited import is_comment, parse_number, separator_of
from ppiscs_jax.reading import split_lines

DECIMAL_COMMAS = "decimal commas are read only where a semicolon or a tab separates columns"
MUST_HOLD = "must hold one value a line, or the number of atoms and a value, on all lines"

Numbered = list[tuple[int, str]]


def parse_table(path: object, text: str) -> tuple[Float[np.ndarray, "rows columns"], list[int]]:
    """The numbers of a text file, NaN in gaps, and the line of each row, counted from 1.

    A blank line between the values of one column is a gap; elsewhere blank lines are ignored.

    Raises:
        InputError: naming the file and the line.
    """
    lines = [
        (number, line)
        for number, line in enumerate(split_lines(text), 1)
        if not is_comment(line) or not line.strip()
    ]
    lines = _without_blank_ends(lines)
    filled = [line for _, line in lines if line.strip()]
    separator = separator_of(filled)
    named = len(filled) > 0 and _names_columns(filled[0], separator)
    columns = len(filled[0].split(separator)) if named else None
    if named:
        lines, filled = _without_blank_ends(lines[1:]), filled[1:]
        separator = separator_of(filled) if filled else separator
    rows = []
    for number, line in lines:
        try:
            rows.append(_numbers(line, separator))
        except ValueError as error:
            why = f"; {DECIMAL_COMMAS}" if separator == "," else ""
            raise InputError(f"{path}, line {number}: {error}{why}") from None
    numbers = [number for number, _ in lines]
    widths = {len(row) for row in rows if row}
    if len(widths) != 1:
        raise InputError(f"{path}: {MUST_HOLD}{_where_widths_differ(rows, numbers)}")
    if widths == {1}:
        _check_double_spacing(path, rows, numbers)
        return np.array([row or [math.nan] for row in rows]), numbers
    if separator == "," and columns != 2:
        _check_decimal_commas(path, lines)
    kept = [(row, number) for row, number in zip(rows, numbers, strict=True) if row]
    return np.array([row for row, _ in kept]), [number for _, number in kept]


def _without_blank_ends(lines: Numbered) -> Numbered:
    filled = [place for place, (_, line) in enumerate(lines) if line.strip()]
    return lines[filled[0] : filled[-1] + 1] if filled else []


def _names_columns(line: str, separator: str | None) -> bool:
    """Whether a first line names columns: its first entry is not a number, and has no digits."""
    first = line.split(separator)[0]
    try:
        parse_number(first, separator)
    except ValueError:
        return not any(character.isdigit() for character in first)
    return False


def _numbers(line: str, separator: str | None) -> list[float]:
    """The numbers of a line; [] for a blank one. Empty entries past the second are left out."""
    if not line.strip():
        return []
    entries = line.strip(" ").split(separator)
    while len(entries) > 2 and not entries[-1].strip():
        del entries[-1]
    return [parse_number(entry, separator) for entry in entries]


def _where_widths_differ(rows: list[list[float]], numbers: list[int]) -> str:
    filled = [(len(row), number) for row, number in zip(rows, numbers, strict=True) if row]
    other = next((number for width, number in filled if width != filled[0][0]), None)
    return "" if other is None else f"; line {other} is unlike the lines before it"


def _check_double_spacing(path: object, rows: list[list[float]], numbers: list[int]) -> None:
    """Refuse one column with as many blank lines as places between values: no gaps, or all."""
    blank = [number for row, number in zip(rows, numbers, strict=True) if not row]
    if blank and 2 * len(blank) >= len(rows) - 1:
        raise InputError(
            f"{path}, line {blank[0]}: blank, as every other line is; remove blank lines, or "
            "write NaN at thicknesses without a value"
        )


def _check_decimal_commas(path: object, lines: Numbered) -> None:
    """Refuse entries that are digits alone on all lines: 1,0075 may be one number."""
    filled = [line for _, line in lines if line.strip()]
    if any(not entry.isdigit() for line in filled for entry in line.split(",")):
        return
    number, line = lines[0]
    raise InputError(
        f"{path}, line {number}: {shown(line.strip())} may be a number with a decimal comma; "
        f"{DECIMAL_COMMAS}. Name two columns in a first line if there are two"
    )
