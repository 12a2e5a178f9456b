"""Coverage of the intervals of fits."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.special import ndtri

from ppiscs_jax.errors import InputError
from ppiscs_jax.inverse.batch import fit_batch
from ppiscs_jax.inverse.fit import Precision
from ppiscs_jax.inverse.forward import Forward, as_data
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import ModelError, model_modes, stack
from ppiscs_jax.inverse.problem import Problem
from ppiscs_jax.inverse.uncertainty import importance_sampled, measured_curves, prior_samples


class Coverage(NamedTuple):
    """Coverage: how often intervals contained the true values.

    Attributes:
        names: of the free numbers.
        levels: of the intervals, (levels,).
        fractions: of the cases whose interval held the truth, (levels, k).
        converged: fraction of the fits.
        cases: how many there were; the standard error of a fraction f is √(f (1 − f) / cases).
    """

    names: tuple[str, ...]
    levels: tuple[float, ...]
    fractions: Float[np.ndarray, "levels k"]
    converged: float
    cases: int


def coverage(
    forward: Forward,
    problem: Problem,
    key: PRNGKeyArray,
    *,
    standard_error: Any = None,
    dose_per_angstrom2: Any = None,
    covariance: Any = None,
    cases: int = 1000,
    levels: Sequence[float] = (0.68, 0.95),
    draws: int | None = None,
    precision: Precision = "double",
    model_error: ModelError = True,
) -> Coverage:
    """Coverage: how often the intervals of fits contain the true values.

    True values are drawn from the prior of the problem. Curves are computed by the forward model,
    with its own error and with noise from a standard error [Å²], a dose [e⁻/Å²] or a covariance
    [Å⁴]. The first two are one number, or one for each thickness. All curves are fitted together.

    Args:
        forward, problem, precision, model_error: as in `fit`.
        key: of truths, noise and draws.
        standard_error, dose_per_angstrom2, covariance: as in `Measured`, one of them at least.
        cases: how many truths.
        levels: of the intervals.
        draws: None for intervals of estimate ± z · standard error, which hold for Gaussian priors;
            else for central intervals of so many draws by `laplace`, which hold for bounds too.

    Raises:
        InputError: no noise is given, or what is given is none.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> problem = pp.Problem(settings, {"gain": pp.Free(0.8, 1.2, prior_std=0.05)})
        >>> found = pp.coverage(
        ...     pp.load_surrogate(), problem, jax.random.key(0), dose_per_angstrom2=1e4, cases=20
        ... )
        >>> found.levels, found.fractions.shape
        ((0.68, 0.95), (2, 1))
    """
    if standard_error is None and dose_per_angstrom2 is None and covariance is None:
        raise InputError("standard_error, dose_per_angstrom2, covariance: give one of them")
    forward = as_data(forward)
    of_truth, of_noise, of_draws = jax.random.split(key, 3)
    truth = prior_samples(problem, of_truth, cases)
    exact = measured_curves(forward, problem, truth)
    modes = model_modes(forward, model_error, problem)
    correlated = [modes] if modes.size else []
    if covariance is not None:
        correlated.append(np.linalg.cholesky(np.asarray(covariance, float)).T)
    for i, own in enumerate(correlated):
        drawn = jax.random.normal(jax.random.fold_in(of_noise, i), (cases, len(own)))
        exact = exact + np.asarray(drawn, float) @ own
    if standard_error is None and dose_per_angstrom2 is None:
        values = exact
    elif dose_per_angstrom2 is None:
        noise = np.asarray(jax.random.normal(of_noise, exact.shape), float)
        values = exact + np.asarray(standard_error) * noise
    else:
        dose = np.broadcast_to(dose_per_angstrom2, exact.shape[1:])
        counts = jax.random.poisson(of_noise, np.nan_to_num(dose * exact))
        values = np.where(np.isnan(exact), np.nan, np.asarray(counts) / dose)
    measured = [
        Measured(y, standard_error, dose_per_angstrom2, covariance=covariance) for y in values
    ]
    fits = fit_batch(forward, problem, measured, precision=precision, model_error=model_error)
    if draws is None:
        z = ndtri(0.5 + np.asarray(levels)[:, None, None] / 2)
        held = np.abs(fits.estimates - truth.values) <= z * fits.standard_errors
    else:
        held = np.empty((len(levels), *truth.values.shape), bool)
        with jax.enable_x64(precision == "double"):
            layout, stacked = stack(forward, problem, measured, model_error)
            for i, own in enumerate(jax.random.split(of_draws, cases)):
                samples = importance_sampled(
                    forward,
                    layout,
                    jax.tree.map(lambda a, i=i: a[i], stacked),
                    problem.names,
                    fits.estimates[i],
                    fits.covariance[i],
                    own,
                    draws,
                )
                for level, of_level in zip(levels, held, strict=True):
                    low, high = samples.interval(level)
                    of_level[i] = (truth.values[i] >= low) & (truth.values[i] <= high)
    return Coverage(
        problem.names, tuple(levels), held.mean(axis=1), float(fits.converged.mean()), cases
    )
