"""Committed results of experiments and benchmarks as tables, for the pages that quote them."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from IPython.display import Markdown

ROOT = Path(__file__).resolve().parent.parent


def result(experiment: str) -> dict[str, Any]:
    """The result.json of an experiment."""
    path = ROOT / "experiments" / experiment / "result" / "result.json"
    return json.loads(path.read_text(encoding="utf-8"))


def table(header: Sequence[str], body: Iterable[Sequence[Any]]) -> Markdown:
    """A table for the page; numbers are written to three significant digits."""
    lines = [header, ["---"] * len(header), *([_text(cell) for cell in row] for row in body)]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return Markdown(re.sub(r"(?<=\| )-(?=\d)", "−", text))


def table_of(file: str, heading: str) -> Markdown:
    """The first table below a heading of a Markdown file of the repository."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    below = lines[lines.index(heading) :]
    first = next(i for i, line in enumerate(below) if line.startswith("|"))
    length = next(
        (i for i, line in enumerate(below[first:]) if not line.startswith("|")), len(below)
    )
    return Markdown("\n".join(below[first : first + length]))


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
    return str(cell)
