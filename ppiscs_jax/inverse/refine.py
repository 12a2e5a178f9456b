"""Second stage of a fit, with errors that could only be approximated in the first stage."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from ppiscs_jax.inverse.correlated import Projection, Whitening, padded_size, project, whitening
from ppiscs_jax.inverse.forward import Forward
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import (
    Case,
    Layout,
    ModelError,
    first_of,
    linearised,
    model_modes,
    stacked,
)
from ppiscs_jax.inverse.problem import Problem

LEAST_ERROR = 1e-4
"""Errors estimated from residuals are at least this part of the assumed one, for rounding."""


class Refined(NamedTuple):
    """Cases with better known errors, and the projections of those that have one."""

    cases: Case
    projections: list[Projection | None]


def refine(
    forward: Forward,
    layout: Layout,
    cases: Case,
    problems: Problem | Sequence[Problem],
    measured: Sequence[Measured],
    model_error: ModelError,
    residual: Float[np.ndarray, "curves n_plus_k"],
    jacobian: Float[np.ndarray, "curves n_plus_k k"],
) -> Refined | None:
    """Cases with better known errors, from residuals and their Jacobian at a first estimate.

    Errors of which batches estimate the covariance are projected on what the fit depends on (see
    `correlated`). Where nothing was known of the errors, independent ones are estimated from the
    residuals, and the forward model's are added.
    None if there is nothing to improve.
    """
    each = [problems] * len(measured) if isinstance(problems, Problem) else list(problems)
    modes: dict[int, np.ndarray] = {}
    if not layout.errors_known:
        distinct = {id(p): p for p in each}
        modes = {key: model_modes(forward, model_error, p) for key, p in distinct.items()}
    if not any(np.isfinite(m.degrees_of_freedom) for m in measured) and not any(
        m.size for m in modes.values()
    ):
        return None
    k = jacobian.shape[2]
    rows: list[tuple[np.ndarray, Whitening]] = []
    projections: list[Projection | None] = []
    for i, (problem, curve) in enumerate(zip(each, measured, strict=True)):
        case: Any = jax.tree.map(lambda a, i=i: np.asarray(a[i], float), cases)
        there = case.scale > 0
        scale = case.scale
        known = Whitening(case.keep, case.left, case.right)
        projection = None
        if not layout.errors_known:
            dof = max(np.sum(there) - k, 1)
            error = max(np.sqrt(np.sum(residual[i] ** 2) / dof), LEAST_ERROR)
            scale = scale / error
            of_model = modes[id(problem)]
            known = whitening((of_model if of_model.size else np.zeros((0, len(scale)))) * scale)
        elif np.isfinite(curve.degrees_of_freedom):
            projection = project(
                curve.errors,
                scale[there],
                Whitening(case.keep, case.left[there], case.right[there]),
                jacobian[i, : len(scale)][there] * case.prior_width,
            )
            spread = [np.zeros((len(scale), a.shape[1])) for a in projection.whitening[1:]]
            for whole, part in zip(spread, projection.whitening[1:], strict=True):
                whole[there] = part
            known = Whitening(projection.whitening.keep, *spread)
        rows.append((scale, known))
        projections.append(projection)
    size = max(padded_size(w.left.shape[1]) for _, w in rows)
    scales = np.stack([scale for scale, _ in rows])
    columns = zip(*(w.padded(size) for _, w in rows), strict=True)
    keep, left, right = (np.stack(column) for column in columns)
    known_better: Any = {"scale": scales, "keep": keep, "left": left, "right": right}
    return Refined(cases._replace(**known_better), projections)


def refine_one(
    forward: Forward,
    layout: Layout,
    case: Case,
    problem: Problem,
    measured: Measured,
    model_error: ModelError,
    estimates: Float[np.ndarray, " k"],
) -> Refined | None:
    """`refine` for one case, at some estimates."""
    found = linearised(forward, layout, case, estimates)
    first = [np.asarray(a, float)[None] for a in (found.residual, found.jacobian)]
    return refine(forward, layout, stacked(case), problem, [measured], model_error, *first)


def refined_case(
    forward: Forward,
    layout: Layout,
    case: Case,
    problem: Problem,
    measured: Measured,
    model_error: ModelError,
    estimates: Float[np.ndarray, " k"],
) -> Case:
    """One case as `refine` makes it at some estimates, as arrays of JAX."""
    better = refine_one(forward, layout, case, problem, measured, model_error, estimates)
    return first_of(better.cases) if better else case
