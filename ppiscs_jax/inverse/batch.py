"""Thousands of fits in one call, all curves side by side in JAX.

By bounded Levenberg–Marquardt, or by the Nelder–Mead method of `simplex`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.inverse.fit import Precision
from ppiscs_jax.inverse.forward import Forward, as_data, in_groups
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import (
    Case,
    Cost,
    Layout,
    ModelError,
    cost_problems,
    residuals,
    stack,
)
from ppiscs_jax.inverse.problem import Problem
from ppiscs_jax.inverse.refine import refine
from ppiscs_jax.inverse.result import BatchFit, statistics
from ppiscs_jax.inverse.simplex import simplex_fits

TOLERANCE = 1e-6
"""A fit has converged when the predicted decrease of the cost is below this part of 1 + cost."""

RESOLVED = 1e-2
"""A fit has also converged where no step however short decreases the cost and the predicted
decrease is below this: the costs of networks, in single precision, are no smoother."""

PASSES = 8
"""Times that a step is solved for, until it is known which numbers stop at the box's sides."""

LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e12
"""Above the largest damping, single precision cannot resolve a decrease of the cost."""

FIRST_EDGE = 0.25
"""Length of the first simplex's edges, in parts of the range between the bounds."""

BatchMethod = Literal["levenberg-marquardt", "nelder-mead"]


def fit_batch(
    forward: Forward,
    problems: Problem | Sequence[Problem],
    measured: Sequence[Measured],
    *,
    method: BatchMethod = "levenberg-marquardt",
    cost: Cost = "likelihood",
    starts: int = 1,
    max_iterations: int | None = None,
    precision: Precision = "double",
    at_once: int = 64,
    model_error: ModelError = True,
) -> BatchFit:
    """Fit many measured curves, each as `fit` does.

    Args:
        forward: the forward model, as in `fit`.
        problems: one for all curves, or one for each, all with the same free numbers.
        measured: the curves, all with standard errors, or all with doses, or all without.
        method: "levenberg-marquardt", bounded least squares: steps are in units of the prior's
            widths, and numbers that a step would carry out of the box stop at its side. Or
            "nelder-mead", the simplex of the paper (§3.3), restarted where it has converged until
            this no longer lowers the cost: see `simplex.advance`. Where several bounds are active
            it can stop above the minimum, as SciPy's does: in about 2 % of 128 random cases of
            the paper's problem through the shipped surrogate.
        cost: as in `fit`; "absolute" needs Nelder–Mead.
        starts: fits of each curve, of which the best is kept: the first from the nominal values,
            the others from Halton's points between the bounds.
        max_iterations: of each fit; None for 100, or for 400 evaluations a free number with
            Nelder–Mead.
        precision, model_error: as in `fit`.
        at_once: number of curves that are fitted together. A group takes as long as its slowest;
            larger groups are more efficient on GPUs.

    Raises:
        InputError: naming all curves and settings that do not fit together, before any fit.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> measured = [
        ...     pp.Measured(gain * pp.predict(settings).ppiscs, dose_per_angstrom2=1e4)
        ...     for gain in (0.95, 1.0, 1.05)
        ... ]
        >>> problem = pp.Problem(settings, {"gain": pp.Free(0.8, 1.2)})
        >>> result = pp.fit_batch(pp.load_surrogate(), problem, measured)
        >>> result.estimates.round(2).tolist()
        [[0.95], [1.0], [1.05]]
    """
    each = [problems] if isinstance(problems, Problem) else problems
    faults = [
        choice_problem("method", method, ("levenberg-marquardt", "nelder-mead")),
        *cost_problems(cost, method, each),
        range_problem("starts", starts, 1, 10**4, "", whole=True),
        range_problem("at_once", at_once, 1, 10**6, "", whole=True),
        choice_problem("precision", precision, ("double", "single")),
    ]
    if max_iterations is not None:
        faults.append(range_problem("max_iterations", max_iterations, 1, 10**6, "", whole=True))
    if any(faults):
        raise InputError(c for c in faults if c)
    forward = as_data(forward)
    with jax.enable_x64(precision == "double"):
        layout, cases = stack(forward, problems, measured, model_error)
        rows = jax.tree.map(lambda a: np.repeat(a, starts, axis=0), cases)
        found = solve(
            forward,
            layout,
            rows,
            _starts(cases, starts),
            method=method,
            cost=cost,
            max_iterations=max_iterations,
            at_once=at_once,
        )
        costs = np.nan_to_num(np.asarray(found.cost, float), nan=np.inf).reshape(-1, starts)
        winners = np.argmin(costs, axis=1) + starts * np.arange(len(costs))
        found = jax.tree.map(lambda a: a[winners], found)
        found_at, residual, jacobian = _in_units(found.best, cases)
        refined = refine(
            forward, layout, cases, problems, measured, model_error, residual, jacobian
        )
        first = None
        if refined:
            cases = refined.cases
            again = solve(
                forward,
                layout,
                cases,
                found_at,
                method="levenberg-marquardt",
                cost="likelihood",
                max_iterations=None if cost == "likelihood" else 0,
                at_once=at_once,
            )
            # The data's residuals before the projection, at the new estimates.
            first = residual + np.einsum("cnk,ck->cn", jacobian, again.best.free - found_at)
            found = FitEnd(
                best=again.best,
                cost=again.cost if cost == "likelihood" else found.cost,
                iterations=found.iterations + again.iterations,
                converged=np.asarray(found.converged)
                & (cost == "absolute" or np.asarray(again.converged)),
            )
            found_at, residual, jacobian = _in_units(found.best, cases)
    summary = statistics(layout, cases, found_at, residual, jacobian, refined, first)
    return BatchFit(
        names=each[0].names,
        estimates=np.where(summary.without_effect, cases.nominal, found_at),
        converged=np.asarray(found.converged),
        iterations=np.asarray(found.iterations),
        cost=np.asarray(found.cost, float),
        **summary._asdict(),
    )


