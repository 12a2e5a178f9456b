"""The figure of the study, a panel a part, from its rows."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.common import tidy

Rows = list[dict[str, Any]]

# Okabe & Ito's colours; markers and dashes serve print in grey.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
MARKERS = "osD^v"

NARROW_MRAD = 20
"""Detectors up to this width are drawn; all of them are 10 mrad wide here."""


def draw(campaign: dict[str, Any], parts: dict[str, Rows]) -> Figure:
    """All parts in parts per thousand: rms over thickness, the supercell's the mean over it."""
    figure = Figure(figsize=(10.5, 11.5), layout="constrained")
    panels = figure.subplots(3, 2)
    narrow = {
        part: [r for r in rows if r["outer_mrad"] - r["inner_mrad"] <= NARROW_MRAD]
        for part, rows in parts.items()
        if part != "filling"
    }
    _filling(panels[0, 0], campaign["lattice_mrad"], parts["filling"])
    _supercell(panels[0, 1], narrow["supercell"])
    _band(panels[1, 0], narrow["band"])
    _rmsd(panels[1, 1], narrow["rmsd"])
    _apertures(panels[2, 0], narrow["apertures"])
    _bins(panels[2, 1], campaign["angles"], narrow["bins"])
    for axes, letter in zip(panels.flat, "abcdef", strict=True):
        axes.set_title(f"{letter}  {axes.get_title()}", fontsize=10, loc="left")
        axes.set_title("")
        tidy(axes)
    return figure


def _filling(axes: Axes, lattice_mrad: float, rows: Rows) -> None:
    for lattice, colour, dashes in (("square", BLUE, "-"), ("1 : √2", ORANGE, "--")):
        mine = [r for r in rows if r["lattice"] == lattice]
        spacing = [r["wider_mrad"] for r in mine]
        for key, width in (("rms", 1.6), ("largest", 0.8)):
            label = f"{lattice}, {key}"
            values = [r[f"{key}_permille"] for r in mine]
            axes.plot(spacing, values, color=colour, linestyle=dashes, linewidth=width, label=label)
    for zone, colour, marker in (("[100]", BLUE, "o"), ("[110]", ORANGE, "s")):
        mine = [r for r in rows if zone in r["lattice"]]
        place = [r["wider_mrad"] for r in mine], [r["rms_permille"] for r in mine]
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 3.5}
        axes.plot(*place, linestyle="none", label=f"campaign, {zone}, rms", **look)
    axes.axvline(lattice_mrad, color="0.4", linewidth=1, linestyle=":", label="campaign's limit")
    axes.set_yscale("log")
    axes.set_xlabel("wider spacing of the lattice λ / L (mrad)")
    axes.set_ylabel("error of 10-mrad annuli (‰)")
    axes.set_title("Supercell: filling of annuli by its reciprocal lattice")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _supercell(axes: Axes, rows: Rows) -> None:
    for cell, colour in zip(_values(rows, "cell"), (BLUE, ORANGE, GREEN), strict=False):
        mine = [r for r in rows if r["cell"] == cell]
        look: dict[str, Any] = {"color": colour, "linestyle": "none"}
        expected = [r["filling_permille"] for r in mine]
        axes.plot(
            [_middle(r) for r in mine],
            expected,
            marker="D",
            markerfacecolor="white",
            label="expected from filling",
            **look,
        )
        axes.errorbar(
            [_middle(r) for r in mine],
            [r["mean_permille"] for r in mine],
            [r["mean_error_permille"] for r in mine],
            marker="o",
            markersize=4,
            capsize=2,
            elinewidth=1,
            label=f"{cell} cells − {mine[0]['reference']}, simulated",
            **look,
        )
    axes.axhline(0, color="0.4", linewidth=0.8)
    axes.set_xlabel("middle of 10-mrad detectors (mrad)")
    axes.set_ylabel("mean difference over thickness (‰)")
    axes.set_title(f"Supercell: {rows[0]['specimen']}, {rows[0]['spacing_mrad']:.1f} mrad")
    axes.legend(frameon=False, fontsize=8)


def _band(axes: Axes, rows: Rows) -> None:
    _worst_lines(axes, rows, "band", (PURPLE, BLUE, GREEN), "{:g} ×")
    axes.set_ylabel("rms error (‰)")
    axes.set_title(f"Band limit, against {rows[0]['reference']:g} ×")


def _rmsd(axes: Axes, rows: Rows) -> None:
    _worst_lines(axes, rows, "nodes", (BLUE, GREEN, PURPLE), "{}")
    axes.set_ylabel("rms error, largest of all rmsd (‰)")
    axes.set_title("Interpolation in rmsd")


