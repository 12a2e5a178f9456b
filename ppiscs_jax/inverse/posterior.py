"""The posterior of a problem and its measured curve, as residuals whose squares add up to it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ppiscs_jax.errors import InputError, choice_problem
from ppiscs_jax.inverse.correlated import Whitening, padded_size, whitening
from ppiscs_jax.inverse.forward import Forward, as_data, curves, in_groups, surrogate_of
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import GAIN, LIMITS, NUMBERS, OFFSET, SETTINGS, Problem

SMALLEST_COUNTS = 1e-6
"""Expected numbers of electrons are at least this, so that their likelihood exists."""

ASSUMED_ERROR = 1e-3
"""If errors are not known, residuals are in units of this fraction of the largest value."""

UNITS_OF_AREA = {
    "nm²": 1e-2,
    "pm²": 1e4,
    "cm²": 1e-16,
    "m²": 1e-20,
    "megabarn": 1e2,
    "kilobarn": 1e5,
    "barn": 1e8,
}
"""1 Å² in other units."""

SUSPECT_FACTOR = 2.0
"""Curves this near to the nominal one in another unit are taken to be in that unit."""

Cost = Literal["likelihood", "absolute"]
"""Kinds of cost that fits minimise: see `cost_of`."""


LEAST_SHARE = 1e-4
"""Fraction of the variance that is taken as independent where errors consist of modes only."""

ModelError = bool | Callable[[Float[np.ndarray, " 9"]], Float[np.ndarray, "modes n"]]
"""Whether, or how, the error of the forward model is known: see `fit`."""


class Layout(NamedTuple):
    """Static structure of the residuals: which of `NUMBERS` are free, and the kind of noise."""

    free: tuple[int, ...]
    poisson: bool
    errors_known: bool


class Case(NamedTuple):
    """A problem with its measured curve, as arrays; a pytree. Stacked along the first axis.

    Attributes:
        numbers: nominal values of all numbers, (11,).
        nominal, low, high, prior_precision, prior_width: of what is free, (k,).
        values: what was measured [Å²], (n,), 0 in gaps.
        scale: what makes residuals of unit variance, (n,), 0 in gaps: 1 / standard error; for
            Poisson noise the dose.
        keep, left, right: what makes these residuals independent, as in `correlated.Whitening`.
    """

    numbers: Float[Array, "*cases 11"]
    nominal: Float[Array, "*cases k"]
    low: Float[Array, "*cases k"]
    high: Float[Array, "*cases k"]
    prior_precision: Float[Array, "*cases k"]
    prior_width: Float[Array, "*cases k"]
    values: Float[Array, "*cases n"]
    scale: Float[Array, "*cases n"]
    keep: Float[Array, "*cases"]
    left: Float[Array, "*cases n modes"]
    right: Float[Array, "*cases n modes"]


def predicted(forward: Forward, layout: Layout, case: Case, free: Float[Array, " k"]) -> Array:
    """The curve to be measured, gain and offset included [Å²], shape (n,), for free numbers."""
    numbers = jnp.asarray(case.numbers).at[jnp.array(layout.free)].set(free)
    return numbers[GAIN] * forward(numbers[SETTINGS]) + numbers[OFFSET]


def residuals(
    forward: Forward, layout: Layout, case: Case, free: Float[Array, " k"]
) -> Float[Array, " n_plus_k"]:
    """Residuals whose squares add up to −2 log posterior, but for a constant and the bounds.

    Those of the n thicknesses (0 in gaps), then of the k priors (0 without). With standard
    errors, (predicted − measured) / error; with a dose, signed roots of the Poisson deviance, so
    that the sum of squares is least exactly where the likelihood is greatest. Where errors are
    correlated, they are made independent (see `correlated`).
    """
    there = case.scale > 0
    model = jnp.where(there, predicted(forward, layout, case, free), 0)
    if layout.poisson:
        expected = jnp.where(there, jnp.maximum(case.scale * model, SMALLEST_COUNTS), 1)
        of_data = deviance_residual(expected, jnp.where(there, case.scale * case.values, 1))
    else:
        of_data = case.scale * (model - case.values)
    of_data = case.keep * of_data + case.left @ (case.right.T @ of_data)
    return jnp.concatenate([of_data, case.prior_precision * (free - case.nominal)])


class Linearised(NamedTuple):
    """Residuals, their Jacobian, and the predicted curve [Å²], at some free numbers."""

    residual: Float[Array, " n_plus_k"]
    jacobian: Float[Array, "n_plus_k k"]
    curve: Float[Array, " n"]


@partial(jax.jit, static_argnums=1)
def linearised(
    forward: Partial, layout: Layout, case: Case, free: Float[Array, " k"]
) -> Linearised:
    """Residuals, their Jacobian and the predicted curve at one point."""

    def at(p: Array) -> Any:
        residual = residuals(forward, layout, case, p)
        return residual, (residual, predicted(forward, layout, case, p))

    jacobian, (residual, curve) = jax.jacfwd(at, has_aux=True)(free)
    return Linearised(residual, jacobian, curve)


def cost_of(
    forward: Forward, layout: Layout, case: Case, free: Float[Array, " k"], cost: Cost
) -> Float[Array, ""]:
    """The cost of a fit: half the sum of squared residuals, or Σ |measured − predicted| [Å²]."""
    if cost == "absolute":
        differences = predicted(forward, layout, case, free) - case.values
        return jnp.sum(jnp.where(case.scale > 0, jnp.abs(differences), 0))
    return jnp.sum(residuals(forward, layout, case, free) ** 2) / 2


def cost_problems(cost: Cost, method: str, problems: Sequence[Problem]) -> list[str]:
    """Reasons why a method cannot minimise a cost for these problems."""
    if wrong := choice_problem("cost", cost, ("likelihood", "absolute")):
        return [wrong]
    faults = []
    if cost == "absolute" and method in ("trf", "levenberg-marquardt"):
        faults.append('cost = "absolute": is not a sum of squares; use method "nelder-mead"')
    if cost == "absolute" and any(np.any(problem.prior_precision) for problem in problems):
        faults.append('cost = "absolute": does not support prior_std; give bounds alone')
    return faults


@jax.custom_jvp
def deviance_residual(
    expected: Float[Array, "*shape"], counted: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Signed root of the Poisson deviance 2 (s ln(s/μ) − s + μ), positive where μ > s.

    Differentiable in the expected number μ > 0 also where it meets the counted s ≥ 0.
    """
    return (expected - counted) * jnp.sqrt(_curvature(expected, counted) / expected)


