"""The experiment: specimen and microscope, as one frozen pytree."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from ppiscs_jax.crystal import (
    ELEMENTS,
    ZONE_AXES,
    Element,
    ZoneAxis,
    column_area_angstrom2,
    element,
    rmsd_from_temperature,
    zone_axis,
)
from ppiscs_jax.errors import InputError, as_numbers, choice_problem, is_number, range_problem

LARGEST_MRAD = 250.0
"""Largest collection angle [mrad]."""

MOST_ATOMS = 1000
"""Largest thickness [atoms per column]."""

LARGEST_SEED = 2**32 - 1

RANGES = {
    "voltage_kv": (20.0, 1000.0, "kV"),
    "convergence_mrad": (0.5, 100.0, "mrad"),
    "inner_mrad": (0.0, LARGEST_MRAD, "mrad"),
    "outer_mrad": (1.0, LARGEST_MRAD, "mrad"),
    "rmsd_angstrom": (0.0, 0.3, "Å"),
    "c30_mm": (-100.0, 100.0, "mm"),
    "c10_angstrom": (-1e6, 1e6, "Å"),
}
"""Range of each field that the simulator accepts: lowest, highest, unit.

A convergence angle below 0.5 mrad does not form a useful probe: its diffraction limit 0.61 λ/α is
24 Å at 300 kV. An outer angle below 1 mrad lies within the unscattered beam for nearly all
apertures. These lower limits also reject angles that are given in radians.
"""

MOST_MISTILT_MRAD = 100.0
"""Largest mistilt that the simulator accepts [mrad]."""


class Column(IntEnum):
    """The nine numbers of the published network, in its order and units."""

    ELEMENT = 0
    ZONE_AXIS = 1
    VOLTAGE_KV = 2
    C30_MM = 3
    C10_ANGSTROM = 4
    CONVERGENCE_MRAD = 5
    INNER_MRAD = 6
    OUTER_MRAD = 7
    RMSD_ANGSTROM = 8


VECTOR_ORDER = tuple(column.name.lower() for column in Column)
"""Names of the nine numbers, which are fields of `Settings`."""

SPECIMEN = slice(Column.ELEMENT, Column.VOLTAGE_KV)
DETECTOR = slice(Column.INNER_MRAD, Column.RMSD_ANGSTROM)
"""Columns of element and zone axis, and of inner and outer angle."""


def column(name: str) -> Column:
    """The column of a field of `Settings`."""
    return Column[name.upper()]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Specimen and microscope settings of one PPISCS–thickness curve.

    A pytree: the numbers are leaves (they may be traced), element and zone axis are static.

    Attributes:
        element: chemical symbol of an fcc element, or its atomic number.
        zone_axis: "100" (or "001"), "110" or "111"; also "[1 1 0]" or (1, 1, 0).
        voltage_kv: accelerating voltage [kV].
        convergence_mrad: convergence semi-angle α [mrad].
        inner_mrad, outer_mrad: collection angles θ₀, θₑ of an ideal annular detector [mrad].
            All angles are on the small-angle scale: mrad ≡ 1000 λk.
        rmsd_angstrom: root-mean-square thermal displacement per axis [Å].
        c30_mm, c10_angstrom: spherical aberration [mm] and defocus C10 [Å] (positive is
            overfocus, as in abTEM's C10). PPISCS does not depend on them.
        mistilt_mrad: direction of the optical axis in the crystal's frame, (x, y) [mrad], up to
            100 mrad: aperture and detector are centred there instead of on the zone axis.
            Surrogates support (0, 0) only.
        temperature_k: temperature [K], an alternative to rmsd_angstrom, which is then computed
            from it (Gao & Peng 1999). It is not stored.

    Raises:
        InputError: naming every field that is out of range, with its value and unit.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings(
        ...     element="Au",
        ...     zone_axis="110",
        ...     voltage_kv=300.0,
        ...     convergence_mrad=20.0,
        ...     inner_mrad=60.0,
        ...     outer_mrad=200.0,
        ...     temperature_k=293.0,
        ... )
        >>> f"{settings.rmsd_angstrom:.3f} Å"
        '0.089 Å'
        >>> settings.to_vector().shape  # the nine numbers of the published network
        (9,)
    """

    element: str
    zone_axis: str
    voltage_kv: Any
    convergence_mrad: Any
    inner_mrad: Any
    outer_mrad: Any
    rmsd_angstrom: Any = None
    c30_mm: Any = 0.0
    c10_angstrom: Any = 0.0
    mistilt_mrad: Any = (0.0, 0.0)
    temperature_k: dataclasses.InitVar[float | None] = None

    def __post_init__(self, temperature_k: float | None) -> None:
        problems = []
        for field, name_of in (("element", _symbol), ("zone_axis", _zone)):
            try:
                object.__setattr__(self, field, name_of(getattr(self, field)))
            except InputError as error:
                problems += error.problems
        if temperature_k is None and self.rmsd_angstrom is None:
            problems.append("rmsd_angstrom: missing; give it [Å], or temperature_k [K]")
        elif temperature_k is not None and self.rmsd_angstrom is not None:
            given = [
                f"{v:g}" if is_number(v) else repr(v) for v in (temperature_k, self.rmsd_angstrom)
            ]
            problems.append(
                f"temperature_k = {given[0]} K and rmsd_angstrom = {given[1]} Å: "
                "give one of them, not both"
            )
        elif temperature_k is not None and not problems:
            try:
                rmsd = rmsd_from_temperature(self.element, temperature_k)
                object.__setattr__(self, "rmsd_angstrom", rmsd)
            except InputError as error:
                problems += error.problems
        problems += self._range_problems()
        problems += self._mistilt_problems()
        if problems:
            raise InputError(problems)

    def _mistilt_problems(self) -> list[str]:
        """Problems of the mistilt, which is converted to a pair of numbers."""
        if any(isinstance(part, jax.core.Tracer) for part in jax.tree.leaves(self.mistilt_mrad)):
            return []
        try:
            x, y = as_numbers("mistilt_mrad", self.mistilt_mrad, (2,), "mrad").tolist()
        except InputError as error:
            return error.problems
        object.__setattr__(self, "mistilt_mrad", (x, y))
        problem = range_problem("mistilt_mrad", math.hypot(x, y), 0.0, MOST_MISTILT_MRAD, "mrad")
        return [problem] if problem else []

    def _range_problems(self) -> list[str]:
        """Problems of the numbers; traced values cannot be checked and are accepted."""
        problems = []
        numbers = {}
        for field, (low, high, unit) in RANGES.items():
            value = getattr(self, field)
            if isinstance(value, jax.core.Tracer) or (value is None and field == "rmsd_angstrom"):
                continue
            if problem := range_problem(field, value, low, high, unit):
                problems.append(problem)
            if not is_number(value):
                continue
            numbers[field] = float(value)
            if not isinstance(value, jax.Array) or not jnp.issubdtype(value.dtype, jnp.floating):
                # JAX cannot differentiate with respect to integers, and does not support Decimal.
                object.__setattr__(self, field, numbers[field])
        inner, outer = numbers.get("inner_mrad"), numbers.get("outer_mrad")
        if inner is not None and outer is not None and inner >= outer:
            problems.append(
                f"inner_mrad = {inner:g} mrad: must be below outer_mrad = {outer:g} mrad"
            )
        return problems

    @property
    def element_data(self) -> Element:
        """The element's lattice constant, atomic number, Debye–Waller coefficients."""
        return ELEMENTS[self.element]

    @property
    def zone_axis_data(self) -> ZoneAxis:
        """The zone axis's projected cell, atomic planes, symmetry."""
        return ZONE_AXES[self.zone_axis]

    @property
    def column_area_angstrom2(self) -> float:
        """Projected area of the crystal per atomic column [Å²]; no PPISCS exceeds it."""
        return column_area_angstrom2(self.element_data, self.zone_axis_data)

    def to_vector(self) -> Any:
        """The nine numbers of the published network, in its order and units, shape (9,).

        [Z, zone axis (0 = 110, 1 = 100, 2 = 111), E0 keV, C30 mm, C10 Å, α mrad, θ0 mrad,
        θe mrad, rmsd Å]. A NumPy array; inside jit and grad, numbers being traced, a JAX array.

        Raises:
            InputError: the crystal is mistilted; the nine numbers do not include the mistilt.
        """
        if not isinstance(self.mistilt_mrad[0], jax.core.Tracer) and any(self.mistilt_mrad):
            x, y = self.mistilt_mrad
            raise InputError(
                f"mistilt_mrad = ({x:g}, {y:g}) mrad: must be (0, 0) for surrogates; simulate "
                "mistilted crystals"
            )
        leading = [self.element_data.atomic_number, self.zone_axis_data.code]
        numbers = self._numbers()
        if any(isinstance(number, jax.core.Tracer) for number in numbers):
            return jnp.stack([jnp.asarray(number, jnp.float32) for number in leading + numbers])
        return np.array(leading + [float(number) for number in numbers])

    def __hash__(self) -> int:
        numbers = map(float, (*self._numbers(), *self.mistilt_mrad))
        return hash((self.element, self.zone_axis, *numbers))

    def _numbers(self) -> list[Any]:
        return [getattr(self, field) for field in _LEAVES]

    @classmethod
    def from_vector(cls, vector: Sequence[float] | np.ndarray) -> Self:
        """Settings from the nine numbers of `to_vector`.

        Raises:
            InputError: wrong length, unknown Z or zone axis, numbers out of range.
        """
        x = as_numbers("vector", vector, (9,), ", ".join(VECTOR_ORDER))
        symbols = {e.atomic_number: e.symbol for e in ELEMENTS.values()}
        zones = {z.code: z.name for z in ZONE_AXES.values()}
        problems = [
            choice_problem("vector[0], atomic number", float(x[0]), symbols),
            choice_problem("vector[1], zone axis", float(x[1]), zones),
        ]
        if any(problems):
            raise InputError(p for p in problems if p)
        numbers = dict(zip(VECTOR_ORDER[2:], x[2:].tolist(), strict=True))
        return cls(element=symbols[x[0]], zone_axis=zones[x[1]], **numbers)


def _symbol(name: Any) -> str:
    return element(name).symbol


def _zone(name: Any) -> str:
    return zone_axis(name).name


_LEAVES = VECTOR_ORDER[2:]
_CHILDREN = (*_LEAVES, "mistilt_mrad")


def _flatten(settings: Settings) -> Any:
    children = [(jax.tree_util.GetAttrKey(f), getattr(settings, f)) for f in _CHILDREN]
    return children, (settings.element, settings.zone_axis)


def _unflatten(static: tuple[str, str], leaves: Iterable[Any]) -> Settings:
    # Past __init__: JAX rebuilds pytrees with leaves that are not numbers.
    settings = object.__new__(Settings)
    names = ("element", "zone_axis", *_CHILDREN)
    for name, value in zip(names, (*static, *leaves), strict=True):
        object.__setattr__(settings, name, value)
    return settings


jax.tree_util.register_pytree_with_keys(Settings, _flatten, _unflatten)
