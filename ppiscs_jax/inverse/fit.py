"""Fits of one measured curve: bounded least squares, or the paper's Nelder–Mead."""

from dataclasses import replace
from functools import lru_cache
from typing import Literal

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float
from scipy.optimize import OptimizeResult, least_squares, minimize

from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.inverse.forward import Forward, as_data, surrogate_of
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import (
    Case,
    Cost,
    Layout,
    Linearised,
    ModelError,
    cost_of,
    cost_problems,
    first_of,
    linearised,
    one_case,
    stacked,
)
from ppiscs_jax.inverse.problem import Problem
from ppiscs_jax.inverse.refine import Refined, refine_one
from ppiscs_jax.inverse.result import Fit, Limits, Statistics, cautions, statistics, table

Method = Literal["trf", "nelder-mead"]
Precision = Literal["double", "single"]


def fit(
    forward: Forward,
    problem: Problem,
    measured: Measured,
    *,
    method: Method = "trf",
    cost: Cost = "likelihood",
    max_evaluations: int | None = None,
    precision: Precision = "double",
    model_error: ModelError = True,
) -> Fit:
    """Estimate settings from one measured curve.

    Args:
        forward: the forward model: a surrogate, its method `curve`, or a function (see
            `forward.Forward`).
        problem: what is free, and what was known of it.
        measured: the curve. Without standard errors or a dose all thicknesses weigh the same,
            and errors are estimated from the residuals.
        method: "trf", bounded least squares with the forward model's exact Jacobian; or
            "nelder-mead", the derivative-free simplex of the paper (§3.3).
        cost: "likelihood", the negative log posterior for Gaussian errors or Poisson counts; or
            "absolute", Σ |measured − predicted| as in the paper, with equal weights for all
            thicknesses. The cost "absolute" needs method "nelder-mead", and supports bounds but not
            priors.
        max_evaluations: of the forward model's curve; None for 100 a free number with "trf", 400
            with "nelder-mead".
        precision: floating-point precision in which the forward model is traced; its stored arrays
            are not converted. "single" rounds curves by about 1e-7, which can stop a fit early
            where errors are below 1e-3 of the curve. Random numbers that are drawn inside the model
            differ between the two precisions.
        model_error: whether the error of the forward model is taken into account. True uses the
            error modes of the surrogate, where it provides them; False neglects the error; a
            function returns its modes [Å²], shape (modes, n), for the nine numbers, as
            `AdditiveModel.error_modes` does. This error is correlated along thickness, and more
            measurements do not reduce it. If it is neglected, the standard errors describe how well
            the data determine the settings of the forward model, not those of the microscope.

    Raises:
        InputError: the arguments are inconsistent. It is raised before the fit starts, and names
            every problem.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> true = pp.predict(pp.Settings("Au", "110", 300.0, 20.0, 61.0, 200.0, 0.085)).ppiscs
        >>> problem = pp.Problem(settings, {"inner_mrad": pp.Free(56.0, 64.0, prior_std=1.0)})
        >>> measured = pp.Measured(true, dose_per_angstrom2=1e6)
        >>> result = pp.fit(pp.load_surrogate(), problem, measured)
        >>> row = result.parameters["inner_mrad"]
        >>> row.verdict, round(row.estimate), row.unit
        ('identified', 61, 'mrad')
    """
    problems = [
        choice_problem("method", method, ("trf", "nelder-mead")),
        *cost_problems(cost, method, [problem]),
        choice_problem("precision", precision, ("double", "single")),
    ]
    if max_evaluations is not None:
        limits = (1, 10**9)
        problems.append(range_problem("max_evaluations", max_evaluations, *limits, "", whole=True))
    if any(problems):
        raise InputError(p for p in problems if p)
    model = as_data(forward)
    with jax.enable_x64(precision == "double"):
        layout, case = one_case(model, problem, measured, model_error)
        linear = linearised(model, layout, case, problem.nominal)
        slopes = np.asarray(linear.jacobian)[: len(case.scale)]
        if not np.all(np.isfinite(slopes)):
            raise InputError("forward: its derivatives at the nominal settings are not finite")
        # What the curve does not depend on keeps its nominal value.
        moving = np.any(slopes != 0, axis=0)
        solve = _least_squares if method == "trf" else _simplex
        if np.any(moving):
            solution = solve(model, layout, case, problem, moving, cost, max_evaluations)
        else:
            solution = OptimizeResult(x=problem.nominal, nfev=0, success=True, message="no effect")
        better = refine_one(model, layout, case, problem, measured, model_error, solution.x)
        # Without priors both stages have the same minimum.
        if better and cost == "likelihood" and np.any(moving) and np.any(problem.prior_precision):
            again = solve(
                model,
                layout,
                first_of(better.cases),
                problem,
                moving,
                cost,
                max_evaluations,
                solution.x,
            )
            again.nfev += solution.nfev
            solution = again
        return _described(
            model, layout, case, problem, measured, linear.curve, solution, cost, better
        )


