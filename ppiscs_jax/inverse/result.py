"""Results of fits: estimates, their covariance, and which numbers the data constrain."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import chdtrc

from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import Case, Layout
from ppiscs_jax.inverse.problem import LIMITS, SETTINGS, Problem
from ppiscs_jax.inverse.record import Record
from ppiscs_jax.inverse.refine import LEAST_ERROR, Refined
from ppiscs_jax.settings import Settings

UNEXPLAINED = 1e-3
"""A p-value below this: the model does not explain the curve."""

UNCONSTRAINED, WEAKLY_CONSTRAINED = 0.9, 0.5
"""Posterior over prior width from which a number counts as unconstrained, or as weakly constrained
by the data."""

INSEPARABLE = 0.99
"""Correlation from which two numbers are constrained only together."""

AT_BOUND = 1e-3
"""A number this near to a bound, in parts of the range, is at it."""


_GOODNESS = (
    "cost",
    "chi_squared",
    "dof",
    "p_value",
    "evaluations",
    "success",
    "message",
    "explained",
)

Limits = Mapping[str, tuple[float, float]]
"""Smallest and largest value by name."""


class Parameter(NamedTuple):
    """One parameter of a fit: a row of the identifiability table.

    Attributes:
        name, unit: name and unit of the parameter.
        nominal, estimate: value before and after the fit.
        prior_width, standard_error: standard deviation before and after the fit.
        at_bound: whether the estimate is at a bound, where its standard error is only a guide.
        verdict: "identified"; or why it is not: PPISCS does not depend on it, it is at a bound,
            it is unconstrained or only weakly constrained by the data (its posterior is hardly
            narrower than its prior), or it is constrained only together with another number.
        partner, correlation: the number it is most correlated with, and how much.
    """

    name: str
    unit: str
    nominal: float
    estimate: float
    prior_width: float
    standard_error: float
    at_bound: bool
    verdict: str
    partner: str | None
    correlation: float


@dataclass(frozen=True)
class Fit(Record):
    """Result of a fit.

    Attributes:
        problem: the free parameters, their bounds and priors.
        measured: the curve that was fitted.
        parameters: the identifiability table, by name.
        estimates: of the free numbers, in the order of `problem.names`, shape (k,).
        covariance: of the posterior around them, priors included, shape (k, k). Bounds alone
            count as a prior of variance (high − low)² / 12.
        numbers: all numbers with the estimates, in the order of `NUMBERS`, shape (11,).
        curve: predicted at the estimates, gain and offset included [Å²], shape (n,).
        nominal_curve: predicted at the nominal settings, gain and offset included [Å²], shape (n,).
        residuals: measured − curve [Å²], shape (n,), NaN in gaps.
        cost: what was minimised: half the sum of squared `posterior.residuals` (where errors are
            not known, as if they were 0.1 % of the largest value), or Σ |measured − curve| [Å²].
        evaluations: of the forward model's curve, Jacobians apart.
        success: whether the method converged.
        message: why the method stopped, and warnings.
        chi_squared, dof, p_value: of data and priors; NaN where errors are not known. With a
            dose χ² is the deviance, whose p-value needs more than a few counts a thickness.
    """

    problem: Problem
    measured: Measured
    parameters: dict[str, Parameter]
    estimates: Float[np.ndarray, " k"]
    covariance: Float[np.ndarray, "k k"]
    numbers: Float[np.ndarray, " 11"]
    curve: Float[np.ndarray, " n"]
    nominal_curve: Float[np.ndarray, " n"]
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
        return Settings.from_vector(self.numbers[SETTINGS])

    @property
    def standard_errors(self) -> Float[np.ndarray, " k"]:
        """Standard errors of the estimates, in the order of `problem.names`."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def explained(self) -> bool | None:
        """Whether the model explains the curve (p ≥ 0.001); None where errors are not known."""
        return None if np.isnan(self.p_value) else bool(self.p_value >= UNEXPLAINED)

    def contents(self) -> dict[str, Any]:
        """Estimates, their covariance and table, the curve, and how good it is."""
        return {
            "names": list(self.problem.names),
            "estimates": self.estimates,
            "covariance": self.covariance,
            "parameters": {name: p._asdict() for name, p in self.parameters.items()},
            "n_atoms": np.arange(1, len(self.curve) + 1),
            "curve_angstrom2": self.curve,
            "residuals_angstrom2": self.residuals,
            **{name: getattr(self, name) for name in _GOODNESS},
        }

    def rows(self) -> list[dict[str, Any]]:
        """The identifiability table."""
        return [p._asdict() for p in self.parameters.values()]

    def plot(self, path: str | Path | None = None, *, title: str = "") -> Any:
        """Draw measured, nominal and fitted curve with residuals, as `plots.fits.plot_fit`."""
        from ppiscs_jax.plots.fits import plot_fit  # matplotlib is slow to import

        measured = self.measured
        return plot_fit(
            measured.ppiscs,
            measured.error_bars,
            self.nominal_curve,
            self.curve,
            path,
            title=title,
        )


