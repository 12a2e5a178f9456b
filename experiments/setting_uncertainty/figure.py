"""The figure: curves with their standard deviations, and what each of the errors does alone."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.common import tidy
from ppiscs_jax.plots.curves import COLOURS, LINE_STYLES

BLUE = COLOURS[0]

LABELS = {
    "all": "all together",
    "voltage_kv": "voltage",
    "c30_mm": "$C_{30}$",
    "c10_angstrom": "$C_{10}$",
    "convergence_mrad": "$α$",
    "inner_mrad": "$θ_0$",
    "outer_mrad": "$θ_e$",
    "rmsd_angstrom": "rmsd",
}


def draw(config: dict[str, Any], rows: list[dict[str, Any]]) -> Figure:
    """Above PPISCS ± standard deviation [Å²], below the standard deviations [Å²]."""
    count = len(config["settings"])
    figure = Figure(figsize=(4.6 * count, 6.4), layout="constrained")
    panels = figure.subplots(2, count, squeeze=False)
    names = ["all", *config["std"]]
    for i, (above, below) in enumerate(panels.T):
        mine = [row for row in rows if row["settings"] == i]
        n, curve = (np.array([row[k] for row in mine]) for k in ("n_atoms", "ppiscs_angstrom2"))
        stds = {name: np.array([row[f"std_{name}_angstrom2"] for row in mine]) for name in names}
        bars = {"color": BLUE, "elinewidth": 0.9, "linewidth": 1.2}
        above.errorbar(n, curve, stds["all"], label="± standard deviation", **bars)
        for j, (name, std) in enumerate(stds.items()):
            below.plot(
                n,
                std,
                color=COLOURS[j % len(COLOURS)],
                linestyle=LINE_STYLES[j % len(LINE_STYLES)],
                linewidth=2 if name == "all" else 1.3,
                label=LABELS.get(name, name),
            )
        s = config["settings"][i]
        above.set_title(
            f"{s['element']} [{s['zone_axis']}], {s['voltage_kv']:g} kV, "
            f"$α$ {s['convergence_mrad']:g} mrad,\n{s['inner_mrad']:g}–{s['outer_mrad']:g} mrad, "
            f"rmsd {s['rmsd_angstrom']:g} Å",
            fontsize=10,
        )
        below.set_xlabel("number of atoms per column")
        for axes in (above, below):
            axes.set_xlim(0, len(n) + 1)
            axes.set_ylim(bottom=0)
            tidy(axes)
    panels[0, 0].set_ylabel("PPISCS (Å²)")
    panels[1, 0].set_ylabel("standard deviation (Å²)")
    panels[0, 0].legend(loc="upper left", frameon=False, fontsize=9)
    panels[1, 0].legend(loc="upper left", frameon=False, fontsize=9, ncols=2)
    return figure
