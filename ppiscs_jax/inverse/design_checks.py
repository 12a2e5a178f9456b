"""Checks of the arguments of designs of experiments."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.errors import InputError, as_numbers, choice_problem, range_problem
from ppiscs_jax.inverse.error_probability import error_probability
from ppiscs_jax.inverse.forward import Forward
from ppiscs_jax.settings import LARGEST_MRAD, RANGES, VECTOR_ORDER, column

MICROSCOPE = ("voltage_kv", "convergence_mrad", "inner_mrad", "outer_mrad")
"""Design variables."""

AT = np.array([column(name) for name in MICROSCOPE])

CODES = {
    "element": [element.atomic_number for element in ELEMENTS.values()],
    "zone_axis": [zone.code for zone in ZONE_AXES.values()],
}
"""Numbers that stand for something else in a vector of settings."""


def counting_problems(
    forward: Forward, dose: Any, n_atoms: tuple[int, int], priors: Any
) -> list[str]:
    """Problems of doses, thicknesses and priors."""
    most = jax.eval_shape(forward, jax.ShapeDtypeStruct((len(VECTOR_ORDER),), float)).shape[0]
    fewest_most = list(n_atoms) if isinstance(n_atoms, Sequence | np.ndarray) else [n_atoms]
    whole = [range_problem("n_atoms", n, 1, most, "atoms", whole=True) for n in fewest_most]
    if problems := [p for p in whole if p]:
        return problems
    if len(fewest_most) != 2 or fewest_most[0] >= fewest_most[1]:
        return [f"n_atoms = {n_atoms}: must be two numbers, the fewest and, above it, the most"]
    try:
        error_probability(np.ones(fewest_most[1] - fewest_most[0] + 1), dose, priors)
    except InputError as error:
        return error.problems
    return [] if np.ndim(dose) == 0 else [f"dose_per_angstrom2 = {dose}: must be one number"]


def number_problems(field: str, values: Any, length: int | None, name: str) -> list[str]:
    """Problems of values of one of `VECTOR_ORDER`."""
    unit = RANGES[name][2] if name in RANGES else "code"
    try:
        numbers = as_numbers(field, values, (length,), unit).tolist()
    except InputError as error:
        return error.problems
    if name in RANGES:
        checked = (range_problem(field, number, *RANGES[name]) for number in numbers)
    else:
        checked = (choice_problem(field, number, CODES[name]) for number in numbers)
    return [p for p in checked if p]


def vary_problems(
    vary: Mapping[str, Any],
    voltages_kv: Sequence[float] | None,
    least_width_mrad: float,
    beyond_aperture_mrad: float | None,
) -> list[str]:
    """Problems of single bounds and limits."""
    problems = [choice_problem("vary", name, MICROSCOPE) for name in vary]
    if not vary and voltages_kv is None:
        problems.append("vary: is empty, and there are no voltages_kv to choose from")
    for name in vary.keys() & set(MICROSCOPE):
        field = f"vary[{name!r}]"
        if found := number_problems(field, vary[name], 2, name):
            problems += found
        elif vary[name][0] >= vary[name][1]:
            problems.append(f"{field} = {vary[name]}: the lowest must be below the highest")
    if voltages_kv is not None:
        problems += number_problems("voltages_kv", voltages_kv, None, "voltage_kv")
        if "voltage_kv" in vary or not np.size(voltages_kv):
            problems.append("voltages_kv: give some, or a range in vary, not both")
    problems.append(
        range_problem("least_width_mrad", least_width_mrad, 0, LARGEST_MRAD, "mrad", open_low=True)
    )
    if beyond_aperture_mrad is not None:
        problems.append(
            range_problem("beyond_aperture_mrad", beyond_aperture_mrad, 0, LARGEST_MRAD, "mrad")
        )
    return [p for p in problems if p]
