"""Figures of fits and of curves with their uncertainty."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem
from ppiscs_jax.plots.curves import COLOURS, SUFFIXES, save_figure

BLUE, ORANGE, GREEN = COLOURS[:3]


def plot_fit(
    measured: Float[np.ndarray, " n"],
    error: Float[np.ndarray, " n"],
    nominal: Float[np.ndarray, " n"],
    fitted: Float[np.ndarray, " n"],
    path: str | Path | None = None,
    *,
    title: str = "",
) -> Figure:
    """Draw measured, nominal and fitted curves [Å²], residuals below.

    Args:
        measured: what was fitted at 1, 2, … atoms, NaN in gaps.
        error: standard errors of that, drawn as bars; 0 where not known.
        nominal, fitted: curves at 1, 2, … atoms, gain and offset included; NaN where none is.
        path: where to save it (.png, .pdf, .svg), whole or not at all.
        title: of the figure.

    Raises:
        InputError: the path cannot be written.
    """
    figure, above, below = _panels(path, title)
    n = np.arange(1, len(measured) + 1)
    thickest = int(n[np.isfinite(measured)].max())
    points: dict[str, Any] = {
        "color": "0.2",
        "linestyle": "",
        "marker": "o",
        "markersize": 3,
        "elinewidth": 0.8,
    }
    above.errorbar(n, measured, error, label="measured", **points)
    scale = 100 / np.nanmax(np.abs(measured))
    for curve, colour, style, label in (
        (nominal, BLUE, "--", "at the nominal settings"),
        (fitted, GREEN, "-", "fitted"),
    ):
        at = np.arange(1, 1 + min(len(curve), thickest))
        above.plot(at, curve[at - 1], color=colour, linestyle=style, linewidth=1.6, label=label)
        difference = scale * (measured[at - 1] - curve[at - 1])
        below.plot(at, difference, color=colour, linestyle=style, linewidth=1.2, marker=".")
    below.fill_between(n, -scale * error, scale * error, color="0.2", alpha=0.15, linewidth=0)
    below.axhline(0, color="0.4", linewidth=0.8)
    below.set_ylabel("Measured − curve\n(% of maximum)")
    _finish(figure, above, below, thickest, path)
    return figure


def plot_uncertainty(
    nominal: Float[np.ndarray, " n"],
    std: Float[np.ndarray, " n"],
    path: str | Path | None = None,
    *,
    title: str = "",
) -> Figure:
    """Draw a curve [Å²] with a band of ± its standard deviation, which is below by itself.

    Args:
        nominal: curve at 1, 2, … atoms; NaN where there is none.
        std: standard deviations [Å²] that the errors of the settings make.
        path: where to save it (.png, .pdf, .svg), whole or not at all.
        title: of the figure.

    Raises:
        InputError: the path cannot be written.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> problem = pp.Problem.within(settings, {"inner_mrad": 1.0, "rmsd_angstrom": 0.005})
        >>> samples = pp.prior_samples(problem, jax.random.key(0), draws=100)
        >>> spread = pp.propagate(pp.load_surrogate(), problem, samples)
        >>> figure = pp.plot_uncertainty(spread.mean, spread.std, "gold.png")
        >>> len(figure.axes)
        2
    """
    figure, above, below = _panels(path, title)
    there = np.isfinite(nominal)
    n, nominal, std = np.flatnonzero(there) + 1, nominal[there], std[there]
    above.plot(n, nominal, color=BLUE, linewidth=1.6, label="at the nominal settings")
    band: dict[str, Any] = {"color": BLUE, "alpha": 0.25, "linewidth": 0}
    above.fill_between(n, nominal - std, nominal + std, label="± standard deviation", **band)
    below.plot(n, 100 * std / nominal, color=BLUE, linewidth=1.4)
    below.set_ylabel("Standard\ndeviation (%)")
    below.set_ylim(bottom=0)
    _finish(figure, above, below, int(n[-1]), path)
    return figure


def _panels(path: str | Path | None, title: str) -> tuple[Figure, Axes, Axes]:
    if path is not None and (problem := output_problem(path, SUFFIXES)):
        raise InputError(problem)
    figure = Figure(figsize=(5.8, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.2))
    above.set_title(title, fontsize=10)
    return figure, above, below


def _finish(
    figure: Figure, above: Axes, below: Axes, thickest: int, path: str | Path | None
) -> None:
    """Labels, limits, the legend; the file."""
    above.set_ylabel("PPISCS (Å²)")
    above.set_ylim(bottom=0)
    above.legend(loc="upper left", frameon=False)
    below.set_xlabel("Number of atoms per column")
    below.set_xlim(0, thickest + 1)
    below.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(direction="in")
    figure.align_ylabels()
    if path is not None:
        save_figure(figure, path)
