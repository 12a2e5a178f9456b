"""Numbers in text tables, as spreadsheets and programs write them."""

import re
from collections.abc import Sequence

from ppiscs_jax.errors import shown

GAPS = ("", "nan", "na", "n/a", "#n/a")
"""Entries that mean a missing value, in lower case."""

SPREADSHEET_ERROR = re.compile(r"#(N/A|DIV/0!|NUM!|VALUE!|REF!|NAME\?|NULL!)", re.IGNORECASE)
"""Error values of spreadsheets. They are not comments, although they begin with #."""

LARGEST = 1e12
"""Largest size of a number: no cross-section in any unit, dose or count of electrons is larger."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)


def is_comment(line: str) -> bool:
    """Whether a line begins with # or %, and is not an error value of a spreadsheet."""
    return line.lstrip()[:1] in ("#", "%") and not SPREADSHEET_ERROR.match(line.lstrip())


def separator_of(lines: Sequence[str]) -> str | None:
    """The separator of all lines: a semicolon, tab, or comma; None for whitespace."""
    if any(";" in line for line in lines):
        return ";"
    if all("\t" in line for line in lines):
        return "\t"
    return "," if any("," in line for line in lines) else None


def parse_number(text: str, separator: str | None) -> float:
    """The number in an entry, NaN for a gap.

    Decimal commas are read where the separator is a semicolon or a tab.

    Raises:
        ValueError: saying why it is not a number.
    """
    text = text.strip()
    if text.lower() in GAPS:
        return float("nan")
    if SPREADSHEET_ERROR.fullmatch(text):
        raise ValueError(f"{text} is an error value of a spreadsheet")
    if separator in (";", "\t") and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text) or len(text) > 100:
        raise ValueError(f"{shown(text)} is not a number")
    if not abs(value := float(text)) <= LARGEST:
        raise ValueError(f"{text} must be between {-LARGEST:g} and {LARGEST:g}")
    return value
