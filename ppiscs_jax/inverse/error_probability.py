"""Probability of miscounting the atoms of a column: the M-ary rule for Poisson counts.

Paper §3.3 and Fig. 12; De Backer et al., Ultramicroscopy 151 (2015) 46. A column of n atoms gives
S ~ Poisson(D V_n) counts, D the dose [e⁻/Å²] and V_n the curve [Å²]; hypotheses are the numbers
of atoms, with priors P_n. Choosing the most probable one errs with probability

    P_e = 1 − Σ_s max_n P_n Pois(s; D V_n).
"""

from functools import reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray
from scipy.special import gammainc, gammaincc, logsumexp, ndtr
from scipy.stats import poisson

from ppiscs_jax.errors import InputError, as_numbers, range_problem
from ppiscs_jax.types import Scalar

MOST_DOSE = 1e10
"""Highest dose [e⁻/Å²]: beyond it counts round in double precision."""

LEAST_COUNTS = 1e-300
"""Fewer expected counts than this are taken for this, so that their logarithm exists."""

LEAST_ANGSTROM2 = 1e-12
"""The same for the Gaussian form, which is in single precision."""

LEAST_DISTANCE = 1e-6
"""Hypotheses nearer than this, in standard deviations, are this far apart, so that the Gaussian
form has a gradient where two meet."""

MOST_TERMS = 4_000_000
"""Numbers held at a time; several detectors are enumerated if that takes no more."""

MANY_COUNTS = 1e5
"""Counts beyond which tails are taken from an expansion in 1 / counts."""

NODES_PER_ROOT = 8
"""Counts tried, before bisection, per unit of their root, whose standard deviation is ½."""


class Estimate(NamedTuple):
    """A probability and its standard error, which is 0 where nothing was drawn at random."""

    value: float
    standard_error: float


def error_probability(
    curves: Any, dose_per_angstrom2: Any, priors: Any = None
) -> Float[np.ndarray, "*shape"]:
    """P_e, exact for any curve, whether or not it rises, in double precision on the host.

    log P_n − λ_n + s log λ_n are straight lines in s, so each hypothesis wins one interval of
    counts, and P_e is a sum of Poisson tails: its cost does not depend on the counts. Right to
    1e-9 of itself up to 10⁷ counts; in single precision, JAX's incomplete gamma function would be
    off by 0.09 at 10⁵.

    Args:
        curves: V_n [Å²] of the hypotheses, shape (..., n): a slice of a curve of PPISCS.
        dose_per_angstrom2: D [e⁻/Å²], one number or of a shape that broadcasts with (...).
        priors: P_n, shape (n,), above 0 and normalised here; None for all the same.

    Returns:
        P_e, shape (...).

    Raises:
        InputError: values that are not cross-sections, doses or priors.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> curve = pp.predict(settings)
        >>> p_e = pp.error_probability(curve.ppiscs[:20], [1e3, 1e5])  # 1 to 20 atoms, two doses
        >>> bool(0 < p_e[1] < p_e[0] < 1)
        True
    """
    curves, dose, priors = _checked(curves, dose_per_angstrom2, priors)
    each = np.vectorize(_by_envelope, otypes=[float], signature="(n),(),(n)->()")
    return each(curves, dose, priors)


