"""Uncertainty of settings: prior and posterior draws, and their propagation to curves."""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.inverse.fit import Precision
from ppiscs_jax.inverse.fit import fit as fit_curve
from ppiscs_jax.inverse.forward import Forward, as_data, curves
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import (
    Case,
    Layout,
    ModelError,
    log_posteriors,
    one_case,
    residuals,
)
from ppiscs_jax.inverse.problem import GAIN, NUMBERS, OFFSET, SETTINGS, Problem
from ppiscs_jax.inverse.record import Record
from ppiscs_jax.inverse.refine import refined_case
from ppiscs_jax.inverse.result import Fit

FEW = 100.0
"""Fewer effective draws than this are warned of."""

DISAGREEING = 1.05
"""Gelman and Rubin's R̂ above which chains have not seen the same posterior."""

DEGREES = 5.0
"""Degrees of freedom of Student's t from which posteriors are proposed: tails heavy enough."""


@dataclass(frozen=True)
class Samples(Record):
    """Draws of the free numbers.

    Attributes:
        names: of the free numbers.
        values: shape (draws, k).
        weights: shape (draws,), of sum 1.
        effective_size: effective sample size, the equivalent number of independent draws.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "draws k"]
    weights: Float[np.ndarray, " draws"]
    effective_size: float

    @property
    def mean(self) -> Float[np.ndarray, " k"]:
        """Weighted mean."""
        return self.weights @ self.values

    @property
    def covariance(self) -> Float[np.ndarray, "k k"]:
        """Weighted covariance."""
        centred = self.values - self.mean
        return (self.weights * centred.T) @ centred

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Central interval of each number by itself, shape (k,) each."""
        order = np.argsort(self.values, axis=0)
        below = np.cumsum(self.weights[order], axis=0)
        ends = (0.5 - level / 2, 0.5 + level / 2)
        at = [np.minimum(np.sum(below < end, axis=0), len(order) - 1) for end in ends]
        ordered = np.take_along_axis(self.values, order, axis=0)
        low, high = (np.take_along_axis(ordered, i[None], axis=0)[0] for i in at)
        return low, high

    def rows(self) -> list[dict[str, Any]]:
        """One row a draw, with its weight."""
        columns = (*self.names, "weight")
        return [
            dict(zip(columns, (*values, weight), strict=True))
            for values, weight in zip(self.values.tolist(), self.weights.tolist(), strict=True)
        ]


class Spread(NamedTuple):
    """Mean and standard deviation of curves over draws [Å²], shape (n,) each.

    `std_error` is the standard error of std, from the draws' fourth moment.
    """

    mean: Float[np.ndarray, " n"]
    std: Float[np.ndarray, " n"]
    std_error: Float[np.ndarray, " n"]


def prior_samples(problem: Problem, key: PRNGKeyArray, draws: int = 1000) -> Samples:
    """Draws of the free numbers before any measurement.

    Uniform between bounds, or of the Gaussian prior cut off at the bounds. With `Problem.within`
    these are the paper's draws (§3.3, Fig. 11).

    Raises:
        InputError: draws is not a whole number of at least 2.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> problem = pp.Problem.within(settings, {"inner_mrad": 1.0, "rmsd_angstrom": 0.005})
        >>> samples = pp.prior_samples(problem, jax.random.key(0), draws=100)
        >>> samples.names, samples.values.shape
        (('inner_mrad', 'rmsd_angstrom'), (100, 2))
    """
    if fault := range_problem("draws", draws, 2, 10**9, "", whole=True):
        raise InputError(fault)
    low, high = problem.bounds
    keys = jax.random.split(key)
    shape = (draws, len(low))
    uniform = low + (high - low) * np.asarray(jax.random.uniform(keys[0], shape), float)
    gaussian = problem.prior_precision > 0
    std = 1 / np.where(gaussian, problem.prior_precision, 1)
    cut = [jnp.asarray((bound - problem.nominal) / std) for bound in (low, high)]
    normal = np.asarray(jax.random.truncated_normal(keys[1], cut[0], cut[1], shape), float)
    values = np.where(gaussian, problem.nominal + std * normal, uniform)
    weights = np.full(draws, 1 / draws)
    return Samples(problem.names, np.clip(values, low, high), weights, float(draws))


