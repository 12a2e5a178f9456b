"""Many settings as a CSV file, and their curves as another."""

import csv
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ppiscs_jax.errors import InputError, choice_problem, shown
from ppiscs_jax.files import replacing
from ppiscs_jax.io.delimited import parse_number
from ppiscs_jax.reading import read_text, split_lines
from ppiscs_jax.settings import VECTOR_ORDER, Settings

OPTIONAL = ("c30_mm", "c10_angstrom")
COLUMNS = (*VECTOR_ORDER, "temperature_k")
MOST_COLUMNS = 100
"""A line of more columns is not a line of settings; each field of `Settings` may be there once."""

MOST_PROBLEMS = 10
"""So many lines' problems are listed; the rest are counted."""


class SettingsTable(NamedTuple):
    """Settings of a file.

    Attributes:
        rows: the nine numbers of `Settings.to_vector` of each, shape (settings, 9).
        lines: the line of the file that each is on, counted from 1.
    """

    rows: np.ndarray
    lines: list[int]


def read_settings(path: str | Path) -> SettingsTable:
    """The settings of a CSV file, one per line.

    The first line names the columns, in any order: the fields of `Settings`, with temperature_k
    instead of rmsd_angstrom, or both where each line has one of them; c30_mm and c10_angstrom may
    be left out. Columns are separated by commas, semicolons or tabs, in the latter two with
    decimal points or commas. Blank lines, lines that begin with #, a first column without a name
    (an index, as pandas writes it) and empty columns without names are ignored. Zone axes without
    their leading zeros, as spreadsheets write them, are understood.

    Raises:
        InputError: columns are missing or unknown; settings are out of range, with their lines.
        FileNotFoundError: there is no such file.
    """
    numbered = [
        (number, line)
        for number, line in enumerate(split_lines(read_text(path)), 1)
        if line.strip(" \t,;") and line[0] != "#"
    ]
    if len(numbered) < 2:
        raise InputError(f"{path}: must hold a line of column names and settings")
    (first, header), *lines = numbered
    separator = next((s for s in ";\t" if s in header), ",")
    try:
        columns = [name.strip() for name in _entries(header, separator)]
    except InputError as error:
        raise InputError(f"{path}, line {first}: {error}") from None
    wrong = _column_problems(columns)
    if wrong:
        raise InputError(f"{path}: {problem}" for problem in wrong)
    rows, problems = [], []
    for number, line in lines:
        try:
            entries = _entries(line, separator)
            rows.append(_settings(columns, entries, separator).to_vector())
        except InputError as error:
            problems.append(f"{path}, line {number}: {error}")
    if problems:
        more = len(problems) - MOST_PROBLEMS
        problems[MOST_PROBLEMS:] = [f"and {more} more lines"] if more > 0 else []
        raise InputError(problems)
    return SettingsTable(np.array(rows), [number for number, _ in lines])


def _entries(line: str, separator: str) -> list[str]:
    if line.count(separator) >= MOST_COLUMNS:
        raise InputError(f"more than {MOST_COLUMNS} columns")
    try:
        return next(csv.reader([line], delimiter=separator, strict=True))
    except csv.Error as error:
        raise InputError(f"{shown(line)}: {error}") from None


def _column_problems(columns: list[str]) -> list[str]:
    named = [name for name in columns if name]
    problems = [choice_problem("column", name, COLUMNS) for name in named]
    problems += [
        f"column {name}: missing"
        for name in VECTOR_ORDER
        if name not in (*named, *OPTIONAL)
        and not (name == "rmsd_angstrom" and "temperature_k" in named)
    ]
    problems += [f"column {name}: there twice" for name in set(named) if named.count(name) > 1]
    return [problem for problem in problems if problem]


def _settings(columns: list[str], entries: list[str], separator: str) -> Settings:
    if len(entries) != len(columns):
        raise InputError(f"{len(entries)} entries, {len(columns)} columns")
    fields: dict[str, Any] = {}
    for index, (name, entry) in enumerate(zip(columns, entries, strict=True)):
        text = entry.strip()
        if not name:
            if text and index > 0:
                raise InputError(f"{shown(text)} is in a column without a name")
        elif name == "element":
            fields[name] = text
        elif name == "zone_axis":
            fields[name] = text.removesuffix(".0").zfill(3) if text[:1].isdigit() else text
        elif text or name not in ("rmsd_angstrom", "temperature_k"):
            try:
                fields[name] = parse_number(text, separator)
            except ValueError as error:
                raise InputError(f"{name} = {shown(text)}: must be a number ({error})") from None
    return Settings(**fields)


def write_predictions(path: str | Path, rows: np.ndarray, curves: np.ndarray) -> None:
    """Write settings and their curves, one per line, whole or not at all.

    Columns n=1, n=2, … are PPISCS [Å²], empty where a thickness is not known.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        file.write(f"# ppiscs-jax {version('ppiscs-jax')}; n=…: PPISCS [Å²] at n atoms\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*VECTOR_ORDER, *(f"n={n}" for n in range(1, curves.shape[1] + 1))])
        for row, curve in zip(rows, curves, strict=True):
            settings = Settings.from_vector(row)
            fields = [getattr(settings, name) for name in VECTOR_ORDER]
            writer.writerow([*fields, *("" if np.isnan(v) else f"{v:.7g}" for v in curve)])
