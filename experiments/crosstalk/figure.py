"""The figure: columns beside a step and at an edge, by several ways to measure them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.common import tidy

SOURCE = 0.4
"""Source of the images that are shown [Å]; if there is none of it, the largest."""


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """A panel for each case and lower side: higher columns of the row next to exit steps."""
    sources = {row["source_angstrom"] for row in rows}
    source = SOURCE if SOURCE in sources else max(sources)
    shown = [
        row
        for row in rows
        if row["row"] == 1
        and row["step"] == "exit"
        and row["source_angstrom"] == source
        and row["atoms"] > row["beyond_the_step"]
    ]
    cases = list(dict.fromkeys((row["case"], row["c10_angstrom"]) for row in shown))
    beside = sorted({row["beyond_the_step"] for row in shown})
    methods = list(dict.fromkeys(row["by"] for row in shown))
    size = (2.8 * len(cases), 2.7 * len(beside))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(beside), len(cases), squeeze=False, sharex=True, sharey=True)
    for line, lower in zip(panels, beside, strict=True):
        for axes, case in zip(line, cases, strict=True):
            for by in methods:
                some = [
                    row
                    for row in shown
                    if (row["case"], row["c10_angstrom"]) == case
                    and (row["by"], row["beyond_the_step"]) == (by, lower)
                ]
                n, difference, error = (
                    np.array([row[name] for row in some])
                    for name in ("atoms", "difference_percent", "standard_error_percent")
                )
                axes.errorbar(n, difference, error, marker="o", markersize=3, lw=1, label=by)
            axes.set_visible(bool(some))
            axes.axhline(0, color="0.5", linewidth=0.8)
            axes.set_title(f"{case[0]}, C10 {case[1]:g} Å\nbeside {lower or 'vacuum'}", fontsize=8)
            axes.set_xlabel("atoms per column")
            axes.set_ylabel("difference from a slab [%]")
            tidy(axes)
    panels[0, 0].legend(fontsize=6, frameon=False)
    return figure