def propagate(forward: Forward, problem: Problem, samples: Samples) -> Spread:
    """The spread of curves, gain and offset included, over draws of the free numbers.

    Of the prior, the paper's propagation of measurement errors (§3.3, Fig. 11); of a posterior,
    what is left after a fit.

    Raises:
        InputError: the draws are of other numbers, or go where the forward model gives nothing.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> problem = pp.Problem.within(settings, {"inner_mrad": 1.0, "rmsd_angstrom": 0.005})
        >>> samples = pp.prior_samples(problem, jax.random.key(0), draws=100)
        >>> spread = pp.propagate(pp.load_surrogate(), problem, samples)
        >>> spread.mean.shape, spread.std.shape  # Å², at 1 to 87 atoms
        ((87,), (87,))
    """
    drawn = measured_curves(forward, problem, samples)
    missing = np.isnan(drawn)
    known = ~missing.all(axis=0)
    lost = missing[:, known].any(axis=1) | ~known.any()
    if np.any(lost):
        raise InputError(
            f"samples: for {lost.mean():.1%} of the draws the forward model gives nothing, or not "
            "at thicknesses that it has for others; narrow the bounds"
        )
    weights = samples.weights
    # About the first draw, so that draws which are all equal have no spread at all.
    departure = drawn - drawn[0]
    offset = weights @ departure
    second, fourth = (weights @ (departure - offset) ** power for power in (2, 4))
    std = np.sqrt(second)
    of_variance = np.sqrt(np.maximum(fourth - second**2, 0) / samples.effective_size)
    return Spread(drawn[0] + offset, std, of_variance / (2 * np.where(std > 0, std, 1)))


def measured_curves(
    forward: Forward, problem: Problem, samples: Samples
) -> Float[np.ndarray, "draws n"]:
    """Curves of all draws, with gain and offset."""
    if samples.names != problem.names:
        raise InputError(f"samples: of {samples.names}; the problem is of {problem.names}")
    numbers = np.tile(problem.numbers, (len(samples.values), 1))
    numbers[:, [NUMBERS.index(name) for name in problem.names]] = samples.values
    exact = curves(forward, numbers[:, SETTINGS]).astype(float)
    return numbers[:, [GAIN]] * exact + numbers[:, [OFFSET]]


def laplace(
    forward: Forward,
    measured: Measured,
    fit: Fit,
    key: PRNGKeyArray,
    draws: int = 4000,
    precision: Precision = "double",
    model_error: ModelError = True,
) -> Samples:
    """Draws from the posterior around a fit, by importance sampling.

    Draws are proposed from a Student t distribution with the covariance of the fit, which is a
    Laplace approximation with heavier tails. Each is weighted by the ratio of posterior to proposal
    density; the weight is 0 outside the bounds. The effective sample size measures the quality of
    the approximation, and a small one gives a warning. `model_error` is as in `fit`.

    Raises:
        InputError: errors of the measured curve are not known; draws is not a whole number from 2.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> surrogate = pp.load_surrogate()
        >>> measured = pp.Measured(pp.predict(settings).ppiscs, dose_per_angstrom2=1e4)
        >>> problem = pp.Problem(settings, {"gain": pp.Free(0.8, 1.2)})
        >>> result = pp.fit(surrogate, problem, measured)
        >>> samples = pp.laplace(surrogate, measured, result, jax.random.key(0), draws=400)
        >>> low, high = samples.interval(0.95)
        >>> bool(low[0] < 1 < high[0])
        True
    """
    if fault := range_problem("draws", draws, 2, 10**9, "", whole=True):
        raise InputError(fault)
    forward = as_data(forward)
    with jax.enable_x64(precision == "double"):
        problem = fit.problem
        layout, case = one_case(forward, problem, measured, model_error, errors_needed=True)
        case = refined_case(forward, layout, case, problem, measured, model_error, fit.estimates)
        samples = importance_sampled(
            forward, layout, case, problem.names, fit.estimates, fit.covariance, key, draws
        )
    if samples.effective_size < FEW:
        warnings.warn(
            f"the effective sample size is only {samples.effective_size:.0f} of {draws} draws: the "
            "posterior is far from Gaussian; increase draws, or use nuts",
            stacklevel=2,
        )
    return samples


def importance_sampled(
    forward: Forward,
    layout: Layout,
    case: Case,
    names: tuple[str, ...],
    estimates: Float[np.ndarray, " k"],
    covariance: Float[np.ndarray, "k k"],
    key: PRNGKeyArray,
    draws: int,
) -> Samples:
    """Draws of Student's t, weighted by posterior over proposal."""
    low, high = np.asarray(case.low), np.asarray(case.high)
    keys = jax.random.split(key)
    normal = np.asarray(jax.random.normal(keys[0], (draws, len(low))), float)
    squared = 2 * np.asarray(jax.random.gamma(keys[1], DEGREES / 2, (draws, 1)), float)
    standard = normal / np.sqrt(squared / DEGREES)
    proposals = estimates + standard @ np.linalg.cholesky(covariance).T
    values = np.clip(proposals, low, high)
    proposed = -(DEGREES + len(low)) / 2 * np.log1p(np.sum(standard**2, axis=1) / DEGREES)
    posterior = log_posteriors(forward, layout, case, values)
    inside = np.all(values == proposals, axis=1) & np.isfinite(posterior)
    log_weights = np.where(inside, posterior - proposed, -np.inf)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    return Samples(names, values, weights, float(1 / np.sum(weights**2)))


