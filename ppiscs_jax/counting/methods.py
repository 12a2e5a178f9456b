"""The methods that turn cross-sections into numbers of atoms, behind one function."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from ppiscs_jax.counting.counts import (
    Counts,
    count_by_hybrid,
    count_by_library,
    count_by_statistics,
    with_nothing,
)
from ppiscs_jax.counting.joint import count_jointly, thickest_of
from ppiscs_jax.counting.mistilt import mistilt_loss
from ppiscs_jax.errors import InputError, as_numbers, choice_problem, range_problem
from ppiscs_jax.inverse.problem import LIMITS, NUMBERS, Free, Problem
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.curve import Curve
from ppiscs_jax.surrogate.additive import AdditiveModel
from ppiscs_jax.surrogate.predict import Surrogate, load_surrogate, predict, surrogate_for
from ppiscs_jax.surrogate.sensitivity import SensitiveSurrogate

Method = Literal["joint", "hybrid", "statistics", "library"]
METHODS = ("joint", "hybrid", "statistics", "library")

Sensitivity = tuple[Float[np.ndarray, " edges"], Float[np.ndarray, " bins"]]

STD = {"convergence_mrad": 0.25, "inner_mrad": 1.0, "rmsd_angstrom": 0.003, "gain": 0.05}
"""Standard deviations of what is uncertain, unless others are given."""

MISTILT_STD_MRAD = (0.1, 5.0)
"""Range of the standard deviation of a mistilt's components [mrad]: what larger mistilts
take is no longer proportional to their square."""

REACH = 5.0
"""Bounds of what is uncertain, in standard deviations."""


class Simulated(NamedTuple):
    """The surrogate, nominal curve and priors with which cross-sections are compared.

    Attributes:
        surrogate: settings to curve.
        curve: at the nominal settings.
        problem: what is uncertain, for the joint method.
    """

    surrogate: Surrogate
    curve: Curve
    problem: Problem | None


def count_cross_sections(
    values_angstrom2: ArrayLike,
    settings: Settings | None = None,
    *,
    standard_error_angstrom2: ArrayLike | None = None,
    method: Method | None = None,
    std: dict[str, float] | None = None,
    mistilt_std_mrad: float | None = None,
    sensitivity: Sensitivity | None = None,
    components: int | None = None,
    offset: int = 0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Counts:
    """Count the atoms of columns whose cross-sections were measured elsewhere.

    Args:
        values_angstrom2: cross-sections, one per column, shape (N,) [Å²]; in any unit for
            statistics.
        settings: of specimen and microscope; only "statistics" does without.
        standard_error_angstrom2: of the values, shape (N,) [Å²], NaN where it is unknown. The
            library method then takes the distances to the nearest simulated values instead, and
            the joint method its own scatter; hybrid and statistics always estimate errors.
        method: "joint" (default with settings), "hybrid", "library", or "statistics" (default
            without settings).
        std, mistilt_std_mrad, sensitivity, components, offset, seed, progress: as for `count`.

    Raises:
        InputError: bad input, before any work.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "100", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> values = 1.02 * pp.predict(settings).ppiscs[[4, 5, 7, 9, 12, 12, 16]]
        >>> counts = pp.count_cross_sections(values, settings, method="hybrid")
        >>> counts.counts.tolist()
        [5, 6, 8, 10, 13, 13, 17]
    """
    if method is None:
        method = "statistics" if settings is None else "joint"
    std = STD if std is None else std
    values = as_numbers("values_angstrom2", values_angstrom2, (None,), "Å²")
    problems = method_problems(method, settings, std, mistilt_std_mrad)
    if not len(values) or not np.isfinite(values).all():
        problems.append(f"values_angstrom2: {len(values)} values; must be one or more, all finite")
    error = np.full(len(values), np.nan)
    if standard_error_angstrom2 is not None:
        error = as_numbers(
            "standard_error_angstrom2", standard_error_angstrom2, (len(values),), "Å²"
        )
        if np.any(wrong := (error <= 0) | np.isinf(error)):
            problems.append(
                f"standard_error_angstrom2 = {error[wrong][0]:g} Å²: must be above 0 and finite, "
                "or NaN where it is unknown"
            )
    if any(problems):
        raise InputError(p for p in problems if p)
    simulated = simulated_for(method, settings, std, sensitivity)
    return counted_by(
        method,
        values,
        error,
        simulated,
        std,
        mistilt_std_mrad=mistilt_std_mrad,
        components=components,
        offset=offset,
        seed=seed,
        say=progress or (lambda _: None),
    )


def method_problems(
    method: Method,
    settings: Settings | None,
    std: dict[str, float],
    mistilt_std_mrad: float | None,
) -> list[str | None]:
    """Problems of a method, of settings that it lacks, and of what is uncertain."""
    problems = [choice_problem("method", method, METHODS)]
    if settings is None and method in METHODS and method != "statistics":
        problems.append(f"settings: the method {method} needs settings; statistics does not")
    if mistilt_std_mrad is not None:
        problems.append(
            range_problem("mistilt_std_mrad", mistilt_std_mrad, *MISTILT_STD_MRAD, "mrad")
        )
        if method in METHODS and method != "joint":
            problems.append(f"mistilt_std_mrad: the method {method} has no mistilt; joint does")
    return problems + [choice_problem("std", name, LIMITS) for name in std]


def simulated_for(
    method: Method,
    settings: Settings | None,
    std: dict[str, float],
    sensitivity: Sensitivity | None,
) -> Simulated | None:
    """What a method compares with, None for statistics.

    Raises:
        InputError: settings outside the range of the surrogate.
    """
    if method == "statistics":
        return None
    assert settings is not None
    surrogate = load_surrogate() if method == "joint" else surrogate_for(settings)
    if sensitivity is not None:
        assert isinstance(surrogate, AdditiveModel)
        surrogate = SensitiveSurrogate.of(surrogate, settings, *sensitivity)
    curve = predict(settings, surrogate=surrogate, outside="raise")
    return Simulated(surrogate, curve, uncertain(settings, std) if method == "joint" else None)


def uncertain(settings: Settings, std: dict[str, float]) -> Problem:
    """The uncertain settings, within the trained range of the surrogate."""
    known = load_surrogate().trained_range.limits_of(settings.to_vector())
    nominal = dict(zip(NUMBERS, [*settings.to_vector(), 1.0, 0.0], strict=True))
    free = {}
    for name, width in std.items():
        low, high, _ = LIMITS[name]
        inner, outer = known.get(name, (low, high))
        value = float(nominal[name])
        free[name] = Free(
            max(low, inner, value - REACH * width), min(high, outer, value + REACH * width), width
        )
    return Problem(settings, free)


def counted_by(
    method: Method,
    values: Float[np.ndarray, " N"],
    standard_error: Float[np.ndarray, " N"],
    simulated: Simulated | None,
    std: dict[str, float],
    *,
    mistilt_std_mrad: float | None,
    components: int | None,
    offset: int,
    seed: int,
    say: Callable[[str], None],
) -> Counts:
    """Count by a method; errors that are NaN are unknown."""
    if simulated is None:
        return count_by_statistics(
            values,
            components=components,
            offset=offset,
            progress=lambda g: say(f"fitting mixtures: {g} components"),
        )
    curve = simulated.curve
    if method == "library":
        return count_by_library(values, standard_error, curve.ppiscs, curve.standard_error)
    if method == "hybrid":
        return count_by_hybrid(values, curve.ppiscs, gain_std=std.get("gain", STD["gain"]))
    problem = simulated.problem
    assert problem is not None
    loss = None
    if mistilt_std_mrad is not None:
        say("simulating mistilted crystals")
        n_atoms, means = with_nothing(curve.ppiscs)
        thickest = thickest_of(means, 1.1 * values)
        loss = mistilt_loss(curve.settings, thickest, len(n_atoms) - 1, seed=seed)
    return count_jointly(
        values,
        standard_error,
        simulated.surrogate.curve,
        problem,
        error_modes=curve.error_modes,
        mistilt_loss=loss,
        mistilt_std_mrad=mistilt_std_mrad or 0.0,
        seed=seed,
        progress=lambda part: say(f"searching scales: {part:.0%}"),
    )
