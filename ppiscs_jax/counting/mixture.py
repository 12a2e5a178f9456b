"""Mixtures of Gaussians of one width in one dimension, and how many there are.

Van Aert et al., Phys. Rev. B 87 (2013) 064107; De Backer et al., Ultramicroscopy 134 (2013) 23. A
mixture of G components has G means, G − 1 proportions and a width, 2G numbers, so that the
integrated classification likelihood is ICL = 2 NLL + 2 EN + 2G ln N, with EN the entropy −Σ τ ln τ
of the probabilities τ with which the N values belong to the components.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Float

from ppiscs_jax.errors import InputError, as_numbers, range_problem

MOST_COMPONENTS = 100
STEPS, TRIAL_STEPS, LAST_STEPS = 3000, 25, 30
"""Steps of expectation maximisation: at most, of each trial, and with all of many values."""

TOLERANCE = 1e-7
"""Decrease of NLL in a step below which the steps end."""

MOST_POINTS = 400
"""Values, averages of neighbouring ones where there are more, of all but the last steps."""

LEAST_WIDTH = 1e-4
"""Smallest width in parts of the values' standard deviation: narrower ones fit single values."""


class Mixture(NamedTuple):
    """A mixture of Gaussians, its means rising.

    Attributes:
        means: shape (G,).
        width: standard deviation σ that all share, without the noise of the dose.
        proportions: shape (G,).
        nll: negative log-likelihood.
        entropy: of the probabilities with which values belong to components.
        icl: integrated classification likelihood.
    """

    means: Float[np.ndarray, " G"]
    width: float
    proportions: Float[np.ndarray, " G"]
    nll: float
    entropy: float
    icl: float


@dataclass(frozen=True)
class Mixtures:
    """Mixtures of 1, 2, … components.

    Attributes:
        values: what was fitted, shape (N,).
        dose: the noise of whose Poisson statistics is in the widths, σ² + μ / dose, or None.
        mixtures: the one of G components at index G − 1.
    """

    values: Float[np.ndarray, " N"]
    dose: float | None
    mixtures: tuple[Mixture, ...]

    @property
    def icl(self) -> Float[np.ndarray, " most"]:
        """ICL of 1, 2, … components."""
        return np.array([m.icl for m in self.mixtures])

    @property
    def minima(self) -> list[int]:
        """Numbers of components at which the ICL has a local minimum, the lowest ICL first.

        The largest number of components is never counted as a minimum, because the ICL may decrease
        further beyond it.
        """
        icl = self.icl
        lower = np.append(np.inf, icl[:-1]) > icl
        found = np.flatnonzero(lower[:-1] & (icl[1:] > icl[:-1])) + 1
        return sorted(found.tolist(), key=lambda g: icl[g - 1])

    @property
    def suggested(self) -> int:
        """The minimum of two components or more with the lowest ICL; 1 if there is none.

        One component often has a lower ICL, because its entropy is 0, but does not distinguish
        columns.
        """
        return next((g for g in self.minima if g > 1), 1)

    def probabilities(self, components: int) -> Float[np.ndarray, "N G"]:
        """With which each value belongs to each component."""
        mixture = self.mixtures[components - 1]
        variance = _variance(mixture.means, mixture.width**2, self.dose)
        logs = _log_terms(self.values, mixture.means, variance, mixture.proportions)
        return np.exp(logs - scipy.special.logsumexp(logs, axis=1, keepdims=True))


