"""The Nelder–Mead simplex method in JAX, for many fits side by side.

Nelder & Mead, Computer Journal 7 (1965) 308, with the rules of Lagarias et al., SIAM J. Optim. 9
(1998) 112, which are also those of SciPy.

Every pass of the loop evaluates the function at one point, whatever the step of the method. Under
`jax.vmap`, which executes all branches for all searches, no evaluation is then wasted while
searches are in different steps. Evaluating reflection, expansion and both contractions together
would take four evaluations an iteration instead of one or two.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int

from ppiscs_jax.inverse.forward import Forward, in_groups
from ppiscs_jax.inverse.posterior import Case, Cost, Layout, cost_of

XATOL = 1e-5
"""Largest distance between vertices of a converged simplex, along each coordinate, as a fraction
of the range between the bounds."""

FATOL = 1e-6
"""Largest difference between values at the vertices of a converged simplex, as a fraction of the
value at the start. Both criteria must be met."""

RESTART = 0.01
"""Length of the edges of the simplex with which a converged search starts again, in parts of the
box."""

LEG = 100
"""Evaluations after which searches that are not finished are put together in full groups."""

FILL, REFLECT, EXPAND, OUTSIDE, INSIDE = range(5)
"""Purpose of the next evaluation: a vertex of a new or shrunk simplex, or a trial point."""

REACHES = (0.0, 1.0, 2.0, 0.5, -0.5)
"""Distance of each trial point from the centroid, in units of the worst vertex's distance."""


class Search(NamedTuple):
    """State of a search between two evaluations.

    Attributes:
        vertices: of the simplex, in the unit box, ordered by their values: the first is the lowest
            point found. While a simplex is filled, this holds for those before `vertex`.
        values: of the function at the vertices.
        phase: what the next evaluation is for.
        vertex: which one is evaluated next while a simplex is filled.
        reflected: value at the reflected point.
        fatol: tolerance of values.
        begun_at, begun_from: best value and point when the simplex was new.
        evaluations: of the function.
        converged: whether the search is over.
    """

    vertices: Float[Array, "*searches k_plus_1 k"]
    values: Float[Array, "*searches k_plus_1"]
    phase: Int[Array, "*searches"]
    vertex: Int[Array, "*searches"]
    reflected: Float[Array, "*searches"]
    fatol: Float[Array, "*searches"]
    begun_at: Float[Array, "*searches"]
    begun_from: Float[Array, "*searches k"]
    evaluations: Int[Array, "*searches"]
    converged: Bool[Array, "*searches"]


def begin(start: Float[Array, " k"], edges: Float[Array, " k"]) -> Search:
    """A search before its first evaluation.

    Args:
        start: first vertex, in the unit box.
        edges: from there to the other vertices, one along each coordinate; within the box.
    """
    worst = jnp.full((), jnp.inf, start.dtype)
    return Search(
        vertices=_right_angled(start, edges),
        values=jnp.full(len(start) + 1, worst),
        phase=jnp.array(FILL),
        vertex=jnp.array(0),
        reflected=worst,
        fatol=worst,
        begun_at=worst,
        begun_from=start,
        evaluations=jnp.array(0),
        converged=jnp.array(len(start) == 0),
    )


def advance(
    value: Callable[[Float[Array, " k"]], Float[Array, ""]],
    search: Search,
    upto: Int[Array, ""] | int,
    *,
    restart: float = RESTART,
) -> Search:
    """Continue a search until it has converged or made a number of evaluations.

    Trial points outside of the box are moved to its sides. A simplex can collapse, for example
    onto a side, and shrink to a point that is not a minimum. A converged search therefore starts
    again from its best point, with a new simplex whose edges point the way in which the search
    has moved, until this lowers the value by less than the tolerance.

    Args:
        value: the function to be minimised in the unit box. NaN counts as infinite.
        search: where to continue.
        upto: number of evaluations after which the search is interrupted.
        restart: length of the edges of new simplices, 0 for no restarts.
    """

    def unfinished(s: Search) -> Bool[Array, ""]:
        return ~s.converged & (s.evaluations < upto)

    return jax.lax.while_loop(unfinished, partial(_advance_once, value, restart), search)