def _in_units(best: "Point", cases: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimates, residuals and their Jacobian in the numbers' own units, on the host."""
    found_at, residual, slopes = (np.asarray(a, float) for a in best)
    return found_at, residual, slopes / np.asarray(cases.prior_width)[:, None, :]


def _starts(cases: Case, starts: int) -> Float[np.ndarray, "starts_of_curves k"]:
    """Starting points of the fits of each curve."""
    from scipy.stats.qmc import Halton  # scipy.stats is slow to import

    points = Halton(cases.nominal.shape[1], scramble=False).random(starts)
    between = cases.low[:, None] + points * (cases.high - cases.low)[:, None]
    between[:, 0] = cases.nominal
    return between.reshape(-1, points.shape[1])


class Point(NamedTuple):
    """Residuals at some free numbers, and their slopes in units of the prior's widths."""

    free: Float[Array, " k"]
    residual: Float[Array, " n_plus_k"]
    jacobian: Float[Array, "n_plus_k k"]


class FitEnd(NamedTuple):
    """End points of fits, one row per fit."""

    best: Point
    cost: Float[ArrayLike, "*cases"]
    iterations: Int[ArrayLike, "*cases"]
    converged: Bool[ArrayLike, "*cases"]


def solve(
    forward: Forward,
    layout: Layout,
    cases: Case,
    starts: Float[np.ndarray, "cases k"],
    *,
    method: BatchMethod,
    cost: Cost,
    max_iterations: int | None,
    at_once: int,
    edges: Float[np.ndarray, " k"] | float = FIRST_EDGE,
) -> FitEnd:
    """Fits of cases in groups, from starts within their bounds.

    `edges` are those of Nelder–Mead's first simplices, in parts of the range between the bounds.
    The other arguments are as in `fit_batch`.
    """
    if method == "levenberg-marquardt":
        most = 100 if max_iterations is None else max_iterations
        return in_groups(partial(_least_squares, forward, layout, most), (cases, starts), at_once)
    linearised = partial(_linearised_all, forward, layout)
    slopes = in_groups(linearised, (cases, starts), at_once).jacobian[:, : cases.scale.shape[1]]
    if not np.all(np.isfinite(slopes)):
        raise InputError("forward: its derivatives at the nominal settings are not finite")
    # Numbers that no curve depends on keep their nominal values, and the simplex does without them.
    moving = tuple(np.flatnonzero(np.any(slopes != 0, axis=(0, 1))).tolist())
    found = simplex_fits(
        forward,
        layout,
        cost,
        moving,
        cases,
        starts,
        np.broadcast_to(edges, starts.shape),
        max_evaluations=max_iterations or 400 * starts.shape[1],
        at_once=at_once,
    )
    best = in_groups(linearised, (cases, found.estimates), at_once)
    return FitEnd(best, found.cost, found.evaluations, found.converged)


@partial(jax.jit, static_argnums=1)
def _linearised_all(forward: Partial, layout: Layout, cases_and_points: Any) -> Any:
    return jax.vmap(partial(_linearised, forward, layout))(*cases_and_points)


@partial(jax.jit, static_argnums=1)
def _least_squares(
    forward: Partial, layout: Layout, max_iterations: int, cases_and_starts: Any
) -> Any:
    return jax.vmap(partial(_levenberg_marquardt, forward, layout, max_iterations))(
        *cases_and_starts
    )


def _linearised(forward: Forward, layout: Layout, case: Case, free: Float[Array, " k"]) -> Point:
    def at(steps: Array) -> Any:
        residual = residuals(forward, layout, case, free + case.prior_width * steps)
        return residual, residual

    jacobian, residual = jax.jacfwd(at, has_aux=True)(jnp.zeros_like(free))
    return Point(free, residual, jacobian)


class _State(NamedTuple):
    """State of one least-squares fit."""

    best: Point
    damping: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def _levenberg_marquardt(
    forward: Forward,
    layout: Layout,
    max_iterations: Int[Array, ""] | int,
    case: Case,
    start: Float[Array, " k"],
) -> FitEnd:
    """One fit."""
    linearised = partial(_linearised, forward, layout, case)

    def iterate(state: _State) -> _State:
        best, damping = state.best, state.damping
        below, above = ((b - best.free) / case.prior_width for b in (case.low, case.high))
        q, r = jnp.linalg.qr(best.jacobian)
        step, promised, left = _bounded_step(r, q.T @ best.residual, damping, below, above)
        new = linearised(jnp.clip(best.free + case.prior_width * step, case.low, case.high))
        cost, new_cost = (jnp.sum(point.residual**2) / 2 for point in (best, new))
        better = new_cost < cost  # not if NaN
        kept = jnp.where(better, (cost - new_cost) / promised, 0)
        factor = jnp.select([kept > 0.75, kept > 0.25, better], [0.1, 1.0, 5.0], 10.0)
        damping = jnp.maximum(damping * factor, LEAST_DAMPING)
        stuck = damping >= MOST_DAMPING
        return _State(
            jax.tree.map(partial(jnp.where, better), new, best),
            damping,
            state.iterations + 1,
            (left <= TOLERANCE * (1 + cost)) | (stuck & (left <= RESOLVED)),
        )

    def unfinished(state: _State) -> Bool[Array, ""]:
        going = ~state.converged & (state.iterations < max_iterations)
        return going & (state.damping < MOST_DAMPING)

    first = _State(linearised(start), jnp.ones(()), jnp.array(0), jnp.array(False))
    last = jax.lax.while_loop(unfinished, iterate, first)
    return FitEnd(last.best, jnp.sum(last.best.residual**2) / 2, last.iterations, last.converged)


def _bounded_step(
    r: Float[Array, "k k"],
    along: Float[Array, " k"],
    damping: Float[Array, ""] | float,
    below: Float[Array, " k"],
    above: Float[Array, " k"],
) -> tuple[Float[Array, " k"], Float[Array, ""], Float[Array, ""]]:
    """A damped step inside the box below ≤ step ≤ above, and two savings of cost.

    The Jacobian is Q r, and along = Qᵀ residual. Numbers at a side of the box that would leave
    it are held; those that the others would carry out go as far as the side, and the others are
    solved for again. The savings are what this step promises, and what one without damping and
    sides does: nothing, at a minimum in the box.
    """
    slope = r.T @ along
    unit = jnp.eye(len(slope))

    def solved(held: Array, held_at: Array, damping: Array | float) -> Array:
        moved = jnp.where(held, held_at, 0)
        rows = jnp.concatenate([r, jnp.sqrt(damping) * unit])
        # A held number's column is replaced by one of its own.
        rows = jnp.concatenate([jnp.where(held, 0, rows), jnp.where(held, unit, 0)])
        right = jnp.concatenate([-(along + r @ moved), jnp.zeros(2 * len(slope))])
        q, triangle = jnp.linalg.qr(rows)
        return moved + jax.scipy.linalg.solve_triangular(triangle, q.T @ right)

    def saving(step: Array) -> Array:
        change = r @ step
        return -jnp.dot(change, along + change / 2)

    def leaving(slope: Array) -> Array:
        return ((below >= 0) & (slope > 0)) | ((above <= 0) & (slope < 0))

    at = jnp.zeros_like(slope)
    # Once the others have moved, some that were held may want to go back inside.
    moved = solved(leaving(slope), at, LEAST_DAMPING)
    held = leaving(slope + r.T @ (r @ moved))
    undamped = solved(held, at, LEAST_DAMPING)

    def again(_: Any, held_at: tuple[Array, Array]) -> Any:
        held, at = held_at
        step = solved(held, at, damping)
        inside = jnp.clip(step, below, above)
        pull = slope + r.T @ (r @ step) + damping * step
        outward = jnp.where(inside >= above, pull < 0, pull > 0)
        return (held & outward) | (step != inside), inside

    _, at = jax.lax.fori_loop(0, PASSES, again, (held, at))
    return at, saving(at), saving(undamped)