def _worst_lines(axes: Axes, rows: Rows, key: str, colours: tuple[str, ...], label: str) -> None:
    """Colours by key, markers by specimen; of several rows at one place the largest."""
    kinds = dict(zip(_values(rows, key), colours, strict=False))
    specimens = dict(zip(_values(rows, "specimen"), MARKERS, strict=False))
    for kind, colour in kinds.items():
        for specimen, marker in specimens.items():
            worst: dict[float, float] = {}
            for r in rows:
                if (r[key], r["specimen"]) == (kind, specimen):
                    worst[_middle(r)] = max(r["rms_permille"], worst.get(_middle(r), 0))
            look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4}
            axes.plot(list(worst), list(worst.values()), linewidth=0.9, **look)
    axes.set_yscale("log")
    axes.set_xlabel("middle of 10-mrad detectors (mrad)")
    _two_keys(axes, {label.format(k): c for k, c in kinds.items()}, specimens)


def _apertures(axes: Axes, rows: Rows) -> None:
    kinds = dict(zip(_values(rows, "sampling"), (BLUE, ORANGE, PURPLE), strict=False))
    specimens = dict(zip(_values(rows, "specimen"), MARKERS, strict=False))
    starts = np.unique([r["inner_mrad"] - r["convergence_mrad"] for r in rows])
    for i, (kind, colour) in enumerate(kinds.items()):
        for j, (specimen, marker) in enumerate(specimens.items()):
            mine = [r for r in rows if (r["sampling"], r["specimen"]) == (kind, specimen)]
            above = [r["inner_mrad"] - r["convergence_mrad"] for r in mine]
            axes.errorbar(
                np.searchsorted(starts, above) + 0.26 * (i - 1) + 0.1 * (j - 0.5),
                [r["rms_permille"] for r in mine],
                [r["rms_error_permille"] for r in mine],
                color=colour,
                marker=marker,
                markersize=4,
                linestyle="none",
                elinewidth=0.6,
            )
    axes.set_xticks(range(len(starts)), [f"{x:g}" for x in starts])
    axes.set_yscale("log")
    axes.set_ylim(0.5, 300)
    axes.set_xlabel("start of 10-mrad detectors above the aperture (mrad)")
    axes.set_ylabel("rms error ± standard error (‰)")
    axes.set_title("Apertures between rings: every point an aperture")
    _two_keys(axes, kinds, specimens)


def _bins(axes: Axes, angles: list[dict[str, float]], rows: Rows) -> None:
    aperture = min(r["convergence_mrad"] for r in rows)
    series = _values(rows, "specimen")
    for specimen, colour in zip(series, (BLUE, ORANGE, GREEN), strict=False):
        mine = [r for r in rows if (r["specimen"], r["convergence_mrad"]) == (specimen, aperture)]
        start = [_middle(r) for r in mine]
        axes.plot(start, [r["rms_permille"] for r in mine], color=colour, linewidth=1.1)
        noise = [r["rms_error_permille"] for r in mine]
        axes.plot(start, noise, color=colour, linewidth=0.8, linestyle=":")
    lines = [Line2D([], [], color=c) for c, _ in zip((BLUE, ORANGE, GREEN), series, strict=False)]
    lines.append(Line2D([], [], color="0.3", linestyle=":"))
    axes.set_yscale("log")
    axes.legend(lines, [*series, "standard error"], frameon=False, fontsize=8, loc="lower left")
    for part in angles:
        axes.axvline(part["to_mrad"], color="0.4", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{part['step_mrad']:g} mrad ",
            (part["to_mrad"], 0.98),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="top",
            fontsize=8,
        )
    axes.set_xlabel("middle of 10-mrad detectors (mrad)")
    axes.set_ylabel("rms error (‰)")
    axes.set_title(f"Detector edges between edges of bins, α {aperture:g} mrad")


def _two_keys(axes: Axes, colours: dict[Any, str], markers: dict[Any, str]) -> None:
    entries = [Line2D([], [], color=c, linewidth=3, label=str(k)) for k, c in colours.items()]
    look: dict[str, Any] = {"color": "0.3", "linestyle": "none", "markersize": 4}
    entries += [Line2D([], [], marker=m, label=str(k), **look) for k, m in markers.items()]
    axes.legend(handles=entries, frameon=False, fontsize=8, ncols=2)


def _values(rows: Rows, key: str) -> Iterable[Any]:
    return list(dict.fromkeys(r[key] for r in rows))


def _middle(row: dict[str, Any]) -> float:
    return (row["inner_mrad"] + row["outer_mrad"]) / 2
