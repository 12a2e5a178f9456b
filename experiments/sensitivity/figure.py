"""The figure: a panel for each of the settings that varies."""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.common import tidy
from ppiscs_jax.plots.curves import COLOURS, LINE_STYLES

*OTHERS, STANDARD = COLOURS
"""Black is kept for the standard settings, which are in every panel."""

TITLES = {
    "element": "element",
    "voltage_kv": "voltage (kV)",
    "c30_mm": "$C_{30}$ (µm)",
    "c10_angstrom": "$C_{10}$ (Å)",
    "convergence_mrad": "$α$ (mrad)",
    "inner_mrad": "$θ_0$ (mrad)",
    "outer_mrad": "$θ_e$ (mrad)",
    "rmsd_angstrom": "rmsd (Å)",
}


def draw(config: dict[str, Any], rows: list[dict[str, Any]], curves: np.ndarray) -> Figure:
    """PPISCS [Å²] against the number of atoms, one line a value."""
    standard = config["standard"]
    figure = Figure(figsize=(11.5, 6), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True)
    for axes, letter, (field, title) in zip(panels.flat, "abcdefgh", TITLES.items(), strict=True):
        chosen = [i for i, row in enumerate(rows) if row["varied"] == field]
        values = [rows[i]["value"] for i in chosen]
        _panel(axes, field, values, curves[chosen], standard[field])
        axes.set_title(f"({letter}) {title}", fontsize=10, loc="left")
        tidy(axes)
    for axes in panels[-1]:
        axes.set_xlabel("number of atoms per column")
    for axes in panels[:, 0]:
        axes.set_ylabel("PPISCS (Å²)")
    figure.suptitle(
        f"{standard['element']} [{standard['zone_axis']}], {standard['voltage_kv']:g} kV, "
        f"$α$ {standard['convergence_mrad']:g} mrad, {standard['inner_mrad']:g}–"
        f"{standard['outer_mrad']:g} mrad, rmsd {standard['rmsd_angstrom']:g} Å; in black in all "
        "panels",
        fontsize=11,
    )
    return figure


def _panel(
    axes: Axes, field: str, values: list[Any], curves: np.ndarray, standard: float | str
) -> None:
    n = np.arange(1, curves.shape[1] + 1)
    colours = cycle(OTHERS)
    for value, curve, style in zip(values, curves, cycle(LINE_STYLES), strict=False):
        is_standard = value == standard
        axes.plot(
            n,
            curve,
            color=STANDARD if is_standard else next(colours),
            linestyle="-" if is_standard else style,
            linewidth=1.8 if is_standard else 1.4,
            zorder=3 if is_standard else 2,
            label=_label(field, value),
        )
    if len(curves) > 1 and np.ptp(curves, axis=0).max() == 0:
        axes.text(0.97, 0.05, "all the same", transform=axes.transAxes, ha="right", color="0.4")
    axes.set_xlim(0, len(n) + 1)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    # At low voltages curves rise into the usual corner.
    corner = "lower right" if field == "voltage_kv" else "upper left"
    axes.legend(loc=corner, frameon=False, fontsize=8, labelspacing=0.25, borderpad=0.1)


def _label(field: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"{1e3 * value if field == 'c30_mm' else value:g}".replace("-", "−")