def nuts(
    forward: Forward,
    problem: Problem,
    measured: Measured,
    key: PRNGKeyArray,
    *,
    draws: int = 1000,
    warm_up: int = 500,
    chains: int = 2,
    precision: Precision = "double",
    model_error: ModelError = True,
) -> Samples:
    """Draws from the posterior by the No-U-Turn sampler of numpyro, the extra `posterior`.

    The posterior of `fit`, bounds included. The effective size is that of the number which mixes
    worst; a small one, chains that disagree and divergences are warned of. Hoffman & Gelman, J.
    Mach. Learn. Res. 15 (2014) 1593.

    Args:
        forward, problem, measured, precision, model_error: as in `fit`.
        key: of all draws.
        draws: of all chains together, after the warm-up.
        warm_up: steps of each chain before.
        chains: how many, side by side.

    Raises:
        InputError: as `fit`; the errors of the measured curve are not known; draws, warm_up or
            chains are out of range; or numpyro is not installed.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> ppiscs = pp.predict(settings).ppiscs
        >>> measured = pp.Measured(ppiscs, dose_per_angstrom2=1e4)
        >>> problem = pp.Problem(settings, {"gain": pp.Free(0.8, 1.2)})
        >>> forward = lambda x: ppiscs  # enough where only the gain is free
        >>> samples = pp.nuts(forward, problem, measured, jax.random.key(0), draws=400, warm_up=100)
        >>> samples.values.shape
        (400, 1)
    """
    faults = [
        range_problem("draws", draws, 4, 10**9, "", whole=True),
        range_problem("warm_up", warm_up, 1, 10**9, "", whole=True),
        range_problem("chains", chains, 1, 10**4, "", whole=True),
    ]
    if any(faults):
        raise InputError(c for c in faults if c)
    try:
        import numpyro
    except ImportError as error:
        raise InputError("numpyro: not installed; pip install ppiscs-jax[posterior]") from error
    from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
    from numpyro.distributions import TruncatedNormal, Uniform
    from numpyro.infer import MCMC, NUTS, init_to_median

    forward = as_data(forward)
    with jax.enable_x64(precision == "double"):
        layout, case = one_case(forward, problem, measured, model_error, errors_needed=True)
        if np.isfinite(measured.degrees_of_freedom):
            near = fit_curve(
                forward, problem, measured, precision=precision, model_error=model_error
            )
            case = refined_case(
                forward, layout, case, problem, measured, model_error, near.estimates
            )
        priors = [
            Uniform(f.low, f.high)
            if f.prior_std is None
            else TruncatedNormal(value, f.prior_std, low=f.low, high=f.high)
            for value, f in zip(problem.nominal, problem.free.values(), strict=True)
        ]

        def model() -> None:
            free = [numpyro.sample(n, p) for n, p in zip(problem.names, priors, strict=True)]
            of_data = residuals(forward, layout, case, jnp.stack(free))[: len(case.scale)]
            numpyro.factor("data", -jnp.sum(of_data**2) / 2)

        sampler = MCMC(
            NUTS(model, init_strategy=init_to_median),
            num_warmup=warm_up,
            num_samples=-(-draws // chains),
            num_chains=chains,
            chain_method="vectorized",
            progress_bar=False,
        )
        sampler.run(key)
        drawn = sampler.get_samples(group_by_chain=True)
        values = np.stack([np.asarray(drawn[n], float) for n in problem.names], axis=-1)
        divergent = int(np.sum(sampler.get_extra_fields()["diverging"]))
    effective = float(np.min(effective_sample_size(values)))
    disagreement = float(np.max(split_gelman_rubin(values)))
    if effective < FEW or disagreement > DISAGREEING or divergent:
        warnings.warn(
            f"{effective:.0f} effective draws, R̂ = {disagreement:.3f}, {divergent} divergences: "
            "take more draws or warm-up",
            stacklevel=2,
        )
    values = values.reshape(-1, len(problem.names))
    return Samples(problem.names, values, np.full(len(values), 1 / len(values)), effective)