def fit_mixtures(
    values: Float[np.ndarray, " N"],
    most: int | None = None,
    *,
    dose: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> Mixtures:
    """Fit mixtures of 1 … `most` components by expectation maximisation.

    Each begins from the one before and a new component, which is tried in every gap between its
    means and at both ends; the best trial is then converged. Nothing is drawn at random.

    Args:
        values: cross-sections.
        most: largest number of components; default: 30, or a third of the values if less.
        dose: electrons per unit of area; widths are then σ² + μ / dose.
        progress: called with each number of components that is done.

    Raises:
        InputError: too few values, or all the same; a number out of range.
    """
    values = as_numbers("values", values, (None,), "")
    count = len(values)
    if count < 5 or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise InputError("values: must be 5 or more finite numbers that are not all the same")
    most = min(30, count // 3) if most is None else most
    problems = [range_problem("components", most, 1, min(MOST_COMPONENTS, count), "", whole=True)]
    if dose is not None:
        problems.append(range_problem("dose", dose, 0, 1e12, "", open_low=True))
    if any(problems):
        raise InputError(p for p in problems if p)
    least = (LEAST_WIDTH * np.std(values)) ** 2
    points, weights = summarised(values)
    state = np.mean(values)[None], np.var(values), np.ones(1)
    mixtures = []
    for components in range(1, most + 1):
        if components > 1:
            state = _best_trial(points, weights, state, least)
        state = _converged(points, weights, state, least, dose, STEPS)
        if count > MOST_POINTS:
            state = _converged(values, np.ones(count), state, least, dose, LAST_STEPS)
        mixtures.append(_described(values, state, dose))
        if progress:
            progress(components)
    return Mixtures(values, dose, tuple(mixtures))


def summarised(
    values: Float[np.ndarray, " N"],
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """At most MOST_POINTS values, averages of neighbouring ones, and how many each stands for."""
    parts = np.array_split(np.sort(values), min(len(values), MOST_POINTS))
    return np.array([p.mean() for p in parts]), np.array([float(len(p)) for p in parts])


State = tuple[np.ndarray, float, np.ndarray]
"""Means, variance without the noise of the dose, proportions."""


def _variance(means: np.ndarray, variance: float, dose: float | None) -> np.ndarray:
    noise = 0.0 if dose is None else np.maximum(means, 0) / dose
    return variance + noise + np.zeros_like(means)


def _log_terms(
    values: np.ndarray, means: np.ndarray, variance: np.ndarray, proportions: np.ndarray
) -> np.ndarray:
    """Log of proportion times density, shape (values, components)."""
    logs = np.log(np.maximum(proportions, 1e-300)) - 0.5 * np.log(2 * np.pi * variance)
    return logs - 0.5 * (values[:, None] - means) ** 2 / variance


def _best_trial(points: np.ndarray, weights: np.ndarray, state: State, least: float) -> State:
    """The best of a new component in every gap, after some steps of a constant width."""
    means, variance, proportions = state
    components = len(means) + 1
    order = np.argsort(means)
    means, proportions = means[order], proportions[order]
    ends = np.concatenate([points[:1], means, points[-1:]])
    gaps = (ends[1:] + ends[:-1]) / 2
    m = np.column_stack([np.tile(means, (len(gaps), 1)), gaps])
    p = np.tile(np.append(proportions * (1 - 1 / components), 1 / components), (len(gaps), 1))
    v = np.full(len(gaps), variance)
    total = weights.sum()
    for _ in range(TRIAL_STEPS):
        # Shape (trials, points, components).
        squared = (points[None, :, None] - m[:, None]) ** 2
        logs = np.log(np.maximum(p, 1e-300))[:, None] - 0.5 * squared / v[:, None, None]
        highest = logs.max(axis=2, keepdims=True)
        terms = np.exp(logs - highest)
        sums = terms.sum(axis=2, keepdims=True)
        likelihood = weights @ (np.log(sums) + highest)[..., 0].T - 0.5 * total * np.log(v)
        belonging = terms / sums * weights[:, None]
        mass = np.maximum(belonging.sum(axis=1), 1e-12)
        m = np.einsum("tnk,n->tk", belonging, points) / mass
        squared = (points[None, :, None] - m[:, None]) ** 2
        v = np.maximum(np.einsum("tnk,tnk->t", belonging, squared) / total, least)
        p = mass / total
    best = int(np.argmax(likelihood))
    return m[best], float(v[best]), p[best]


def _converged(
    values: np.ndarray,
    weights: np.ndarray,
    state: State,
    least: float,
    dose: float | None,
    steps: int,
) -> State:
    """Steps until the likelihood no longer rises."""
    means, variance, proportions = state
    before = np.inf
    for _ in range(steps):
        logs = _log_terms(values, means, _variance(means, variance, dose), proportions)
        sums = scipy.special.logsumexp(logs, axis=1, keepdims=True)
        nll = -float(weights @ sums[:, 0])
        if before - nll < TOLERANCE and np.isfinite(before):
            break
        before = nll
        belonging = np.exp(logs - sums) * weights[:, None]
        mass = np.maximum(belonging.sum(axis=0), 1e-12)
        means = values @ belonging / mass
        proportions = mass / weights.sum()
        squared = belonging * (values[:, None] - means) ** 2
        if dose is None:
            variance = max(float(squared.sum() / weights.sum()), least)
        else:
            variance = _noisy_variance(squared.sum(axis=0), mass, means, dose, least, variance)
    return means, variance, proportions


def _noisy_variance(
    squared: np.ndarray,
    mass: np.ndarray,
    means: np.ndarray,
    dose: float,
    least: float,
    start: float,
) -> float:
    """The σ² that maximises the likelihood where widths are σ² + μ / dose."""

    def cost(log_variance: float) -> float:
        total = _variance(means, np.exp(log_variance), dose)
        return float(np.sum(mass * np.log(total) + squared / total))

    low, high = np.log(least), np.log(max(start, least)) + 5
    found = scipy.optimize.minimize_scalar(cost, bounds=(low, high), method="bounded")
    return float(np.exp(found.x))


def _described(values: np.ndarray, state: State, dose: float | None) -> Mixture:
    means, variance, proportions = state
    order = np.argsort(means)
    means, proportions = means[order], proportions[order]
    logs = _log_terms(values, means, _variance(means, variance, dose), proportions)
    sums = scipy.special.logsumexp(logs, axis=1, keepdims=True)
    belonging = np.exp(logs - sums)
    nll = -float(sums.sum())
    entropy = -float(np.sum(scipy.special.xlogy(belonging, belonging)))
    icl = 2 * nll + 2 * entropy + 2 * len(means) * np.log(len(values))
    return Mixture(means, float(np.sqrt(variance)), proportions, nll, entropy, float(icl))
