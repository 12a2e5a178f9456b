"""The figure of the convergence study, from its rows."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from experiments.common import tidy
from ppiscs_jax.constants import wavelength_angstrom

# Okabe & Ito's colours; markers and fills serve print in grey.
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
STYLES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "marker": "s", "linestyle": "-"},
    {"color": ORANGE, "marker": "o", "linestyle": "--"},
    {"color": ORANGE, "marker": "o", "markerfacecolor": "white", "linestyle": "none"},
    {"color": BLUE, "marker": "s", "markerfacecolor": "white", "linestyle": "none"},
)
ABTEM: dict[str, Any] = {"color": GREEN, "marker": "^", "linestyle": "none"}
PUBLISHED: tuple[dict[str, Any], ...] = (
    {"color": PURPLE, "marker": "D", "linestyle": "none", "markerfacecolor": "white"},
    {"color": PURPLE, "marker": "D", "linestyle": "none"},
)

LINEAR_PERCENT = 0.5
"""Linear up to here, logarithmic beyond: tenths of a percent and tens of percent in one panel."""

TICKS = (-100, -30, -10, -3, -1, -0.3, 0, 0.3, 1, 3, 10, 30)


def draw(config: dict[str, Any], rows: list[dict[str, Any]]) -> Figure:
    """Deviation from the converged PPISCS [%] against k_c, a row a case, a column a detector."""
    cases, detectors = config["cases"], config["detectors_mrad"]
    figure = Figure(
        figsize=(3.1 * len(detectors) + 0.8, 2.9 * len(cases) + 0.9), layout="constrained"
    )
    panels = figure.subplots(len(cases), len(detectors), sharex=True, sharey=True, squeeze=False)
    largest = max(max(s["band_limits_inv_angstrom"]) for s in config["grids"])
    for i, case in enumerate(cases):
        for j, (inner, outer) in enumerate(detectors):
            axes = panels[i, j]
            chosen = [
                r
                for r in rows
                if (r["case"], r["inner_mrad"], r["outer_mrad"]) == (case["name"], inner, outer)
            ]
            _panel(axes, config, case, chosen)
            axes.set_title(f"{inner:g}–{outer:g} mrad", fontsize=10)
            ends = outer / (1e3 * float(wavelength_angstrom(case["voltage_kv"])))
            axes.axvspan(
                1, ends, color="0.92", linewidth=0, zorder=0, label="band ends inside the detector"
            )
            axes.set_xlim(6.5, 1.25 * largest)
        panels[i, 0].set_ylabel(
            f"{case['element']} [{case['zone_axis']}], {case['voltage_kv']:g} kV\n"
            "deviation of PPISCS (%)"
        )
    for axes in panels[-1]:
        axes.set_xlabel("band limit $k_c$ (Å$^{-1}$)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure


def _panel(
    axes: Axes, config: dict[str, Any], case: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    series = [(s["name"], style) for s, style in zip(config["grids"], STYLES, strict=False)]
    series.append(("abTEM", ABTEM))
    series += [(p["name"], s) for p, s in zip(case["published"], PUBLISHED, strict=False)]
    axes.axhline(0, color="0.4", linewidth=0.8)
    for name, style in series:
        mine = [r for r in rows if r["method"] == name]
        if not mine:
            continue
        axes.errorbar(
            [r["band_limit_inv_angstrom"] for r in mine],
            [r["difference_percent"] for r in mine],
            [r["difference_error_percent"] for r in mine],
            label=name,
            markersize=5,
            linewidth=1.2,
            elinewidth=1.0,
            capsize=2,
            **style,
        )
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=LINEAR_PERCENT, linscale=0.6)
    axes.set_ylim(-110, 55)
    axes.xaxis.set_major_locator(FixedLocator([8, 15, 30, 60, 120]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.yaxis.set_major_locator(FixedLocator(TICKS))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: f"{y:+g}".replace("-", "−") if y else "0")
    )
    tidy(axes)
