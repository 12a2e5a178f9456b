"""Fits of one measured curve: bounded least squares, or the paper's Nelder–Mead."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import OptimizeResult, least_squares, minimize
from scipy.stats import chi2

from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.inverse.forward import Forward
from ppiscs_jax.inverse.posterior import (
    Case,
    Cost,
    Layout,
    cost_of,
    cost_problems,
    one_case,
    predicted,
    residuals,
)
from ppiscs_jax.inverse.problem import LIMITS, Measured, Problem
from ppiscs_jax.settings import Settings

UNEXPLAINED = 1e-3
"""A p-value below this: the model does not explain the curve."""

UNTOLD = 0.9
"""Posterior over prior width above which the data do not tell a number."""

AT_BOUND = 1e-3
"""A number this near to a bound, in parts of the range, is at it."""

LEAST_ERROR = 1e-4
"""Errors estimated from residuals are at least this part of the assumed one, for rounding."""

Method = Literal["trf", "nelder-mead"]
Precision = Literal["double", "single"]


class Parameter(NamedTuple):
    """What became of one number: a row of the identifiability table.

    Attributes:
        name, unit: of the number.
        stated, estimate: before and after.
        prior_width, standard_error: standard deviations before and after.
        at_bound: whether the estimate is at a bound, where its standard error is only a guide.
        verdict: "identified"; "not told by the data" (posterior as wide as prior); or "not
            identifiable: PPISCS does not depend on it".
        partner, correlation: the number it is most correlated with, and how much.
    """

    name: str
    unit: str
    stated: float
    estimate: float
    prior_width: float
    standard_error: float
    at_bound: bool
    verdict: str
    partner: str | None
    correlation: float


@dataclass(frozen=True)
class Fit:
    """What a measured curve says about the microscope.

    Attributes:
        problem: what was asked.
        parameters: the identifiability table, by name.
        estimates: of the free numbers, in the order of `problem.names`, shape (k,).
        covariance: of the posterior around them, priors included, shape (k, k). Bounds alone
            count as a prior of variance (high − low)² / 12.
        numbers: all numbers with the estimates, in the order of `NUMBERS`, shape (11,).
        curve: predicted at the estimates, gain and offset included [Å²], shape (n,).
        residuals: measured − curve [Å²], shape (n,), NaN in gaps.
        cost: what was minimised: half the sum of squared `posterior.residuals` (where errors are
            not known, as if they were 0.1 % of the largest value), or Σ |measured − curve| [Å²].
        evaluations: of the forward model's curve, Jacobians apart.
        success: whether the method converged.
        message: why it stopped, and what to beware of.
        chi_squared, dof, p_value: of data and priors; NaN where errors are not known. With a
            dose χ² is the deviance, whose p-value needs more than a few counts a thickness.
    """

    problem: Problem
    parameters: dict[str, Parameter]
    estimates: Float[np.ndarray, " k"]
    covariance: Float[np.ndarray, "k k"]
    numbers: Float[np.ndarray, " 11"]
    curve: Float[np.ndarray, " n"]
    residuals: Float[np.ndarray, " n"]
    cost: float
    evaluations: int
    success: bool
    message: str
    chi_squared: float
    dof: int
    p_value: float

    @property
    def settings(self) -> Settings:
        """The settings as estimated."""
        return Settings.from_vector(self.numbers[:9])

    @property
    def standard_errors(self) -> Float[np.ndarray, " k"]:
        """Of the estimates, in the order of `problem.names`."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def explained(self) -> bool | None:
        """Whether the model explains the curve (p ≥ 0.001); None where errors are not known."""
        return None if np.isnan(self.p_value) else bool(self.p_value >= UNEXPLAINED)


