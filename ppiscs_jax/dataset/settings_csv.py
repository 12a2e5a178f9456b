"""Many settings as a CSV file, and their curves as another."""

import csv
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.errors import InputError, choice_problem
from ppiscs_jax.files import replacing, require_file
from ppiscs_jax.settings import VECTOR_ORDER, Settings

OPTIONAL = ("c30_mm", "c10_angstrom")
MOST_PROBLEMS = 10
"""So many lines' problems are listed; the rest are counted."""


def read_settings(path: str | Path) -> np.ndarray:
    """The nine numbers of `Settings.to_vector` of each line, shape (lines, 9).

    The first line names the columns, in any order: the fields of `Settings`; c30_mm and
    c10_angstrom may be left out. Lines that begin with # are comments.

    Raises:
        InputError: columns are missing or unknown; settings are out of range, with their lines.
        FileNotFoundError: there is no such file.
    """
    require_file(path)
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error})") from None
    numbered = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if len(numbered) < 2:
        raise InputError(f"{path}: must hold a line of column names and settings")
    reader = csv.reader(line for _, line in numbered)
    columns = [name.strip() for name in next(reader)]
    wrong = [choice_problem("column", name, VECTOR_ORDER) for name in columns]
    wrong += [
        f"column {name}: missing" for name in VECTOR_ORDER if name not in (*columns, *OPTIONAL)
    ]
    wrong += [f"column {name}: there twice" for name in set(columns) if columns.count(name) > 1]
    if any(wrong):
        raise InputError(f"{path}: {problem}" for problem in wrong if problem)
    rows, problems = [], []
    for (number, _), entries in zip(numbered[1:], reader, strict=True):
        try:
            rows.append(_settings(columns, entries).to_vector())
        except InputError as error:
            problems.append(f"{path}, line {number}: {error}")
    if problems:
        more = len(problems) - MOST_PROBLEMS
        problems[MOST_PROBLEMS:] = [f"and {more} more lines"] if more > 0 else []
        raise InputError(problems)
    return np.array(rows)


def _settings(columns: list[str], entries: list[str]) -> Settings:
    if len(entries) != len(columns):
        raise InputError(f"{len(entries)} entries, {len(columns)} columns")
    fields: dict[str, Any] = {}
    for name, entry in zip(columns, entries, strict=True):
        text = entry.strip()
        if name in ("element", "zone_axis"):
            fields[name] = text
            continue
        try:
            fields[name] = float(text)
        except ValueError:
            raise InputError(f"{name} = {text!r}: must be a number") from None
    return Settings(**fields)


def write_predictions(path: str | Path, rows: np.ndarray, curves: np.ndarray) -> None:
    """Write settings and their curves, one a line, whole or not at all.

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