_cost = jax.jit(cost_of, static_argnums=(1, 4))


def _least_squares(
    forward: Partial,
    layout: Layout,
    case: Case,
    problem: Problem,
    moving: np.ndarray,
    cost: Cost,
    most: int | None,
    start: np.ndarray | None = None,
) -> OptimizeResult:
    """The trust-region reflective method, of scipy, in units of the prior's widths."""
    start = problem.nominal if start is None else start
    scale = problem.prior_width[moving]

    def free(steps: np.ndarray) -> np.ndarray:
        numbers = problem.nominal.copy()
        numbers[moving] += scale * steps
        return numbers

    @lru_cache(maxsize=2)  # residuals and their Jacobian are asked for one after the other
    def at(steps: bytes) -> Linearised:
        return linearised(forward, layout, case, free(np.frombuffer(steps)))

    found = least_squares(
        lambda steps: np.asarray(at(steps.tobytes()).residual, float),
        (start - problem.nominal)[moving] / scale,
        jac=lambda steps: scale * np.asarray(at(steps.tobytes()).jacobian, float)[:, moving],
        bounds=[(bound - problem.nominal)[moving] / scale for bound in problem.bounds],
        method="trf",
        ftol=1e-8,
        xtol=1e-6,
        gtol=1e-8,
        max_nfev=most or 100 * len(problem.free),
    )
    found.x = free(found.x)
    return found


def _simplex(
    forward: Partial,
    layout: Layout,
    case: Case,
    problem: Problem,
    moving: np.ndarray,
    cost: Cost,
    most: int | None,
    start: np.ndarray | None = None,
) -> OptimizeResult:
    """Nelder–Mead, of scipy, inside the box, whose sides are its units."""
    start = problem.nominal if start is None else start
    low, high = (bound[moving] for bound in problem.bounds)

    def free(part: np.ndarray) -> np.ndarray:
        numbers = problem.nominal.copy()
        numbers[moving] = low + part * (high - low)
        return numbers

    def value(part: np.ndarray) -> float:
        return float(_cost(forward, layout, case, free(part), cost))

    start = (start[moving] - low) / (high - low)
    steps = np.where(start < 0.5, 0.25, -0.25)
    found = minimize(
        value,
        start,
        method="Nelder-Mead",
        bounds=[(0.0, 1.0)] * len(start),
        options={
            "initial_simplex": np.vstack([start, start + np.diag(steps)]),
            "xatol": 1e-5,
            "fatol": 1e-6 * value(start),
            "maxfev": most or 400 * len(problem.free),
        },
    )
    found.x = free(found.x)
    return found


def _described(
    forward: Partial,
    layout: Layout,
    case: Case,
    problem: Problem,
    measured: Measured,
    nominal_curve: Float[Array, " n"],
    solution: OptimizeResult,
    cost: Cost,
    refined: Refined | None,
) -> Fit:
    """A solver's result with its statistics and warnings."""
    estimates = np.asarray(solution.x, float)
    at_first = linearised(forward, layout, case, estimates)
    curve, first = np.asarray(at_first.curve, float), np.asarray(at_first.residual, float)
    cases, at_last = stacked(case), at_first
    if refined:
        cases = refined.cases
        at_last = linearised(forward, layout, first_of(cases), estimates)
    residual, jacobian = (np.asarray(a, float) for a in (at_last.residual, at_last.jacobian))
    rows = (estimates[None], residual[None], jacobian[None])
    of_all = statistics(layout, cases, *rows, refined, first[None])
    found = Statistics(*(a[0] for a in of_all))
    parameters = table(problem, estimates, found, _limits(forward, problem))
    numbers = problem.numbers
    numbers[list(layout.free)] = estimates
    differences = np.where(cases.scale[0] > 0, cases.values[0], np.nan) - curve
    result = Fit(
        problem=problem,
        measured=measured,
        parameters=parameters,
        estimates=estimates,
        covariance=found.covariance,
        numbers=numbers,
        curve=curve,
        nominal_curve=np.asarray(nominal_curve, float),
        residuals=differences,
        cost=float(
            np.nansum(np.abs(differences)) if cost == "absolute" else np.sum(residual**2) / 2
        ),
        evaluations=int(solution.nfev),
        success=bool(solution.success),
        message=str(solution.message).rstrip("."),
        chi_squared=float(found.chi_squared),
        dof=int(found.dof),
        p_value=float(found.p_value),
    )
    return replace(result, message="; ".join([result.message, *cautions(result)]))


def _limits(forward: Partial, problem: Problem) -> Limits:
    """The range that a surrogate was trained for, if the forward model is one's."""
    trained = getattr(surrogate_of(forward), "trained_range", None)
    return trained.limits_of(problem.x) if trained else {}
