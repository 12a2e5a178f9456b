"""The figure: a panel for each of the settings that varies."""

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from experiments.common import tidy
from ppiscs_jax.plots.curves import COLOURS, LINE_STYLES

*OTHERS, STANDARD = COLOURS
"""Black is kept for the standard settings, which are in every panel."""

TITLES = {
    "outer_mrad": "$θ_e$ (mrad)",
    "voltage_kv": "voltage (kV)",
    "convergence_mrad": "$α$ (mrad)",
    "most_atoms": "most atoms",
    "element": "element",
    "temperature_k": "temperature (K)",
}


def draw(
    config: dict[str, Any],
    angles: np.ndarray,
    found: list[tuple[str, Any, np.ndarray]],
    best: list[dict[str, Any]],
) -> Figure:
    """P_e against the inner angle, one line a value, its minimum marked."""
    s = config["standard"]
    fewest, most = config["n_atoms"]
    standard = {**s, "most_atoms": most}
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, letter, (field, title) in zip(panels.flat, "abcdef", TITLES.items(), strict=True):
        colours, styles = cycle(OTHERS), cycle(LINE_STYLES)
        for (name, value, curve), row in zip(found, best, strict=True):
            if name != field:
                continue
            is_standard = value == standard.get(field)
            colour = STANDARD if is_standard else next(colours)
            style = next(styles)
            axes.plot(
                angles,
                curve,
                color=colour,
                linestyle="-" if is_standard else style,
                linewidth=1.8 if is_standard else 1.4,
                label=value if isinstance(value, str) else f"{value:g}",
            )
            axes.plot(row["best_inner_mrad"], row["error_probability"], "o", color=colour, ms=4)
        axes.set_title(f"({letter}) {title}", fontsize=10, loc="left")
        axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=8, columnspacing=1.2)
        axes.xaxis.set_major_locator(MultipleLocator(40))
        tidy(axes)
    panels[0, 0].set_xlim(0, angles[-1])
    panels[0, 0].set_ylim(0, 1)
    for axes in panels[-1]:
        axes.set_xlabel("inner angle $θ_0$ (mrad)")
    for axes in panels[:, 0]:
        axes.set_ylabel("probability of error $P_e$")
    figure.suptitle(
        f"{s['element']} [{s['zone_axis']}], {fewest}–{most} atoms, {s['voltage_kv']:g} kV, $α$ "
        f"{s['convergence_mrad']:g} mrad, $θ_e$ {s['outer_mrad']:g} mrad, rmsd "
        f"{s['rmsd_angstrom']:g} Å, {config['dose_per_angstrom2']:g} e⁻/Å²; in black in (a) to (e)",
        fontsize=11,
    )
    return figure
