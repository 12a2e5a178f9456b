"""The tables of the study, as they are printed."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.dataset.study.compare import Rows

Row = dict[str, Any]

RANGES_MRAD = (0.0, 50.0, 200.0, 250.0)
"""Where bins are summed up: between these inner angles."""

WIDE_MRAD = 20.0
"""Detectors wider than this are told by their own angles."""

CAPTION = (
    "Parts per thousand of the curve's maximum: root mean square over thickness of the difference "
    "± of its standard error; where there are several, the largest."
)


def show(parts: dict[str, Rows], console: Console) -> None:
    """Print a table a part."""
    _show_filling(parts["filling"], console)
    _show_supercell(parts["supercell"], console)
    _pivot("band", parts["band"], ("specimen", "band"), detector, console)
    _pivot("rmsd, of all values", parts["rmsd"], ("specimen", "nodes"), detector, console)
    apertures = parts["apertures"]
    _pivot("apertures, of all", apertures, ("specimen", "sampling"), above_aperture, console)
    _show_bins(parts["bins"], console)
    _show_compression(parts["compression"], console)


def rms_and_error(row: Row) -> str:
    """A difference and its error [‰]."""
    return f"{row['rms_permille']:.2f} ± {row['rms_error_permille']:.2f}"


def detector(row: Row) -> str:
    """A detector by its angles."""
    return f"{row['inner_mrad']:g}–{row['outer_mrad']:g}"


def above_aperture(row: Row) -> str:
    """A narrow detector by where it starts, seen from the aperture."""
    if row["outer_mrad"] - row["inner_mrad"] > WIDE_MRAD:
        return detector(row)
    return f"α + {row['inner_mrad'] - row['convergence_mrad']:g}"


def _print(
    title: str,
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    caption: str,
    console: Console,
) -> None:
    table = Table(title=title, caption=caption)
    for heading in headings:
        table.add_column(heading, justify="right")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def _pivot(
    title: str,
    rows: Rows,
    keys: tuple[str, ...],
    line: Callable[[Row], str],
    console: Console,
) -> None:
    """A line a detector, a column a combination of keys; of several rows the one furthest off."""
    worst: dict[str, dict[str, Row]] = {}
    for row in sorted(rows, key=lambda r: r["rms_permille"]):
        worst.setdefault(line(row), {})["\n".join(f"{row[k]}" for k in keys)] = row
    columns = dict.fromkeys("\n".join(f"{row[k]}" for k in keys) for row in rows)
    lines = [
        [name, *(rms_and_error(worst[name][c]) if c in worst[name] else "" for c in columns)]
        for name in dict.fromkeys(line(row) for row in rows)
    ]
    _print(title, ["mrad", *columns], lines, CAPTION, console)


def _show_filling(rows: Rows, console: Console) -> None:
    shapes = [r for r in rows if "kV" not in r["lattice"] and r["wider_mrad"] % 1 == 0]
    grids = sorted((r for r in rows if "kV" in r["lattice"]), key=lambda r: -r["rms_permille"])
    lines = [
        [
            r["lattice"],
            f"{r['wider_mrad']:.2f}, {r['closer_mrad']:.2f}",
            f"{r['rms_permille']:.2f}",
            f"{r['largest_permille']:.2f}",
            f"{r['largest_from_mrad']:g}",
            f"{r['diffuse_largest_permille']:.2f}",
            f"{r['wide_permille']:.2f}",
        ]
        for r in shapes + grids[:12]
    ]
    kinds = ("rms", "largest", "diffuse_largest", "wide")
    medians = [np.median([r[f"{k}_permille"] for r in grids]) for k in kinds]
    most = [max(r[f"{k}_permille"] for r in grids) for k in kinds]
    caption = f"Medians and largest of the campaign's {len(grids)} grids: " + "; ".join(
        f"{kind} {m:.2f}, {x:.2f}" for kind, m, x in zip(kinds, medians, most, strict=True)
    )
    headings = ("lattice", "spacing [mrad]", "rms [‰]", "largest", "from", "diffuse", "wide")
    _print("filling", headings, lines, caption, console)


def _show_supercell(rows: Rows, console: Console) -> None:
    lines = [
        [
            r["specimen"],
            f"{r['cell']} − {r['reference']}",
            detector(r),
            rms_and_error(r),
            f"{r['mean_permille']:+.2f} ± {r['mean_error_permille']:.2f}",
            f"{r['filling_permille']:+.2f}",
        ]
        for r in rows
    ]
    headings = ("", "cells", "mrad", "rms", "mean over thickness", "as by filling")
    _print("supercell", headings, lines, CAPTION, console)


def _show_bins(rows: Rows, console: Console) -> None:
    lines = []
    for name, aperture in dict.fromkeys((r["specimen"], r["convergence_mrad"]) for r in rows):
        mine = [r for r in rows if (r["specimen"], r["convergence_mrad"]) == (name, aperture)]
        narrow = [r for r in mine if r["outer_mrad"] - r["inner_mrad"] <= WIDE_MRAD]
        parts = {
            f"from {low:g} to {high:g}": [r for r in narrow if low <= r["inner_mrad"] < high]
            for low, high in pairwise(RANGES_MRAD)
        }
        parts |= {detector(r): [r] for r in mine if r not in narrow}
        for part, members in parts.items():
            if not members:
                continue
            worst = max(members, key=lambda r: r["rms_permille"])
            median, noise = (
                np.median([r[k] for r in members]) for k in ("rms_permille", "rms_error_permille")
            )
            lines.append(
                [
                    name,
                    f"{aperture:g}",
                    part,
                    f"{len(members)}",
                    f"{median:.2f} ± {noise:.2f}",
                    rms_and_error(worst),
                    detector(worst),
                ]
            )
    headings = ("", "aperture", "detectors", "number", "median", "largest", "at")
    _print("bins: both edges between edges of bins", headings, lines, CAPTION, console)


def _show_compression(rows: Rows, console: Console) -> None:
    lines = [
        [
            f"{r['convergence_mrad']:g}",
            detector(r),
            f"{r['error_permille']:.2f}",
            f"{r['rms_over_error']:.2f}",
            f"{r['largest_over_error']:.2f}",
            f"{r['error_ratio']:.3f}",
        ]
        for r in rows
    ]
    headings = ("aperture", "mrad", "error [‰]", "rms / error", "largest / error", "error ratio")
    caption = f"{rows[0]['file_bytes']} bytes of {rows[0]['float32_bytes']} as float32"
    _print(f"compression, {rows[0]['specimen']}", headings, lines, caption, console)