@deviance_residual.defjvp
def _deviance_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    expected, counted = primals
    # Half the deviance's slope is 1 − s/μ; divided by the residual, the zeros cancel.
    slope = 1 / jnp.sqrt(expected * _curvature(expected, counted))
    return deviance_residual(expected, counted), slope * tangents[0]


def _curvature(expected: Array, counted: Array) -> Array:
    """Deviance × μ / (s − μ)², 1 where they meet: by its series near there."""
    t = (counted - expected) / expected
    small = jnp.abs(t) < 0.1
    away = jnp.where(small, 1.0, t)
    full = 2 * (jax.scipy.special.xlog1py(1 + away, away) - away) / away**2
    series = sum(2 * (-t) ** i / ((i + 1) * (i + 2)) for i in range(7))
    return jnp.where(small, series, full)


@partial(jax.jit, static_argnums=1)
def _log_posteriors(forward: Partial, layout: Layout, case: Case, free: Array) -> Array:
    return jax.vmap(lambda f: -jnp.sum(residuals(forward, layout, case, f) ** 2) / 2)(free)


def log_posteriors(
    forward: Forward, layout: Layout, case: Case, free: Float[np.ndarray, "draws k"]
) -> Float[np.ndarray, " draws"]:
    """Log posterior densities, but for a constant, of values of the free numbers in the bounds."""
    work = partial(_log_posteriors, as_data(forward), layout, case)
    return in_groups(work, free, at_once=256)