def fit(
    forward: Forward,
    problem: Problem,
    measured: Measured,
    *,
    method: Method = "trf",
    cost: Cost = "likelihood",
    max_evaluations: int | None = None,
    precision: Precision = "double",
) -> Fit:
    """Estimate settings from one measured curve.

    Args:
        forward: the forward model. Compiled once: pass the same function again, not a new one.
        problem: what is free, and what was known of it.
        measured: the curve. Without standard errors or a dose all thicknesses weigh the same,
            and errors are estimated from the residuals.
        method: "trf", bounded least squares with the forward model's exact Jacobian; or
            "nelder-mead", the derivative-free simplex of the paper (§3.3).
        cost: "likelihood", −log posterior for Gaussian errors or Poisson counts; or "absolute",
            the paper's Σ |measured − predicted| of all thicknesses alike, which takes bounds but
            no priors, and only Nelder–Mead can minimise.
        max_evaluations: of the forward model's curve; None for 100 a free number with "trf", 400
            with "nelder-mead".
        precision: in which the forward model is traced, its stored arrays as they are. "single"
            rounds curves by 1e-7, which hides the way down where errors are below 1e-3 of them.
            Random numbers drawn inside the model are others in the other precision.

    Raises:
        InputError: naming all that does not fit together, before any fit.
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
    with jax.enable_x64(precision == "double"):
        layout, case = one_case(forward, problem, measured)
        slopes = _jacobian(forward, layout, case, problem.stated)[: len(case.scale)]
        if not np.all(np.isfinite(slopes)):
            raise InputError("forward: its derivatives at the stated settings are not finite")
        # What the curve does not depend on stays as stated.
        moving = np.any(slopes != 0, axis=0)
        solve = _least_squares if method == "trf" else _simplex
        if np.any(moving):
            solution = solve(forward, layout, case, problem, moving, cost, max_evaluations)
        else:
            solution = OptimizeResult(x=problem.stated, nfev=0, success=True, message="no effect")
        return _described(forward, layout, case, problem, solution, cost)


@partial(jax.jit, static_argnums=(0, 1))
def _evaluated(forward, layout, case, free):
    """The predicted curve and the residuals."""
    return predicted(forward, layout, case, free), residuals(forward, layout, case, free)


_cost = jax.jit(cost_of, static_argnums=(0, 1, 4))


@partial(jax.jit, static_argnums=(0, 1))
def _jacobian(forward, layout, case, free):
    return jax.jacfwd(lambda p: residuals(forward, layout, case, p))(free)


def _least_squares(forward, layout, case, problem, moving, cost, most) -> OptimizeResult:
    """The trust-region reflective method, of scipy, in units of the prior's widths."""
    scale = problem.prior_width[moving]

    def free(steps: np.ndarray) -> np.ndarray:
        numbers = problem.stated.copy()
        numbers[moving] += scale * steps
        return numbers

    found = least_squares(
        lambda steps: np.asarray(_evaluated(forward, layout, case, free(steps))[1], float),
        np.zeros(len(scale)),
        jac=lambda steps: (
            scale * np.asarray(_jacobian(forward, layout, case, free(steps)), float)[:, moving]
        ),
        bounds=[(bound - problem.stated)[moving] / scale for bound in problem.bounds],
        method="trf",
        ftol=1e-8,
        xtol=1e-6,
        gtol=1e-8,
        max_nfev=most or 100 * len(problem.free),
    )
    found.x = free(found.x)
    return found


def _simplex(forward, layout, case, problem, moving, cost, most) -> OptimizeResult:
    """Nelder–Mead, of scipy, inside the box, whose sides are its units."""
    low, high = (bound[moving] for bound in problem.bounds)

    def free(part: np.ndarray) -> np.ndarray:
        numbers = problem.stated.copy()
        numbers[moving] = low + part * (high - low)
        return numbers

    def value(part: np.ndarray) -> float:
        return float(_cost(forward, layout, case, free(part), cost))

    start = (problem.stated[moving] - low) / (high - low)
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


class Statistics(NamedTuple):
    """What residuals and their Jacobian at estimates say; one row a curve.

    Attributes:
        covariance: of the posterior, (curves, k, k).
        chi_squared, dof, p_value: of data and priors, (curves,); χ² and p NaN where errors are
            not known.
        at_bound: which estimates are at a bound, (curves, k).
        without_effect: numbers that the curve does not depend on, (curves, k).
    """

    covariance: Float[np.ndarray, "curves k k"]
    chi_squared: Float[np.ndarray, " curves"]
    dof: Int[np.ndarray, " curves"]
    p_value: Float[np.ndarray, " curves"]
    at_bound: Bool[np.ndarray, "curves k"]
    without_effect: Bool[np.ndarray, "curves k"]


