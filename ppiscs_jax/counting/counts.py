"""Numbers of atoms from cross-sections: by the nearest value of a library, by statistics, or both.

Every method gives a probability for each number of atoms of each column, and the solutions that
it has weighed against each other: minima of the ICL, or scales of the intensity.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Float, Int

from ppiscs_jax.counting.mixture import Mixtures, fit_mixtures, summarised
from ppiscs_jax.errors import InputError, as_numbers, range_problem

LEVEL = 0.95
"""Probability of the numbers of atoms from count_low to count_high."""

GAIN_STEP = 0.3
"""Starts are so close that the thickest column changes by this part of an atom between them."""

MOST_STARTS = 200
STEPS = 500
TOLERANCE = 1e-7

SAME_GAIN = 1e-3
"""Relative difference of gains that are one solution."""


@dataclass(frozen=True)
class Solution:
    """One of the ways in which a method explains all cross-sections together.

    Attributes:
        name: for tables: "11 components", "gain 0.981".
        probability: weight among the solutions, NaN where the method has none.
        score: the criterion: ICL for statistics, twice the negative log evidence otherwise.
        total: number of atoms in all columns, by the most probable number of each.
        gain: of the intensities against the simulated ones, NaN for the statistics.
        means: cross-sections [Å²] of `n_atoms` atoms per column.
        n_atoms: numbers of atoms of the means.
        estimates: further numbers and their standard deviations, by name.
    """

    name: str
    probability: float
    score: float
    total: int
    gain: float
    means: Float[np.ndarray, " m"]
    n_atoms: Int[np.ndarray, " m"]
    estimates: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Counts:
    """Numbers of atoms of all columns.

    Attributes:
        method: "library", "statistics", "hybrid" or "joint".
        n_atoms: numbers of atoms that were considered, shape (m,), rising by one.
        probabilities: of each in each column, shape (columns, m).
        solutions: what was weighed, the chosen or most probable first.
        mixtures: fits of the statistics, None for other methods.
    """

    method: str
    n_atoms: Int[np.ndarray, " m"]
    probabilities: Float[np.ndarray, "columns m"]
    solutions: tuple[Solution, ...]
    mixtures: Mixtures | None = None

    @property
    def counts(self) -> Int[np.ndarray, " columns"]:
        """The most probable number of atoms of each column."""
        return self.n_atoms[self.probabilities.argmax(axis=1)]

    @property
    def probability(self) -> Float[np.ndarray, " columns"]:
        """Probability of `counts`."""
        return self.probabilities.max(axis=1)

    @property
    def interval(self) -> tuple[Int[np.ndarray, " columns"], Int[np.ndarray, " columns"]]:
        """Smallest and largest number of atoms of a central interval of probability LEVEL."""
        below = np.cumsum(self.probabilities, axis=1)
        tail = (1 - LEVEL) / 2
        low = np.argmax(below > tail, axis=1)
        high = np.argmax(below >= 1 - tail - 1e-9, axis=1)
        best = self.probabilities.argmax(axis=1)
        return self.n_atoms[np.minimum(low, best)], self.n_atoms[np.maximum(high, best)]

    @property
    def total(self) -> int:
        """Atoms in all columns, by `counts`."""
        return int(self.counts.sum())


def count_by_library(
    values: Float[np.ndarray, " N"],
    standard_error: Float[np.ndarray, " N"],
    curve: Float[np.ndarray, " n"],
    curve_error: Float[np.ndarray, " n"] | None = None,
) -> Counts:
    """The number of atoms whose simulated cross-section is the nearest, 0 atoms included.

    Args:
        values: cross-sections [Å²].
        standard_error: of the values [Å²]. NaN and 0 are replaced by the rms distance to the
            nearest simulated value.
        curve: simulated cross-sections [Å²] at 1, 2, … atoms.
        curve_error: standard errors of the curve [Å²], which widen probabilities.

    Raises:
        InputError: a curve of no finite values.
    """
    n_atoms, means = with_nothing(curve)
    errors = np.zeros(len(means))
    if curve_error is not None:
        errors[1:] = np.asarray(curve_error, float)[: len(means) - 1]
    distance = values[:, None] - means
    nearest = np.abs(distance).argmin(axis=1)
    rms = np.sqrt(np.mean(np.take_along_axis(distance, nearest[:, None], 1) ** 2))
    usable = np.isfinite(standard_error) & (np.asarray(standard_error) > 0)
    known = np.where(usable, standard_error, max(rms, 1e-12))
    variance = known[:, None] ** 2 + errors**2
    probabilities = _normalised(-0.5 * (distance**2 / variance))
    # The nearest is the choice, whatever the errors of the curve are.
    chosen = probabilities.argmax(axis=1)
    if not np.array_equal(chosen, nearest):
        probabilities = _normalised(-0.5 * distance**2 / known[:, None] ** 2)
    total = int(n_atoms[nearest].sum())
    only = Solution("library", 1.0, float("nan"), total, 1.0, means, n_atoms)
    return Counts("library", n_atoms, probabilities, (only,))


def count_by_statistics(
    values: Float[np.ndarray, " N"],
    *,
    components: int | None = None,
    offset: int = 0,
    most: int | None = None,
    dose: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Counts:
    """Count by the components of a mixture: the k-th smallest has k + `offset` atoms.

    Args:
        values: cross-sections, in any unit.
        components: number of components; default: of the minima of the ICL that have two or more,
            the lowest. All minima are among the solutions.
        offset: number of atoms by which the first component exceeds one.
        most: largest number of components that is tried.
        dose: as in `fit_mixtures`.
        progress: as in `fit_mixtures`.

    Raises:
        InputError: as `fit_mixtures`; a number of components that was not tried.
    """
    if problem := range_problem("offset", offset, 0, 1000, "", whole=True):
        raise InputError(problem)
    if components is not None:
        if problem := range_problem("components", components, 1, len(values), "", whole=True):
            raise InputError(problem)
        most = max(most or min(30, len(values) // 3), components)
    mixtures = fit_mixtures(values, most, dose=dose, progress=progress)
    chosen = components or mixtures.suggested
    order = [chosen, *(g for g in mixtures.minima if g != chosen)]
    solutions = []
    for g in order:
        mixture = mixtures.mixtures[g - 1]
        n_atoms = np.arange(1, g + 1) + offset
        total = int(n_atoms[mixtures.probabilities(g).argmax(axis=1)].sum())
        name = f"{g} component{'s' if g > 1 else ''}"
        solutions.append(Solution(name, np.nan, mixture.icl, total, np.nan, mixture.means, n_atoms))
    probabilities = mixtures.probabilities(chosen)
    n_atoms = solutions[0].n_atoms
    return Counts("statistics", n_atoms, probabilities, tuple(solutions), mixtures)


def count_by_hybrid(
    values: Float[np.ndarray, " N"],
    curve: Float[np.ndarray, " n"],
    *,
    gain_std: float = 0.05,
) -> Counts:
    """Count by a mixture whose means are gain × the simulated curve.

    Gain, width and the proportion of each number of atoms are estimated by expectation maximisation
    from many initial gains. The result with the highest posterior density is chosen, where the gain
    has a Gaussian prior; the other local maxima are kept as solutions. De wael et al.,
    Ultramicroscopy 177 (2017) 69.

    Args:
        values: cross-sections [Å²].
        curve: simulated cross-sections [Å²] at 1, 2, … atoms.
        gain_std: standard deviation of the gain's prior around 1.

    Raises:
        InputError: a curve of no finite values, a number out of range.
    """
    if problem := range_problem("gain_std", gain_std, 1e-6, 1.0, ""):
        raise InputError(problem)
    n_atoms, means = with_nothing(curve)
    thickest = max(1, int(np.searchsorted(means, values.max())))
    kept = int(thickest * (1 + 4 * gain_std)) + 3
    n_atoms, means = n_atoms[: kept + 1], means[: kept + 1]
    points, once = summarised(values), np.ones(len(values))
    ends: list[float] = []
    found: list[tuple[float, float, np.ndarray]] = []
    for start in gain_starts(gain_std, thickest):
        _, gain, _ = _scaled_mixture(*points, means, float(start), gain_std)
        if _is_new(gain, ends):
            ends.append(gain)
            end = _scaled_mixture(values, once, means, gain, gain_std)
            if _is_new(end[1], [other for _, other, _ in found]):
                found.append(end)
    found.sort(key=lambda one: one[0])
    weights = scipy.special.softmax(-0.5 * np.array([score for score, _, _ in found]))
    solutions = [
        Solution(
            f"gain {gain:.4g}",
            float(weight),
            score,
            int(n_atoms[probabilities.argmax(axis=1)].sum()),
            gain,
            gain * means,
            n_atoms,
        )
        for (score, gain, probabilities), weight in zip(found, weights, strict=True)
    ]
    return Counts("hybrid", n_atoms, found[0][2], tuple(solutions))


def gain_starts(spread: float, thickest: int) -> Float[np.ndarray, " starts"]:
    """Gains within three standard deviations of 1, from which every scale is reached."""
    step = min(GAIN_STEP / thickest, spread)
    half = min(int(np.ceil(3 * spread / step)), MOST_STARTS // 2)
    # From the middle outwards, so that the nearest of equal solutions is kept.
    order = sorted(range(-half, half + 1), key=abs)
    return np.maximum(1 + 3 * spread * np.array(order) / max(half, 1), 0.05)


def with_nothing(
    curve: Float[np.ndarray, " n"],
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Numbers of atoms from 0 on and their cross-sections [Å²], of which that of 0 atoms is 0.

    Raises:
        InputError: the curve does not begin with a finite value.
    """
    curve = as_numbers("curve", curve, (None,), "Å²")
    known = int(np.argmin(np.append(np.isfinite(curve), False)))
    if known < 1:
        raise InputError("curve: its value at one atom is not finite")
    return np.arange(known + 1), np.append(0.0, curve[:known])