def stack(
    forward: Forward,
    problems: Problem | Sequence[Problem],
    measured: Sequence[Measured],
    model_error: ModelError = True,
) -> tuple[Layout, Case]:
    """Problems and measured curves as arrays, checked against the forward model.

    Args:
        forward: the forward model.
        problems: one for all curves, or one for each, all with the same free numbers.
        measured: the curves, all with standard errors, or all with doses, or all without.
        model_error: as in `fit`.

    Raises:
        InputError: naming curves that do not fit together, thicknesses or bounds at which the
            forward model gives nothing, units that are not Å², priors without errors to weigh
            them against.
    """
    each = [problems] * len(measured) if isinstance(problems, Problem) else list(problems)
    noises = {(m.errors_known, m.dose_per_angstrom2 is not None) for m in measured}
    faults = []
    if not measured:
        faults.append("measured: there are no curves")
    if len(each) != len(measured):
        faults.append(f"problems: {len(each)} for {len(measured)} curves; give one for each")
    if len({p.names for p in each}) > 1:
        faults.append("problems: must all have the same free numbers")
    if len(noises) > 1:
        faults.append(
            "measured: curves cannot be mixed; give errors for all, or doses for all, or neither"
        )
    if faults:
        raise InputError(faults)
    with_errors, poisson = noises.pop()
    layout = Layout(
        tuple(NUMBERS.index(name) for name in each[0].names), poisson, with_errors or poisson
    )
    distinct = list({id(p): p for p in each}.values())
    points = np.stack([_points(p) for p in distinct])
    try:
        known = curves(forward, points.reshape(-1, 9))
    except TypeError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"forward: {reason}; if it is made for single precision only, ask for that"
        ) from error
    if known.ndim != 2:
        raise InputError(f"forward: gives arrays of shape {known.shape[1:]}; must give curves")
    n = known.shape[1]
    known = known.reshape(*points.shape[:2], n)
    of = dict(zip(map(id, distinct), known, strict=True))
    for i, (p, m) in enumerate(zip(each, measured, strict=True)):
        where = f"curve {i}: " if len(measured) > 1 else ""
        faults += [where + c for c in _faults(p, m, layout, of[id(p)])]
    if faults:
        raise InputError(faults)
    modes = {id(p): model_modes(forward, model_error, p) for p in distinct}
    noise = [_noise(m, modes[id(p)], n) for p, m in zip(each, measured, strict=True)]
    size = max(padded_size(whitening.left.shape[1]) for _, _, whitening in noise)
    rows = [
        (*_numbers_of(p), values, scale, *whitening.padded(size))
        for p, (values, scale, whitening) in zip(each, noise, strict=True)
    ]
    return layout, Case._make(np.stack(column) for column in zip(*rows, strict=True))


def _numbers_of(problem: Problem) -> tuple[np.ndarray, ...]:
    """The fields of a `Case` that are the problem's."""
    p = problem
    return p.numbers, p.nominal, *p.bounds, p.prior_precision, p.prior_width


def model_modes(
    forward: Forward, model_error: ModelError, problem: Problem
) -> Float[np.ndarray, "modes n"]:
    """Modes of the forward model's error at the nominal settings [Å²], gain included."""
    surrogate = surrogate_of(as_data(forward))
    if not isinstance(model_error, bool):
        modes = model_error(problem.x)
    elif model_error and hasattr(surrogate, "error_modes"):
        modes = _modes(surrogate, problem.x)
    else:
        return np.zeros((0, 0))
    return problem.gain * np.nan_to_num(np.asarray(modes, float))


@jax.jit
def _modes(surrogate: Any, x: Array) -> Array:
    return surrogate.error_modes(x)


def _noise(
    measured: Measured, modes: Float[np.ndarray, "modes n"], n: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Whitening]:
    """Values and scale of a `Case`, and the whitening of its known errors."""
    there = measured.there
    values, scale = np.zeros((2, n))
    values[there] = measured.ppiscs[there]
    modes = modes[:, there] if modes.size else np.zeros((0, len(there)))
    if measured.dose_per_angstrom2 is not None:
        scale[there] = dose = measured.dose_per_angstrom2[there]
        # Residuals are signed roots of deviances: of unit variance, and differences in units of
        # the counts' standard deviation.
        unit = np.sqrt(dose / np.maximum(values[there], 1 / dose))
    elif measured.errors_known:
        errors = measured.errors
        modes = np.concatenate([errors.modes, modes])
        variance = errors.variance + errors.smooth_variance
        if np.any(variance <= 0):
            # Nothing but modes: a small independent error keeps them from being exact.
            variance = variance + LEAST_SHARE * np.sum(modes**2, axis=0)
        scale[there] = unit = 1 / np.sqrt(variance)
    else:
        scale[there] = 1 / (ASSUMED_ERROR * values.max())
        return values, scale, whitening(np.zeros((0, n)))
    whole = np.zeros((len(modes), n))
    whole[:, there] = modes * unit
    return values, scale, whitening(whole)