def statistics(
    layout: Layout,
    cases: Case,
    estimates: Float[np.ndarray, "curves k"],
    residual: Float[np.ndarray, "curves n_plus_k"],
    jacobian: Float[np.ndarray, "curves n_plus_k k"],
) -> Statistics:
    """Statistics of fits from residuals and their Jacobian; double precision, on the host."""
    low, high, precision, width, scale = (
        np.asarray(a, float)
        for a in (cases.low, cases.high, cases.prior_precision, cases.prior_width, cases.scale)
    )
    n = scale.shape[1]
    slopes = np.asarray(jacobian, float)[:, :n] * width[:, None]
    without_effect = np.all(slopes == 0, axis=1)
    at_bound = np.minimum(estimates - low, high - estimates) <= AT_BOUND * (high - low)
    told = ~at_bound & (~without_effect | (precision > 0))
    points = np.sum(scale > 0, axis=1) + np.sum(precision > 0, axis=1)
    dof = points - np.sum(told, axis=1)
    squares = np.sum(np.asarray(residual, float) ** 2, axis=1)
    if layout.errors_known:
        p_value = np.where(dof > 0, chi2.sf(squares, np.maximum(dof, 1)), np.nan)
    else:
        error = np.where(dof > 0, np.sqrt(squares / np.maximum(dof, 1)), np.inf)
        slopes /= np.maximum(error, LEAST_ERROR)[:, None, None]
        squares = p_value = np.full(len(squares), np.nan)
    information = np.swapaxes(slopes, 1, 2) @ slopes + np.eye(slopes.shape[2])
    covariance = width[:, :, None] * np.linalg.inv(information) * width[:, None, :]
    return Statistics(covariance, squares, dof, p_value, at_bound, without_effect)


def _described(
    forward: Forward,
    layout: Layout,
    case: Case,
    problem: Problem,
    solution: OptimizeResult,
    cost: Cost,
) -> Fit:
    """A solver's result with its statistics and warnings."""
    estimates = np.asarray(solution.x, float)
    curve, residual = (np.asarray(a, float) for a in _evaluated(forward, layout, case, estimates))
    jacobian = np.asarray(_jacobian(forward, layout, case, estimates), float)
    one = jax.tree.map(lambda a: a[None], case)
    found = Statistics(
        *(a[0] for a in statistics(layout, one, estimates[None], residual[None], jacobian[None]))
    )
    parameters = _table(problem, estimates, found)
    numbers = problem.numbers
    numbers[list(layout.free)] = estimates
    differences = np.where(case.scale > 0, case.values, np.nan) - curve
    result = Fit(
        problem=problem,
        parameters=parameters,
        estimates=estimates,
        covariance=found.covariance,
        numbers=numbers,
        curve=curve,
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
    return replace(result, message="; ".join([result.message, *_warnings(result)]))


def _table(problem: Problem, estimates: np.ndarray, found: Statistics) -> dict[str, Parameter]:
    """The identifiability table."""
    errors = np.sqrt(np.diag(found.covariance))
    correlations = found.covariance / np.outer(errors, errors)
    rows = {}
    for i, name in enumerate(problem.names):
        prior = problem.prior_width[i]
        others = np.where(np.arange(len(errors)) == i, 0, np.abs(correlations[i]))
        partner = int(np.argmax(others))
        if found.without_effect[i]:
            verdict = "not identifiable: PPISCS does not depend on it"
        else:
            verdict = "not told by the data" if errors[i] > UNTOLD * prior else "identified"
        rows[name] = Parameter(
            name=name,
            unit=LIMITS[name][2],
            stated=float(problem.stated[i]),
            estimate=float(estimates[i]),
            prior_width=float(prior),
            standard_error=float(errors[i]),
            at_bound=bool(found.at_bound[i]),
            verdict=verdict,
            partner=problem.names[partner] if others[partner] > 0 else None,
            correlation=float(correlations[i, partner]) if others[partner] > 0 else 0.0,
        )
    return rows


def _warnings(result: Fit) -> list[str]:
    """What to beware of in a fit."""
    table = result.parameters.values()
    warnings = [f"{p.name} {p.verdict}" for p in table if p.verdict != "identified"]
    warnings += [f"{p.name} at its bound, {p.estimate:g} {p.unit}" for p in table if p.at_bound]
    if result.explained is False:
        warnings.append(
            f"the model does not explain the curve: χ² = {result.chi_squared:.4g} with "
            f"{result.dof} degrees of freedom, p = {result.p_value:.1g}"
        )
    return warnings