@dataclass(frozen=True)
class BatchFit(Record):
    """Fits of many curves; one row a curve.

    Attributes:
        names: of the free numbers.
        estimates: shape (curves, k).
        covariance: of the posteriors, shape (curves, k, k), as in `Fit`.
        converged: shape (curves,).
        iterations: shape (curves,). Those of Nelder–Mead are evaluations of the cost.
        cost: what was minimised, as in `Fit`, shape (curves,).
        chi_squared, dof, p_value: as in `Fit`, shape (curves,).
        at_bound: which estimates are at a bound, shape (curves, k).
        without_effect: numbers that the curve does not depend on, shape (curves, k): they keep
            their nominal values, and are not identifiable.
    """

    names: tuple[str, ...]
    estimates: Float[np.ndarray, "curves k"]
    covariance: Float[np.ndarray, "curves k k"]
    converged: Bool[np.ndarray, " curves"]
    iterations: Int[np.ndarray, " curves"]
    cost: Float[np.ndarray, " curves"]
    chi_squared: Float[np.ndarray, " curves"]
    dof: Int[np.ndarray, " curves"]
    p_value: Float[np.ndarray, " curves"]
    at_bound: Bool[np.ndarray, "curves k"]
    without_effect: Bool[np.ndarray, "curves k"]

    @property
    def standard_errors(self) -> Float[np.ndarray, "curves k"]:
        """Standard errors of the estimates."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    def rows(self) -> list[dict[str, Any]]:
        """One row per curve: estimates, their standard errors, and how good the fit is."""
        columns = dict(zip(self.names, self.estimates.T, strict=True))
        columns |= {
            f"{name}_standard_error": error
            for name, error in zip(self.names, self.standard_errors.T, strict=True)
        }
        columns |= {n: getattr(self, n) for n in ("converged", "cost", "chi_squared", "p_value")}
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class Statistics(NamedTuple):
    """Statistics of residuals and their Jacobian at the estimates; one row per curve.

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
    refined: Refined | None = None,
    first: Float[np.ndarray, "curves n_plus_k"] | None = None,
) -> Statistics:
    """Statistics of fits from residuals and their Jacobian; double precision, on the host.

    If a second stage refined the errors, `cases` are the refined ones, and `first` are the
    residuals at the same estimates with the errors of the first stage.
    """
    low, high, precision, width, scale = (
        np.asarray(a, float)
        for a in (cases.low, cases.high, cases.prior_precision, cases.prior_width, cases.scale)
    )
    n = scale.shape[1]
    slopes = np.asarray(jacobian, float)[:, :n] * width[:, None]
    without_effect = np.all(slopes == 0, axis=1)
    at_bound = np.minimum(estimates - low, high - estimates) <= AT_BOUND * (high - low)
    constrained = ~at_bound & (~without_effect | (precision > 0))
    points = np.sum(scale > 0, axis=1) + np.sum(precision > 0, axis=1)
    dof = points - np.sum(constrained, axis=1)
    squares = np.sum(np.asarray(residual, float) ** 2, axis=1)
    if layout.errors_known:
        p_value = np.where(dof > 0, chdtrc(np.maximum(dof, 1), squares), np.nan)
    elif refined:
        # Errors that are estimated from the residuals cannot test the goodness of fit.
        squares = p_value = np.full(len(squares), np.nan)
    else:
        error = np.where(dof > 0, np.sqrt(squares / np.maximum(dof, 1)), np.inf)
        slopes /= np.maximum(error, LEAST_ERROR)[:, None, None]
        squares = p_value = np.full(len(squares), np.nan)
    if refined and first is not None:
        priors = np.sum(precision > 0, axis=1)
        for i, projection in enumerate(refined.projections):
            if projection is None:
                continue
            combinations = projection.whitening.left.shape[1]
            there = scale[i] > 0
            squares[i], dof[i], p_value[i] = projection.goodness(
                np.asarray(first, float)[i, :n][there],
                float(squares[i]),
                int(combinations + priors[i]),
                int(np.sum(constrained[i])),
            )
    information = np.swapaxes(slopes, 1, 2) @ slopes + np.eye(slopes.shape[2])
    covariance = width[:, :, None] * np.linalg.inv(information) * width[:, None, :]
    return Statistics(covariance, squares, dof, p_value, at_bound, without_effect)


