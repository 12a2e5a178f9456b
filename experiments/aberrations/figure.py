"""The figure of the null test of aberrations, from its rows."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from experiments.common import tidy

BLACK, ORANGE, PURPLE = "#000000", "#D55E00", "#CC79A7"
MARKERS = "osD^v<>ph*"


def draw(
    config: dict[str, Any], spreads: list[dict[str, Any]], values: list[dict[str, Any]]
) -> Figure:
    """Above: spread over probes against configurations. Below: every probe's value."""
    detectors = config["detectors_mrad"]
    figure = Figure(figsize=(2.75 * len(detectors) + 1.4, 6.4), layout="constrained")
    panels = figure.subplots(2, len(detectors), sharey="row", squeeze=False)
    for j, detector in enumerate(detectors):
        _spread(panels[0, j], config, detector, [r for r in spreads if _at(r, detector)])
        _values(panels[1, j], config, [r for r in values if _at(r, detector)])
    panels[0, 0].set_ylabel("spread of PPISCS over\n$C_{10}$ and $C_{30}$ (%)")
    panels[1, 0].set_ylabel("$C_{10}$, $C_{30}$, defocus spread")
    panels[0, 0].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    for row, place in zip(panels, ("upper", "lower"), strict=True):
        entries: dict[str, Any] = {}
        for axes in row:
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
                entries.setdefault(label, handle)
        figure.legend(
            list(entries.values()),
            list(entries),
            loc=f"outside {place} center",
            ncols=8,
            frameon=False,
            fontsize=9,
        )
    return figure


def _at(row: dict[str, Any], detector: tuple[float, float]) -> bool:
    return (row["inner_mrad"], row["outer_mrad"]) == tuple(detector)


def _signed(number: float) -> str:
    return f"{number:+g}".replace("-", "−") if number else "0"


def _title(detector: tuple[float, float], convergence_mrad: float) -> str:
    inner, outer = detector
    kind = "bright field, " if outer <= convergence_mrad else ""
    return f"{kind}{inner:g}–{outer:g} mrad"


def _spread(
    axes: Axes,
    config: dict[str, Any],
    detector: tuple[float, float],
    rows: list[dict[str, Any]],
) -> None:
    n_atoms = config["scan"]["n_atoms"]
    count = np.array(config["configurations"], dtype=float)
    colours = colormaps["cividis"](np.linspace(0, 0.85, n_atoms))
    all_spreads = []
    for n in range(1, n_atoms + 1):
        spread = np.array([r["spread_grid_percent"] for r in rows if r["n_atoms"] == n])
        all_spreads.append(spread)
        marker = MARKERS[(n - 1) % len(MARKERS)]
        look: dict[str, Any] = {"color": colours[n - 1], "marker": marker, "markersize": 4}
        axes.plot(count, spread, linewidth=1.1, label=f"n = {n}", **look)
        # Hollow where the spread is that of fewer than four groups of crystals.
        few = count > count[-1] / 4
        axes.plot(
            count[few], spread[few], linestyle="none", markerfacecolor="white", zorder=3, **look
        )
    # Through the root mean square at one configuration, the best known point.
    start = np.sqrt(np.mean(np.square(all_spreads), axis=0))[0] * np.sqrt(count[0])
    axes.plot(
        count, start / np.sqrt(count), color=BLACK, linestyle="--", linewidth=1.4, label="1/√N"
    )
    alone: dict[int, list[float]] = {c: [] for c in config["configurations"]}
    for r in rows:
        alone[r["configurations"]].append(r["standard_error_percent"])
    axes.plot(
        count,
        [np.sqrt(np.mean(np.square(a))) for a in alone.values()],
        color=ORANGE,
        linestyle=":",
        linewidth=1.6,
        label="σ of one probe",
    )
    published = [
        s["percent"]
        for s in config["published"]["spreads"]
        if tuple(s["detector_mrad"]) == tuple(detector)
    ]
    if published:
        at = config["published"]["configurations"]
        low, high = min(published[0]), max(published[0])
        axes.plot(
            [at, at],
            [low, high],
            color=PURPLE,
            linewidth=5,
            alpha=0.8,
            solid_capstyle="butt",
            label=f"published network, n = 1–{len(published[0])}",
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(FixedLocator(count.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("frozen-phonon configurations N")
    axes.set_title(_title(detector, config["specimen"]["convergence_mrad"]), fontsize=10)
    tidy(axes)


def _values(axes: Axes, config: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    thickest = config["scan"]["n_atoms"]
    mine = [r for r in rows if r["n_atoms"] == thickest]
    average = mine[0]["tilt_average_angstrom2"]
    half = 100 * mine[0]["tilt_average_error_angstrom2"] / average
    axes.axvspan(-half, half, color=ORANGE, alpha=0.35, linewidth=0, label="tilt average ± σ")
    axes.axvline(0, color=ORANGE, linewidth=1)
    axes.errorbar(
        [100 * (r["ppiscs_angstrom2"] / average - 1) for r in mine],
        range(len(mine)),
        xerr=[100 * r["standard_error_angstrom2"] / average for r in mine],
        color="#0072B2",
        marker="o",
        markersize=4,
        linestyle="none",
        elinewidth=1,
        capsize=2,
        label=f"probe scan, n = {thickest}, {config['configurations'][-1]} configurations, ± σ "
        "(the same crystals for all probes)",
    )
    labels = [
        _signed(r["c10_angstrom"])
        + " Å, "
        + _signed(r["c30_um"])
        + " µm"
        + (f", {r['defocus_spread_angstrom']:g} Å" if r["defocus_spread_angstrom"] else "")
        for r in mine
    ]
    axes.set_yticks(range(len(mine)), labels, fontsize=8)
    axes.set_ylim(len(mine) - 0.4, -0.6)
    widest = np.abs(axes.get_xlim()).max()
    axes.set_xlim(-widest, widest)
    axes.set_xlabel("PPISCS − tilt average (%)")
    tidy(axes)