def _advance_once(value: Callable, restart: float, s: Search) -> Search:
    """Evaluate the function at one point, and decide what is next."""
    last = len(s.values) - 1
    filling = s.phase == FILL
    centroid = jnp.mean(s.vertices[:-1], axis=0)
    away = centroid - s.vertices[-1]
    trial = centroid + jnp.array(REACHES, away.dtype)[s.phase] * away
    point = jnp.clip(jnp.where(filling, s.vertices[s.vertex], trial), 0, 1)
    found = value(point)
    found = jnp.where(jnp.isnan(found), jnp.inf, found)
    best, worst = s.values[0], s.values[-1]
    accepted = jnp.select(
        [s.phase == REFLECT, s.phase == OUTSIDE, s.phase == INSIDE],
        [(best <= found) & (found < s.values[-2]), found <= s.reflected, found < worst],
        True,
    )
    # An expansion that gains nothing leaves the reflected point.
    back = (s.phase == EXPAND) & ~(found < s.reflected)
    entering = jnp.where(back, jnp.clip(centroid + away, 0, 1), point)
    entered = _insert(
        s, entering, jnp.where(back, s.reflected, found), jnp.where(filling, s.vertex, last)
    )
    shrinking = ((s.phase == OUTSIDE) | (s.phase == INSIDE)) & ~accepted
    shrunk = s.vertices[0] + (s.vertices - s.vertices[0]) / 2
    vertices = jnp.where(accepted, entered[0], jnp.where(shrinking, shrunk, s.vertices))
    values = jnp.where(accepted, entered[1], s.values)
    after_reflection = jnp.select([found < best, found < worst], [EXPAND, OUTSIDE], INSIDE)
    phase = jnp.where(accepted, REFLECT, after_reflection)
    phase = jnp.where(shrinking | (filling & (s.vertex < last)), FILL, phase)

    first = s.evaluations == 0
    fatol = jnp.where(first, FATOL * found + jnp.finfo(found.dtype).eps, s.fatol)
    begun_at = jnp.where(first, found, s.begun_at)
    small = jnp.all(jnp.abs(vertices - vertices[0]) <= XATOL) & (phase == REFLECT)
    small &= jnp.all(values - values[0] <= fatol)
    again = small & (begun_at - values[0] > fatol) & (restart > 0)
    ahead = jnp.where(vertices[0] < s.begun_from, -restart, restart)
    inside = jnp.abs(vertices[0] + ahead - 0.5) <= 0.5
    return Search(
        jnp.where(again, _right_angled(vertices[0], jnp.where(inside, ahead, -ahead)), vertices),
        values,
        jnp.where(again, FILL, phase),
        jnp.where(filling & ~again, s.vertex + 1, 1),
        jnp.where(s.phase == REFLECT, found, s.reflected),
        fatol,
        jnp.where(again, values[0], begun_at),
        jnp.where(again, vertices[0], s.begun_from),
        s.evaluations + 1,
        small & ~again,
    )


def _right_angled(corner: Float[Array, " k"], edges: Float[Array, " k"]) -> Array:
    """A simplex with edges along the coordinates, shape (k + 1, k)."""
    return jnp.concatenate([corner[None], corner + jnp.diag(edges)])


def _insert(
    s: Search, point: Float[Array, " k"], value: Float[Array, ""], dropped: Int[Array, ""]
) -> Any:
    """Vertices and values with a point in its place among the ordered ones before `dropped`.

    It takes the place after vertices of the same value, and `dropped` is overwritten.
    """
    at = jnp.arange(len(s.values))
    place = jnp.sum((at < dropped) & (s.values <= value))

    def moved(old: Array, new: Array) -> Array:
        column = at.reshape(-1, *[1] * (old.ndim - 1))
        behind = (column > place) & (column <= dropped)
        shifted = jnp.where(behind, jnp.roll(old, 1, axis=0), old)
        return jnp.where(column == place, new, shifted)

    return moved(s.vertices, point), moved(s.values, value)


class SimplexFits(NamedTuple):
    """Fits by the simplex method, one row a fit; as in `batch.BatchFit`."""

    estimates: Float[np.ndarray, "cases k"]
    cost: Float[np.ndarray, " cases"]
    evaluations: Int[np.ndarray, " cases"]
    converged: Bool[np.ndarray, " cases"]


def simplex_fits(
    forward: Forward,
    layout: Layout,
    cost: Cost,
    moving: tuple[int, ...],
    cases: Case,
    starts: Float[np.ndarray, "cases k"],
    edges: Float[np.ndarray, "cases k"],
    *,
    max_evaluations: int,
    at_once: int,
) -> SimplexFits:
    """Fits of cases, whose unit box is what the bounds leave of the numbers that move.

    Args:
        forward, layout, cost, cases: as in `posterior.cost_of`.
        moving: indices of the numbers to be estimated; the others keep their nominal values.
        starts: within the bounds.
        edges: length of the first simplex's edges, in parts of the range between the bounds, at
            most a half. They point to the farther bound.
        max_evaluations: of each fit.
        at_once: fits worked on side by side.
    """
    part = np.asarray(((starts - cases.low) / (cases.high - cases.low))[:, moving])
    inward = np.where(part < 0.5, edges[:, moving], -edges[:, moving])
    dtype = jnp.zeros(()).dtype
    search = jax.vmap(begin)(jnp.asarray(part, dtype), jnp.asarray(inward, dtype))
    search = jax.tree.map(np.array, search)
    work = partial(_advance_group, forward, layout, cost, moving, max_evaluations)
    while len(going := np.flatnonzero(~search.converged & (search.evaluations < max_evaluations))):
        # Groups of one size only, so that no further one is compiled for the last fits.
        rows = np.resize(going, max(len(going), min(at_once, len(part))))
        advanced = in_groups(work, jax.tree.map(lambda a, r=rows: a[r], (cases, search)), at_once)
        for whole, new in zip(search, advanced, strict=True):
            whole[rows] = new
    estimates = np.clip(cases.nominal, cases.low, cases.high)
    low, high = cases.low[:, moving], cases.high[:, moving]
    estimates[:, moving] = low + search.vertices[:, 0] * (high - low)
    return SimplexFits(estimates, search.values[:, 0], search.evaluations, search.converged)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _advance_group(
    forward: Partial,
    layout: Layout,
    cost: Cost,
    moving: tuple[int, ...],
    max_evaluations: int,
    cases_and_searches: Any,
) -> Any:
    """A leg of some fits."""
    at = np.array(moving, int)

    def leg(case: Case, search: Search) -> Search:
        low, high = case.low[at], case.high[at]
        nominal = jnp.clip(case.nominal, case.low, case.high)

        def value(part: Float[Array, " moving"]) -> Float[Array, ""]:
            free = nominal.at[at].set(low + part * (high - low))
            return cost_of(forward, layout, case, free, cost)

        upto = jnp.minimum(search.evaluations + LEG, max_evaluations)
        return advance(value, search, upto)

    return jax.vmap(leg)(*cases_and_searches)