def table(
    problem: Problem, estimates: np.ndarray, found: Statistics, limits: Limits
) -> dict[str, Parameter]:
    """The identifiability table; `limits` are those of the forward model, where it has any."""
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
            reasons = []
            if errors[i] > WEAKLY_CONSTRAINED * prior:
                how = "unconstrained" if errors[i] > UNCONSTRAINED * prior else "weakly constrained"
                reasons.append(f"{how} by the data")
            elif others[partner] > INSEPARABLE:
                reasons.append(f"constrained only together with {problem.names[partner]}")
            if found.at_bound[i]:
                reasons.append(_of_bound(problem, name, float(estimates[i]), limits))
            verdict = "; ".join(reasons) or "identified"
        rows[name] = Parameter(
            name=name,
            unit=LIMITS[name][2],
            nominal=float(problem.nominal[i]),
            estimate=float(estimates[i]),
            prior_width=float(prior),
            standard_error=float(errors[i]),
            at_bound=bool(found.at_bound[i]),
            verdict=verdict,
            partner=problem.names[partner] if others[partner] > 0 else None,
            correlation=float(correlations[i, partner]) if others[partner] > 0 else 0.0,
        )
    return rows


def _of_bound(problem: Problem, name: str, estimate: float, limits: Limits) -> str:
    """The verdict on a number at one of its bounds."""
    free = problem.free[name]
    side = int(abs(free.high - estimate) < abs(estimate - free.low))
    bound = (free.low, free.high)[side]
    text = f"at its {('lower', 'upper')[side]} bound, {bound:g} {LIMITS[name][2]}".rstrip()
    limit = limits.get(name, (np.nan, np.nan))[side]
    if abs(bound - limit) <= AT_BOUND * (free.high - free.low):
        return f"{text}, the limit of the forward model's range"
    return text


def cautions(result: Fit) -> list[str]:
    """Warnings about a fit."""
    table = result.parameters.values()
    warnings = [f"{p.name} {p.verdict}" for p in table if p.verdict != "identified"]
    if result.explained is False:
        warnings.append(
            f"the model does not explain the curve: χ² = {result.chi_squared:.4g} with "
            f"{result.dof} degrees of freedom, p = {result.p_value:.1g}"
        )
    return warnings
