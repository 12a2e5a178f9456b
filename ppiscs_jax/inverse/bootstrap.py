"""Parametric bootstrap: curves drawn around a fit, all refitted in one call."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.inverse.batch import FIRST_EDGE, BatchMethod, solve
from ppiscs_jax.inverse.fit import Precision
from ppiscs_jax.inverse.forward import Forward, as_data
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import (
    Cost,
    ModelError,
    cost_problems,
    model_modes,
    one_case,
    predicted,
)
from ppiscs_jax.inverse.refine import refined_case
from ppiscs_jax.inverse.result import Fit
from ppiscs_jax.inverse.uncertainty import Samples, prior_samples

LEAST_EDGE = 1e-3
"""Shortest edge of the first simplex of a refit, in parts of the range between the bounds."""


def bootstrap(
    forward: Forward,
    measured: Measured,
    fit: Fit,
    key: PRNGKeyArray,
    draws: int = 1000,
    *,
    method: BatchMethod = "levenberg-marquardt",
    cost: Cost = "likelihood",
    precision: Precision = "double",
    at_once: int = 64,
    model_error: ModelError = True,
) -> Samples:
    """Draws of the free numbers by a parametric bootstrap around a fit.

    Curves are drawn around the fitted one with the errors of the measured one and of the forward
    model, correlations included, and each is refitted from the fit's estimates. A Gaussian prior
    counts as a measurement of its number, and its centre is drawn around the estimate too. For a
    linear model without active bounds, the draws are then those of the posterior. Numbers that
    the curve does not depend on are drawn from their prior.

    Refits end at a bound where the posterior is cut off by it. Where bounds alone restrict a
    number that the data hardly constrain, use `laplace` or `nuts` instead.
    Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 6.5.

    Args:
        forward, measured, fit: a fit, with the forward model and the curve that it was made with.
        key: of all draws.
        draws: number of curves.
        method, cost, precision, at_once, model_error: of the refits, as in `fit_batch`. The cost
            "absolute" gives the distribution of the paper's estimator.

    Returns:
        Draws of equal weight. Refits that did not converge have no weight, and are warned of.

    Raises:
        InputError: errors of the measured curve are not known; a setting is out of range; no refit
            converged.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> ppiscs = pp.predict(settings).ppiscs
        >>> measured = pp.Measured(ppiscs, dose_per_angstrom2=1e4)
        >>> problem = pp.Problem(settings, {"gain": pp.Free(0.8, 1.2)})
        >>> forward = lambda x: ppiscs  # enough where only the gain is free
        >>> result = pp.fit(forward, problem, measured)
        >>> samples = pp.bootstrap(forward, measured, result, jax.random.key(0), draws=20)
        >>> samples.values.shape
        (20, 1)
    """
    faults = [
        range_problem("draws", draws, 2, 10**7, "", whole=True),
        range_problem("at_once", at_once, 1, 10**6, "", whole=True),
        choice_problem("method", method, ("levenberg-marquardt", "nelder-mead")),
        choice_problem("precision", precision, ("double", "single")),
        *cost_problems(cost, method, [fit.problem]),
    ]
    if any(faults):
        raise InputError(c for c in faults if c)
    problem = fit.problem
    low, high = problem.bounds
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    forward = as_data(forward)
    with jax.enable_x64(precision == "double"):
        layout, case = one_case(forward, problem, measured, model_error, errors_needed=True)
        case = refined_case(forward, layout, case, problem, measured, model_error, fit.estimates)
        modes = model_modes(forward, model_error, problem)
        curve = np.asarray(predicted(forward, layout, case, jnp.asarray(fit.estimates)), float)
        case = jax.tree.map(np.asarray, case)
        cases: Any = jax.tree.map(lambda a: np.repeat(a[None], draws, axis=0), case)
        gaussian = problem.prior_precision > 0
        std = np.where(gaussian, 1 / np.where(gaussian, problem.prior_precision, 1), 0)
        centres = np.where(gaussian, fit.estimates, problem.nominal)
        cases = cases._replace(
            values=draw_curves(measured, modes, curve, draws, generator),
            nominal=centres + std * generator.standard_normal((draws, len(std))),
        )
        found = solve(
            forward,
            layout,
            cases,
            np.repeat(fit.estimates[None], draws, axis=0),
            method=method,
            cost=cost,
            max_iterations=None,
            at_once=at_once,
            edges=np.clip(fit.standard_errors / (high - low), LEAST_EDGE, FIRST_EDGE),
        )
    converged = np.asarray(found.converged)
    if not np.any(converged):
        raise InputError("forward: no refit of a drawn curve converged")
    if not np.all(converged):
        warnings.warn(
            f"{np.sum(~converged)} of {draws} refits did not converge and have no weight",
            stacklevel=2,
        )
    slopes = np.asarray(found.best.jacobian)[:, : len(case.scale)]
    without_effect = np.all(slopes == 0, axis=1)
    prior = prior_samples(problem, key, draws).values
    values = np.where(without_effect, prior, np.asarray(found.best.free, float))
    count = int(np.sum(converged))
    return Samples(problem.names, values, converged / count, float(count))


def draw_curves(
    measured: Measured,
    modes: Float[np.ndarray, "modes n"],
    curve: Float[np.ndarray, " n"],
    draws: int,
    generator: np.random.Generator,
) -> Float[np.ndarray, "draws n"]:
    """Curves [Å²] as they could have been measured, 0 in gaps, if a curve were the true one.

    The only part of the bootstrap that depends on the distribution of the noise: Poisson counts, or
    the errors of the measured curve; and the forward model's error, whose modes these are.
    """
    there = measured.there
    drawn = np.repeat(curve[None, there], draws, axis=0)
    if modes.size:
        drawn += generator.standard_normal((draws, len(modes))) @ modes[:, there]
    if measured.dose_per_angstrom2 is not None:
        dose = measured.dose_per_angstrom2[there]
        drawn = generator.poisson(np.maximum(dose * drawn, 0)) / dose
    else:
        errors = measured.errors
        drawn += generator.standard_normal(drawn.shape) * np.sqrt(errors.variance)
        for correlated in (errors.modes, errors.estimated):
            drawn += generator.standard_normal((draws, len(correlated))) @ correlated
    whole = np.zeros((draws, len(curve)))
    whole[:, there] = drawn
    return whole