def _is_new(gain: float, others: list[float]) -> bool:
    return all(abs(gain / other - 1) > SAME_GAIN for other in others)


def _scaled_mixture(
    values: np.ndarray, weights: np.ndarray, means: np.ndarray, start: float, gain_std: float
) -> tuple[float, float, np.ndarray]:
    """Twice the negative log posterior, the gain, and probabilities (N, m) of numbers of atoms."""
    spacing = np.median(np.diff(means))
    gain, variance = start, (0.2 * spacing) ** 2
    least = (0.01 * spacing) ** 2
    proportions = np.full(len(means), 1 / len(means))
    before, total = np.inf, weights.sum()
    for _ in range(STEPS):
        logs = np.log(np.maximum(proportions, 1e-12)) - 0.5 * np.log(2 * np.pi * variance)
        logs = logs - 0.5 * (values[:, None] - gain * means) ** 2 / variance
        sums = scipy.special.logsumexp(logs, axis=1, keepdims=True)
        score = -2 * float(weights @ sums[:, 0]) + ((gain - 1) / gain_std) ** 2
        belonging = np.exp(logs - sums)
        if before - score < TOLERANCE * total:
            break
        before = score
        mass = weights[:, None] * belonging
        proportions = mass.sum(axis=0) / total
        precision = variance / gain_std**2
        upper = np.sum(mass * values[:, None] * means) + precision
        gain = float(upper / (np.sum(mass * means**2) + precision))
        squared = mass * (values[:, None] - gain * means) ** 2
        variance = max(float(squared.sum() / total), least)
    return score, gain, belonging


def _normalised(logs: Float[np.ndarray, "N m"]) -> Float[np.ndarray, "N m"]:
    return np.exp(logs - scipy.special.logsumexp(logs, axis=1, keepdims=True))


def combined(
    probabilities: Sequence[Float[np.ndarray, "N m"]], weights: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "N m"]:
    """Probabilities averaged over solutions."""
    return np.einsum("k,knm->nm", weights, np.stack(list(probabilities)))
