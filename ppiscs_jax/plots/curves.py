"""PPISCS against thickness, with its standard error."""

import io
import math
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing
from ppiscs_jax.simulation.curve import Curve

SUFFIXES = (".png", ".pdf", ".svg")
"""Endings that `plot_curves` accepts."""

# Okabe & Ito's colours, told apart with any colour vision; line styles serve print in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", "-.", ":")

CIRCLES = 30
"""About so many thicknesses of a check are drawn."""

BAND = 2
"""Half width of the error band, in standard errors."""


def plot_curves(
    curves: Sequence[Curve],
    path: str | Path | None = None,
    *,
    checks: Sequence[Curve] = (),
) -> Figure:
    """Draw PPISCS [Å²] against atoms per column, one line per detector.

    Below it the relative standard error [%], which is usually too small to see as a band; or,
    where there are checks, how far the curves are off them.

    Args:
        curves: of one specimen and illumination; the title is that of the first.
        path: where to save it (.png, .pdf, .svg), whole or not at all.
        checks: the same curves made in another way, in their order; drawn as circles.

    Raises:
        InputError: no curves, or not as many checks, or the path cannot be written.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> figure = pp.plot_curves([pp.predict(settings)], "gold.png")
        >>> above, below = figure.axes
        >>> above.get_ylabel()
        'PPISCS (Å²)'
    """
    if not curves:
        raise InputError("curves: there are none to plot")
    if checks and len(checks) != len(curves):
        raise InputError(f"checks: there are {len(checks)} of {len(curves)} curves")
    if path is not None and (problem := output_problem(path, SUFFIXES)):
        raise InputError(problem)
    figure = Figure(figsize=(5.6, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    styles = list(zip(curves, cycle(COLOURS), cycle(LINE_STYLES), strict=False))
    for curve, colour, style in styles:
        _draw(curve, above, colour, style)
        if not checks:
            _draw_error(curve, below, colour, style)
    for (curve, colour, _), check in zip(styles, checks, strict=False):
        _draw_check(curve, check, above, below, colour)

    first = curves[0]
    above.set_title(_title(first), fontsize=11, pad=30 if checks else 18)
    note = f"{first.made_by}; bands: ±{BAND} standard errors"
    if checks:
        note += f"\ncircles: {checks[0].made_by}"
    place = {"transform": above.transAxes, "ha": "center", "va": "bottom"}
    above.text(0.5, 1.015, note, fontsize=8, color="0.4", **place)
    above.set_ylabel("PPISCS (Å²)")
    above.set_ylim(bottom=0)
    above.legend(title="Detector", loc="upper left", frameon=False, alignment="left")
    below.set_xlabel("Number of atoms per column")
    below.set_ylabel("Difference\n(% of maximum)" if checks else "Standard\nerror (%)")
    below.margins(y=0.1)
    if not checks:
        below.set_ylim(bottom=0)
    below.yaxis.set_major_locator(MaxNLocator(nbins=4))
    below.set_xlim(0, first.n_atoms[-1] + 1)
    below.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
    for axes in (above, below):
        _tidy(axes)
    figure.align_ylabels()
    if path is not None:
        save_figure(figure, path)
    return figure


def save_figure(figure: Figure, path: str | Path, dpi: int = 300) -> None:
    """Write a figure to a file, whole or not at all; its ending chooses the format.

    Raises:
        OSError: writing failed. Matplotlib itself, writing to a full disk, raises other errors.
    """
    content = io.BytesIO()
    figure.savefig(content, format=Path(path).suffix.removeprefix(".").lower(), dpi=dpi)
    with replacing(path) as temporary:
        temporary.write_bytes(content.getvalue())


def _draw(curve: Curve, above: Axes, colour: str, style: str) -> None:
    n, value, error = curve.n_atoms, curve.ppiscs, curve.standard_error
    above.plot(
        n,
        value,
        color=colour,
        linestyle=style,
        linewidth=1.6,
        marker=_marker(curve),
        label=curve.detector,
    )
    above.fill_between(
        n, value - BAND * error, value + BAND * error, color=colour, alpha=0.3, linewidth=0
    )


def _draw_error(curve: Curve, below: Axes, colour: str, style: str) -> None:
    value, error = curve.ppiscs, curve.standard_error
    relative = 100 * np.divide(error, value, out=np.full_like(error, np.nan), where=value > 0)
    below.plot(
        curve.n_atoms,
        relative,
        color=colour,
        linestyle=style,
        linewidth=1.2,
        marker=_marker(curve),
    )


def _draw_check(curve: Curve, check: Curve, above: Axes, below: Axes, colour: str) -> None:
    """Circles at every few thicknesses; the difference with the check's error as bars."""
    shared = min(len(curve.n_atoms), len(check.n_atoms))
    chosen = np.arange(0, shared, max(1, shared // CIRCLES))
    n = curve.n_atoms[chosen]
    circles: dict[str, Any] = {
        "marker": "o",
        "linestyle": "",
        "color": colour,
        "markerfacecolor": "none",
    }
    above.plot(n, check.ppiscs[chosen], markersize=4, **circles)
    percent = 100 / float(np.max(check.ppiscs))
    difference = percent * (curve.ppiscs[chosen] - check.ppiscs[chosen])
    bars = BAND * percent * check.standard_error[chosen]
    below.errorbar(n, difference, bars, markersize=3, elinewidth=0.8, **circles)
    band = BAND * percent * curve.standard_error
    below.fill_between(curve.n_atoms, -band, band, color=colour, alpha=0.2, linewidth=0)


def _marker(curve: Curve) -> str | None:
    """A single thickness has no line: then a marker shows it."""
    return "o" if len(curve.n_atoms) == 1 else None


def _title(curve: Curve) -> str:
    s = curve.settings
    mistilt = math.hypot(*curve.settings.mistilt_mrad)
    return (
        f"{s.element} [{s.zone_axis}], {float(s.voltage_kv):g} kV, "
        f"α = {float(s.convergence_mrad):g} mrad, rmsd {float(s.rmsd_angstrom):.4g} Å"
    ) + (f", mistilt {mistilt:.2g} mrad" if mistilt else "")


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(direction="in")