def one_case(
    forward: Forward,
    problem: Problem,
    measured: Measured,
    model_error: ModelError = True,
    *,
    errors_needed: bool = False,
) -> tuple[Layout, Case]:
    """A problem and its measured curve as arrays of JAX, checked as in `stack`."""
    layout, cases = stack(forward, problem, [measured], model_error)
    if errors_needed and not layout.errors_known:
        raise InputError("measured: a posterior needs standard_error or dose_per_angstrom2")
    return layout, first_of(cases)


def first_of(cases: Case) -> Case:
    """The first of stacked cases, as arrays of JAX."""
    return jax.device_put(jax.tree.map(lambda a: np.asarray(a)[0], cases))


def stacked(case: Case) -> Case:
    """One case as stacked ones, in arrays of NumPy."""
    return jax.tree.map(lambda a: np.asarray(a)[None], case)


def _points(problem: Problem) -> Float[np.ndarray, "points 9"]:
    """Nominal settings, then with each free number at its bounds."""
    points = np.tile(problem.numbers, (1 + 2 * len(problem.free), 1))
    for i, (name, free) in enumerate(problem.free.items()):
        points[1 + 2 * i : 3 + 2 * i, NUMBERS.index(name)] = free.low, free.high
    return points[:, SETTINGS]


def _faults(
    problem: Problem, measured: Measured, layout: Layout, known: Float[np.ndarray, "points n"]
) -> list[str]:
    """Reasons why a curve cannot be fitted, given the forward model's curves at `_points`."""
    there = np.flatnonzero(~np.isnan(measured.ppiscs))
    n = known.shape[1]
    missing = np.array([i >= n or np.isnan(known[0, i]) for i in there])
    if np.any(missing):
        given = np.flatnonzero(~np.isnan(known[0])) + 1
        upto = f"1 to {given.max()}" if len(given) else "none"
        return [
            f"ppiscs: measured at up to {there.max() + 1} atoms; at the nominal settings the "
            f"forward model gives {upto}"
        ]
    faults = []
    for i, (name, free) in enumerate(problem.free.items()):
        unit = LIMITS[name][2]
        for bound, curve in zip((free.low, free.high), known[1 + 2 * i : 3 + 2 * i], strict=True):
            if np.any(np.isnan(curve[there])):
                faults.append(
                    f"{name}: the forward model gives nothing at its bound {bound:g} {unit}"
                )
    if not layout.errors_known and np.any(problem.prior_precision):
        faults.append(
            "prior_std: needs standard_error or dose_per_angstrom2 of the measured curve to be "
            "weighed against; give them, or bounds alone"
        )
    gain = problem.free.get("gain")
    lowest, highest = (gain.low, gain.high) if gain else (problem.gain, problem.gain)
    positive = there[known[0, there] > 0]
    if len(positive) == 0:
        return [*faults, "forward: gives no positive cross-section at the nominal settings"]
    ratio = np.median((measured.ppiscs[positive] - problem.offset_angstrom2) / known[0, positive])
    for unit, factor in UNITS_OF_AREA.items():
        expected = factor * np.clip(ratio / factor, lowest, highest)
        outside = not lowest <= ratio <= highest
        if outside and 1 / SUSPECT_FACTOR < ratio / expected < SUSPECT_FACTOR:
            faults.append(
                f"ppiscs: {ratio:.3g} times the forward model's curve at the nominal settings, and "
                f"1 Å² = {factor:g} {unit}: convert from {unit} to Å², or let gain be free"
            )
    return faults
