"""Figures of surrogates' errors on fresh simulations."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.common import tidy
from ppiscs_jax import Settings
from ppiscs_jax.plots.curves import COLOURS
from ppiscs_jax.settings import SPECIMEN
from ppiscs_jax.surrogate.evaluate import HeldOut

LEAST_SCORE, LARGEST_SCORE = 1e-5, 0.3
"""Smaller and larger scores, 0 among them, are drawn there."""

COLUMNS = 4


def draw_surrogates(predictions: dict[str, np.ndarray], scores: dict[str, np.ndarray],
                    held_out: HeldOut, wide: np.ndarray, bins: int) -> Figure:  # fmt: skip
    """Histogram of wide detectors, and the first surrogate's average and worst curve among them."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    histogram, average, worst = figure.subplots(1, 3)
    for (name, values), colour in zip(scores.items(), COLOURS, strict=False):
        known = values[wide & np.isfinite(values)]
        draw_histogram(histogram, known, bins, colour, f"{name}: {known.mean():.1e}")
    histogram.set_ylim(0, 1.35 * histogram.get_ylim()[1])  # room for the legend
    histogram.legend(title="surrogate: mean", frameon=False, fontsize=8, title_fontsize=8)
    first = np.where(wide, next(iter(scores.values())), np.nan)
    for axes, choose, title in (
        (average, nearest_to_mean, "average"),
        (worst, np.nanargmax, "worst"),
    ):
        at = np.unravel_index(choose(first), first.shape)
        draw_case(axes, at, predictions, scores, held_out, f"{title}: ")
    for axes in (histogram, average, worst):
        tidy(axes)
    return figure


def draw_specimens(scores: np.ndarray, held_out: HeldOut, bins: int) -> Figure:
    """Fig. 4: a panel for each zone axis, a line for each element, all detectors."""
    specimens = specimens_of(held_out, scores)
    zones = sorted({settings.zone_axis for settings in specimens}, reverse=True)
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axes, zone in zip(
        np.ravel(figure.subplots(1, len(zones), sharey=True)), zones, strict=True
    ):
        here = {s.element: chosen for s, chosen in specimens.items() if s.zone_axis == zone}
        for (element, chosen), colour in zip(here.items(), (*COLOURS, "0.6"), strict=False):
            known = scores[chosen & np.isfinite(scores)]
            draw_histogram(axes, known, bins, colour, f"{element}: {known.mean():.1e}")
        axes.set_title(f"[{zone}]", fontsize=9)
        axes.legend(title="element: mean", frameon=False, fontsize=8, title_fontsize=8)
        tidy(axes)
    return figure


def draw_cases(predictions: dict[str, np.ndarray], scores: dict[str, np.ndarray], held_out: HeldOut,
               chosen_by: np.ndarray, choose: Callable[[np.ndarray], int]) -> Figure:  # fmt: skip
    """Figs. 5 to 8: of each specimen, all detectors, the curve chosen by its score."""
    specimens = specimens_of(held_out, chosen_by)
    rows = -(-len(specimens) // COLUMNS)
    figure = Figure(figsize=(3.4 * COLUMNS, 2.9 * rows), layout="constrained")
    panels = np.ravel(figure.subplots(rows, COLUMNS, squeeze=False))
    for axes, chosen in zip(panels, specimens.values(), strict=False):
        known = np.where(chosen, chosen_by, np.nan)
        at = np.unravel_index(choose(known), known.shape)
        draw_case(axes, at, predictions, scores, held_out, "")
        tidy(axes)
    for axes in panels[len(specimens) :]:
        axes.set_axis_off()
    return figure


def draw_histogram(axes: Axes, scores: np.ndarray, bins: int, colour: str, label: str) -> None:
    """Scores on a logarithmic axis, in parts of all curves."""
    edges = np.geomspace(LEAST_SCORE, LARGEST_SCORE, bins)
    weights = np.full(len(scores), 1 / len(scores))
    style = {"histtype": "step", "color": colour, "linewidth": 1.4}
    axes.hist(np.clip(scores, *edges[[0, -1]]), edges, weights=weights, label=label, **style)
    axes.set_xscale("log")
    axes.set_xlabel("Score: L1n without the check's noise")
    axes.set_ylabel("Fraction of curves")


def draw_case(axes: Axes, at: tuple, predictions, scores, held_out: HeldOut, title: str) -> None:
    """One curve, simulated and predicted."""
    s = Settings.from_vector(held_out.x[at])
    n = np.arange(1, held_out.ppiscs.shape[-1] + 1)
    axes.plot(n, held_out.ppiscs[at], "o", color="0.6", markersize=3, label="simulated")
    for (name, values), colour in zip(predictions.items(), COLOURS, strict=False):
        if not np.isfinite(scores[name][at]):
            continue  # outside of what the surrogate was trained on
        label = f"{name}: {scores[name][at]:.1e}"
        axes.plot(n, values[at], color=colour, linewidth=1.2, label=label)
    axes.set_title(
        f"{title}{s.element} [{s.zone_axis}], {s.voltage_kv:g} kV, α {s.convergence_mrad:.1f},\n"
        f"{s.inner_mrad:.0f}–{s.outer_mrad:.0f} mrad, rmsd {s.rmsd_angstrom:.3f} Å",
        fontsize=8,
    )
    axes.set_xlabel("Number of atoms per column")
    axes.set_ylabel("PPISCS (Å²)")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend(frameon=False, fontsize=7)


def nearest_to_mean(scores: np.ndarray) -> int:
    """Flat index of the score nearest to their mean."""
    return int(np.nanargmin(np.abs(scores - np.nanmean(scores))))


def specimens_of(held_out: HeldOut, scores: np.ndarray) -> dict[Settings, np.ndarray]:
    """Of each element and zone axis that has scores: some settings of it, and its curves."""
    found = {}
    for pair in np.unique(held_out.x[:, 0, :2], axis=0):
        chosen = np.all(held_out.x[..., SPECIMEN] == pair, axis=-1)
        if np.any(np.isfinite(scores[chosen])):
            found[Settings.from_vector(held_out.x[chosen][0])] = chosen
    return found
