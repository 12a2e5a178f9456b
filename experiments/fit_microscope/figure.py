"""The figure: curves before and after the fit, and how far they are off the truth."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common import tidy

LINES = {
    "truth": ("#D55E00", "-", "truth"),
    "start": ("#0072B2", "--", "settings as measured"),
    "trf": ("#009E73", "-", "fitted: least squares with priors"),
    "nelder_mead": ("#000000", ":", "fitted: the paper's way"),
}


def draw(config: dict[str, Any], rows: list[dict[str, Any]]) -> Figure:
    """Above PPISCS [Å²], below differences from the truth in parts of its maximum."""
    names = [noise["name"] for noise in config["noises"]]
    size = (3.5 * len(names) + 1, 6)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(
        2, len(names), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2)
    )
    for (above, below), name in zip(panels.T, names, strict=True):
        mine = [row for row in rows if row["noise"] == name]
        _panel(above, below, {k: np.array([r[k] for r in mine]) for k in mine[0] if k != "noise"})
        above.set_title(name, fontsize=10)
        below.set_xlabel("number of atoms per column")
        tidy(above)
        tidy(below)
    panels[0, 0].set_ylabel("PPISCS (Å²)")
    panels[1, 0].set_ylabel("difference from the truth\n(% of the maximum)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    columns = 5 if len(names) > 1 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    s = config["truth"]
    figure.suptitle(
        f"{s['element']} [{s['zone_axis']}], {s['voltage_kv']:g} kV, "
        f"$α$ {s['convergence_mrad']:g} mrad, {s['inner_mrad']:g}–{s['outer_mrad']:g} mrad, "
        f"rmsd {s['rmsd_angstrom']:g} Å",
        fontsize=11,
    )
    return figure


def _panel(above: Axes, below: Axes, columns: dict[str, np.ndarray]) -> None:
    n, truth, error = (
        columns[k] for k in ("n_atoms", "truth_angstrom2", "standard_error_angstrom2")
    )
    measured = columns["measured_angstrom2"]
    percent = 100 / truth.max()
    points = {"marker": "o", "markersize": 3, "linestyle": "", "color": "0.55", "zorder": 1}
    above.plot(n, measured, label="fitted curve's values", **points)
    below.plot(n, percent * (measured - truth), **points)
    below.fill_between(n, -percent * error, percent * error, color="0.5", alpha=0.2, linewidth=0)
    for name, (colour, style, label) in LINES.items():
        curve = columns[f"{name}_angstrom2"]
        look = {"color": colour, "linestyle": style, "linewidth": 1.6}
        above.plot(n, curve, label=label, **look)
        below.plot(n, percent * (curve - truth), **look)
    above.set_xlim(0, len(n) + 1)
    above.set_ylim(bottom=0)
