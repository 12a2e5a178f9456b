"""The figure: differences against thickness, by case and effect."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.common import tidy


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """One panel for each case and effect, one line for each detector; bars are standard errors."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    effects = list(dict.fromkeys(row["effect"] for row in rows))
    detectors = list(dict.fromkeys((row["inner_mrad"], row["outer_mrad"]) for row in rows))
    size = (3.6 * len(cases), 2.7 * len(effects))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(effects), len(cases), squeeze=False)
    for axes, (effect, case) in zip(
        panels.ravel(), ((e, c) for e in effects for c in cases), strict=True
    ):
        for detector in detectors:
            of = [
                row
                for row in rows
                if (row["case"], row["effect"], row["inner_mrad"], row["outer_mrad"])
                == (case, effect, *detector)
            ]
            n, difference, error = (
                np.array([row[name] for row in of])
                for name in ("n", "difference_percent", "standard_error_percent")
            )
            label = f"{detector[0]:g}–{detector[1]:g} mrad"
            axes.errorbar(n, difference, error, marker="o", markersize=3, lw=1, label=label)
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set_title(f"{case}: {effect}", fontsize=8)
        axes.set_xlabel("atoms per column")
        axes.set_ylabel("difference [%]")
        tidy(axes)
    panels[0, 0].legend(fontsize=6, frameon=False)
    return figure