def gaussian_log_error_probability(
    curves: Float[Array, "*detectors n"],
    dose_per_angstrom2: Scalar,
    priors: Float[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Log P_e in the Gaussian form, smooth and differentiable in all arguments; for use in jit.

    Roots of counts have a variance of 1/4 whatever their mean, so hypotheses are points at
    2√(D V_n), with one coordinate a detector, and neighbours a distance d apart are confused with
    Φ(−d/2): for small steps this is the Bhattacharyya distance, d² / 8. Neighbours are next to
    each other in the sum over detectors. Arguments are not checked.

    Against the exact P_e of gold at 60 to 300 kV, 10² to 10⁶ e⁻/Å², one detector: within 0.3 %
    for 10 thicknesses or more, within 3 % where P_e is as small as 10⁻¹⁵⁰, and within 11 % for one
    atom against two, where the discreteness of counts matters. For several detectors, only
    hypotheses that are neighbours in the sum over detectors are compared; others that are hard to
    distinguish are neglected.

    Args:
        curves: V_n [Å²] of one detector, shape (n,), or of several, shape (detectors, n).
        dose_per_angstrom2: D [e⁻/Å²].
        priors: P_n, normalised here; None for all the same. They should have a single peak: a
            hypothesis too improbable ever to be chosen still parts its neighbours here.
    """
    rates = dose_per_angstrom2 * jnp.maximum(jnp.atleast_2d(curves), LEAST_ANGSTROM2)
    n = rates.shape[1]
    log_priors = jax.nn.log_softmax(jnp.zeros(n) if priors is None else jnp.log(priors))
    order = jnp.argsort(jnp.sum(rates, axis=0))
    steps = jnp.diff(2 * jnp.sqrt(rates[:, order]), axis=1)
    distance = jnp.sqrt(jnp.sum(steps**2, axis=0) + LEAST_DISTANCE**2)
    log_priors = log_priors[order]
    shift = jnp.diff(log_priors) / distance
    confused = [
        log_priors[:-1] + jax.scipy.stats.norm.logcdf(shift - distance / 2),
        log_priors[1:] + jax.scipy.stats.norm.logcdf(-shift - distance / 2),
    ]
    return jax.scipy.special.logsumexp(jnp.concatenate(confused))


def joint_error_probability(
    curves: Any,
    dose_per_angstrom2: float,
    key: PRNGKeyArray,
    *,
    priors: Any = None,
    samples: int = 1000,
) -> Estimate:
    """P_e from the counts of several detectors at once; they must not overlap.

    If the expected counts are small, all counts are enumerated, and the result is exact to 1e-12.
    Otherwise counts are drawn from each hypothesis, and P_e is the mean posterior probability of
    all but the most probable one. Its standard error is unreliable where P_e is below a few 1e-4.

    Args:
        curves: V_n [Å²] of each detector, shape (detectors, n).
        dose_per_angstrom2: D [e⁻/Å²].
        key: of the draws.
        priors: as in `error_probability`.
        samples: draws from each hypothesis.

    Raises:
        InputError: as `error_probability`, and for a wrong number of samples.
    """
    if problem := range_problem("samples", samples, 2, 10**7, "", whole=True):
        raise InputError(problem)
    curves, dose, priors = _checked(curves, dose_per_angstrom2, priors, "detectors")
    rates = np.maximum(dose * curves, LEAST_COUNTS)
    most = np.ceil(rates + 10 * np.sqrt(rates) + 20).max(axis=1)
    if np.prod(most + 1) * rates.shape[1] <= MOST_TERMS:
        tables = [
            poisson.pmf(np.arange(m + 1)[:, None], r) for m, r in zip(most, rates, strict=True)
        ]
        both = reduce(lambda a, b: (a[:, None] * b).reshape(-1, len(priors)), tables)
        return Estimate(max(0.0, 1 - float(np.sum(np.max(priors * both, axis=1)))), 0.0)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    lines = np.log(priors) - rates.sum(axis=0)
    left = np.empty((len(priors), samples))
    for n, mean in enumerate(rates.T):
        logs = generator.poisson(mean, (samples, len(mean))) @ np.log(rates) + lines
        left[n] = -np.expm1(logs.max(axis=1) - logsumexp(logs, axis=1))
    variance = priors**2 @ left.var(axis=1, ddof=1) / samples
    return Estimate(float(priors @ left.mean(axis=1)), float(np.sqrt(variance)))


def uncertain_error_probability(draws: Any, dose_per_angstrom2: float, priors: Any = None) -> float:
    """P_e marginalised over posterior draws of the microscope settings.

    The likelihood of a count is the mean over the draws of Pois(s; D V_n), and the hypothesis with
    the highest posterior probability is chosen. The counts at which the choice changes are found by
    bisection. The result is exact unless the choice changes and changes back within a quarter of a
    standard deviation; it is then slightly too high.

    Args:
        draws: V_n [Å²] at settings drawn from what is known, shape (draws, n).
        dose_per_angstrom2: D [e⁻/Å²].
        priors: as in `error_probability`.

    Raises:
        InputError: as `error_probability`.
    """
    curves, dose, priors = _checked(draws, dose_per_angstrom2, priors, "draws")
    rates = np.maximum(dose * curves, LEAST_COUNTS)
    roots = np.sqrt(rates)
    # Ten standard deviations, each ½ in roots of counts, hold all there is to choose.
    low, high = max(roots.min() - 5, 0), roots.max() + 5
    counts = np.unique(
        np.floor(np.linspace(low, high, 2 + int(NODES_PER_ROOT * (high - low))) ** 2)
    )
    chosen = _likeliest(counts, rates, priors)
    while len(gaps := np.flatnonzero((np.diff(chosen) != 0) & (np.diff(counts) > 1))):
        middle = np.floor((counts[gaps] + counts[gaps + 1]) / 2)
        counts = np.insert(counts, gaps + 1, middle)
        chosen = np.insert(chosen, gaps + 1, _likeliest(middle, rates, priors))
    starts = np.flatnonzero(np.diff(chosen)) + 1
    winners = chosen[np.append(0, starts)]
    edges = np.array([0, *counts[starts], np.inf])
    of_winners = rates[:, winners]
    right = gammaincc(edges[1:], of_winners) - gammaincc(edges[:-1], of_winners)
    return max(0.0, 1 - float(np.sum(priors[winners] * right.mean(axis=0))))


def _likeliest(
    counts: Float[np.ndarray, " counts"],
    rates: Float[np.ndarray, "draws n"],
    priors: Float[np.ndarray, " n"],
) -> Int[np.ndarray, " counts"]:
    """The most probable hypothesis for each number of counts, draws averaged."""
    parts = np.array_split(counts, 1 + len(counts) * rates.size // MOST_TERMS)
    logs = [logsumexp(s[:, None, None] * np.log(rates) - rates, axis=1) for s in parts]
    return np.argmax(np.concatenate(logs) + np.log(priors), axis=1)


def _by_envelope(
    curve: Float[np.ndarray, " n"], dose: float, priors: Float[np.ndarray, " n"]
) -> float:
    """P_e of one curve by the upper envelope of the hypotheses' lines."""
    rates = np.maximum(dose * curve, LEAST_COUNTS)
    slopes, heights = np.log(rates).tolist(), (np.log(priors) - rates).tolist()
    winners: list[int] = []
    starts: list[float] = []
    # By slope, and where two are the same, the higher one last.
    for line in np.lexsort((heights, slopes)).tolist():
        start = -np.inf
        while winners:
            rise = slopes[line] - slopes[winners[-1]]
            start = (heights[winners[-1]] - heights[line]) / rise if rise > 0 else -np.inf
            if start > starts[-1]:
                break
            winners.pop()
            starts.pop()
        winners.append(line)
        starts.append(start)
    never = np.delete(priors, winners).sum()
    return never + _tails(rates[winners], priors[winners], np.array(starts), np.array([np.inf]))


def _tails(rates: Any, priors: Any, starts: Any, end: Any) -> Any:
    """Σ P_n × chance of counts before start_n, or from the next start on; over the last axis.

    A sum of tails, not 1 − a sum, so that it is right however small.
    """
    first = np.maximum(np.ceil(starts), 0)
    after = np.append(first[..., 1:], end, axis=-1)
    return np.sum(priors * (gammaincc(first, rates) + _at_least(after, rates)), axis=-1)


def _at_least(counts: Any, rates: Any) -> Any:
    """P(S ≥ counts), the incomplete gamma function P(counts, rates).

    In the far tail of many counts scipy 1.17 ends its series too early (3 % low at 10⁷ counts, 5 σ
    away). Two terms of Temme's expansion (SIAM J. Math. Anal. 10 (1979) 757) are right to 1e-11.
    """
    far = (counts > MANY_COUNTS) & (counts < 2 * rates) & (counts - rates > 4 * np.sqrt(rates))
    a, x = np.where(far, counts, 2.0), np.where(far, rates, 1.0)
    mu = x / a - 1
    eta = -np.sqrt(2 * (mu - np.log1p(mu)))
    terms = 1 / mu - 1 / eta + (1 / eta**3 - 1 / mu**3 - 1 / mu**2 - 1 / (12 * mu)) / a
    rest = np.exp(-a * eta**2 / 2) / np.sqrt(2 * np.pi * a) * terms
    return np.where(far, ndtr(eta * np.sqrt(a)) - rest, gammainc(counts, rates))


def _checked(
    curves: Any, dose: Any, priors: Any, rows: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Curves, doses and normalised priors as arrays.

    With `rows` there is one dose, and curves have two dimensions, the first of this name.
    """
    try:
        curves, dose = np.asarray(curves, float), np.asarray(dose, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"curves [Å²], dose_per_angstrom2 [e⁻/Å²]: no numbers: {error}") from None
    if curves.size == 0 or (curves.ndim != 2 if rows else curves.ndim == 0):
        raise InputError(f"curves of shape {curves.shape}: must be ({rows or '...'}, n), not empty")
    problems = []
    if rows and dose.ndim:
        problems.append(f"dose_per_angstrom2 of shape {dose.shape}: must be one number")
    elif dose.ndim:
        try:
            np.broadcast_shapes(dose.shape, curves.shape[:-1])
        except ValueError:
            problems.append(
                f"dose_per_angstrom2 of shape {dose.shape}: must go with {curves.shape[:-1]}, "
                "the curves' shape without the last axis"
            )
    bad = ~((curves >= 0) & np.isfinite(curves))
    if np.any(bad):
        problems.append(
            f"curves: {bad.sum()} of {curves.size} values are not cross-sections, the first "
            f"{curves[bad][0]:g} Å²: must be 0 Å² or more"
        )
    wrong = dose[~((dose >= 0) & (dose <= MOST_DOSE))]
    if wrong.size:
        problems.append(f"dose_per_angstrom2 = {wrong[0]:g} e⁻/Å²: must be 0 to {MOST_DOSE:g}")
    n = curves.shape[-1]
    try:
        priors = np.ones(n) if priors is None else as_numbers("priors", priors, (n,), "")
        if not np.all((priors > 0) & np.isfinite(priors)):
            problems.append(f"priors = {priors}: must all be above 0")
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    return curves, dose, priors / priors.sum()
