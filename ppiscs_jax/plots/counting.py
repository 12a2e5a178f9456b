"""Counted images: numbers of atoms and their probability over the image, histograms, scales."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ppiscs_jax.plots.curves import COLOURS

BLUE, ORANGE, GREEN = COLOURS[:3]

LABELLED = 150
"""Most columns whose numbers of atoms are written beside them."""


def draw_count_map(
    pixels: Float[np.ndarray, "rows columns"],
    pixel_angstrom: float,
    positions: Float[np.ndarray, "n 2"],
    counts: Int[np.ndarray, " n"],
) -> Figure:
    """Columns over the image, coloured by their numbers of atoms."""
    figure, axes = _over_image(pixels, pixel_angstrom)
    low, high = int(counts.min()), int(counts.max())
    dots = axes.scatter(
        positions[:, 0],
        positions[:, 1],
        c=counts,
        s=_size(positions),
        cmap="viridis",
        vmin=low - 0.5,
        vmax=high + 0.5,
        linewidths=0.3,
        edgecolors="white",
    )
    _frame_image(axes, pixels, pixel_angstrom)
    if len(counts) <= LABELLED:
        middle = (low + high) / 2
        for place, count in zip(positions, counts, strict=True):
            colour = "white" if count < middle else "black"
            axes.annotate(
                str(count), tuple(place), ha="center", va="center", fontsize=6, color=colour
            )
    bar = figure.colorbar(dots, ax=axes, label="Number of atoms", shrink=0.8)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"{int(counts.sum())} atoms in {len(counts)} columns", fontsize=11)
    return figure


def draw_probability(
    pixels: Float[np.ndarray, "rows columns"],
    pixel_angstrom: float,
    positions: Float[np.ndarray, "n 2"],
    probability: Float[np.ndarray, " n"],
) -> Figure:
    """Columns over the image, coloured by the probability of their number of atoms."""
    figure, axes = _over_image(pixels, pixel_angstrom)
    dots = axes.scatter(
        positions[:, 0],
        positions[:, 1],
        c=probability,
        s=_size(positions),
        cmap="RdYlGn",
        vmin=0,
        vmax=1,
        linewidths=0.3,
        edgecolors="white",
    )
    _frame_image(axes, pixels, pixel_angstrom)
    figure.colorbar(dots, ax=axes, label="Probability of the number shown", shrink=0.8)
    expected = float(np.sum(1 - probability))
    axes.set_title(f"{expected:.1f} of {len(probability)} columns expected wrong", fontsize=11)
    return figure


def draw_histogram(
    values: Float[np.ndarray, " n"],
    means: Float[np.ndarray, " m"],
    n_atoms: Int[np.ndarray, " m"],
    counts: Int[np.ndarray, " n"],
    *,
    normalised: bool = True,
) -> Figure:
    """Cross-sections, coloured by the number of atoms, and where numbers of atoms are expected."""
    figure = Figure(figsize=(7.0, 3.6), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(min(values.min(), 0), values.max() * 1.02, 80).tolist()
    groups = [values[counts == n] for n in np.unique(counts)]
    colours = [COLOURS[n % 6] for n in np.unique(counts)]
    axes.hist(groups, bins=bins, stacked=True, color=colours)
    top = axes.get_ylim()[1]
    near = (means <= bins[-1]) & (means >= bins[0])
    axes.vlines(means[near], 0, top, color="0.3", linewidth=0.6, linestyle=":")
    step = max(1, int(near.sum()) // 20)
    for mean, n in list(zip(means[near], n_atoms[near], strict=True))[::step]:
        axes.text(mean, top, str(n), ha="center", va="bottom", fontsize=7, color="0.3")
    axes.set_ylim(0, top)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    unit = "(Å²)" if normalised else "(arbitrary units)"
    axes.set_xlabel(f"Scattering cross-section {unit}")
    axes.set_ylabel("Columns")
    axes.set_title("Dotted: cross-sections of whole numbers of atoms", fontsize=9, pad=14)
    _tidy(axes)
    return figure


def draw_icl(icl: Float[np.ndarray, " most"], minima: Sequence[int], chosen: int) -> Figure:
    """The integrated classification likelihood against the number of components."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.subplots()
    components = np.arange(1, len(icl) + 1)
    axes.plot(components, icl, color=BLUE, linewidth=1.2, marker=".", label="ICL")
    at = np.array(minima, int)
    axes.plot(at, icl[at - 1], "o", color=ORANGE, markerfacecolor="none", label="Local minima")
    axes.plot(chosen, icl[chosen - 1], "o", color=ORANGE, label=f"Chosen: {chosen}")
    axes.set_xlabel("Number of components")
    axes.set_ylabel("ICL")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    _tidy(axes)
    return figure


def draw_scales(
    gains: Sequence[float], probabilities: Sequence[float], totals: Sequence[int]
) -> Figure:
    """Scales of the intensity that explain the cross-sections, with their probabilities."""
    figure = Figure(figsize=(6.0, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.stem(gains, probabilities, basefmt=" ", linefmt=BLUE, markerfmt="o")
    for gain, probability, total in zip(gains, probabilities, totals, strict=True):
        if probability > 0.02:
            axes.annotate(
                f"{total} atoms",
                (gain, probability),
                (4, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axes.set_xlabel("Gain of the measured intensities")
    axes.set_ylabel("Probability")
    axes.set_ylim(0, 1.12)
    axes.margins(x=0.15)
    _tidy(axes)
    return figure


def _over_image(pixels: np.ndarray, pixel_angstrom: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.2, 5.4), layout="constrained")
    axes = figure.subplots()
    ends = _ends(pixels, pixel_angstrom)
    low, high = np.quantile(pixels, [0.01, 0.999])
    axes.imshow(pixels, cmap="gray", extent=ends, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xlabel("x (Å)")
    axes.set_ylabel("y (Å)")
    return figure, axes


def _ends(pixels: np.ndarray, pixel_angstrom: float) -> tuple[float, float, float, float]:
    """Left, right, bottom, top of an image whose first pixel's centre is the origin [Å]."""
    rows, columns = pixels.shape
    half = pixel_angstrom / 2
    return -half, columns * pixel_angstrom - half, rows * pixel_angstrom - half, -half


def _frame_image(axes: Axes, pixels: np.ndarray, pixel_angstrom: float) -> None:
    """Show all of the image and nothing else, wherever columns are drawn."""
    left, right, bottom, top = _ends(pixels, pixel_angstrom)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


def _size(positions: np.ndarray) -> float:
    """Area of the dots, so that neighbours hardly touch."""
    area = float(np.prod(np.ptp(positions, axis=0))) / len(positions)
    edge = float(np.ptp(positions, axis=0).max())
    return float(np.clip(0.35 * area / max(edge, 1e-9) ** 2 * 300**2, 4, 120))


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(direction="in")
