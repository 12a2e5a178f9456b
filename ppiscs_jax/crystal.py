"""Fcc elements, their zone axes, and their thermal vibrations.

The projected cell of a zone axis is orthogonal, A × B, with x along A and y along B. Each
atomic plane is one slice; every column gains one atom in each repeat of the planes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ppiscs_jax.errors import InputError, choice_problem, range_problem


@dataclass(frozen=True)
class Element:
    """An fcc element.

    Attributes:
        symbol: chemical symbol.
        atomic_number: Z.
        lattice_angstrom: cubic lattice constant at room temperature [Å]. The eight elements
            of Lobato et al. (2023) as their multislice set-up has them; Rh and Ir from
            Wyckoff, Crystal Structures, vol. 1 (1963).
        debye_waller_low, debye_waller_high: coefficients a₀ … a₄ of
            B(T) = Σ aₖ Tᵏ [Å², T in K] below and above 80 K. Gao & Peng, Acta Cryst. A 55
            (1999) 926, Table 1.
        melting_k: melting point [K], the end of the range of B(T) where it is below 1000 K.
    """

    symbol: str
    atomic_number: int
    lattice_angstrom: float
    debye_waller_low: tuple[float, ...]
    debye_waller_high: tuple[float, ...]
    melting_k: float


ELEMENTS = {
    e.symbol: e
    for e in (
        Element("Al", 13, 4.0495, (0.27196, -4.254e-5, 7.433e-6, 7.042e-8, -4.391e-10),
                (0.18496, 1.63e-3, 2.469e-6, -2.630e-9, 1.015e-12), 933.5),
        Element("Ni", 28, 3.5240, (0.12573, -1.977e-5, 2.775e-6, 3.922e-8, -2.291e-10),
                (0.08579, 7.271e-4, 1.152e-6, -1.229e-9, 4.745e-13), 1728.0),
        Element("Cu", 29, 3.6149, (0.14616, -1.212e-5, 8.220e-6, 4.448e-8, -4.132e-10),
                (0.08444, 1.38e-3, 1.185e-6, -1.276e-9, 4.956e-13), 1357.8),
        Element("Rh", 45, 3.8031, (0.05816, 7.334e-7, 1.596e-6, 1.919e-9, -1.786e-11),
                (0.04497, 2.454e-4, 5.634e-7, -5.922e-10, 2.265e-13), 2237.0),
        Element("Pd", 46, 3.8907, (0.10288, -1.177e-4, 1.154e-5, -6.362e-9, -2.215e-10),
                (0.05200, 1.22e-3, 7.458e-7, -8.062e-10, 3.140e-13), 1828.1),
        Element("Ag", 47, 4.0853, (0.12932, -7.537e-5, 2.371e-5, -5.679e-8, -2.679e-10),
                (0.05358, 2.19e-3, 7.901e-7, -8.588e-10, 3.357e-13), 1234.9),
        Element("Ir", 77, 3.8389, (0.03559, 7.481e-7, 1.257e-6, 2.188e-9, -2.193e-11),
                (0.02550, 1.993e-4, 3.339e-7, -3.542e-10, 1.363e-13), 2719.0),
        Element("Pt", 78, 3.9242, (0.06770, -4.038e-5, 1.223e-5, -3.998e-8, -5.083e-11),
                (0.02938, 1.09e-3, 4.310e-7, -4.681e-10, 1.829e-13), 2041.4),
        Element("Au", 79, 4.0782, (0.08767, -2.654e-4, 3.587e-5, -2.836e-7, 9.104e-10),
                (0.02981, 1.93e-3, 4.444e-7, -4.842e-10, 1.895e-13), 1337.3),
        Element("Pb", 82, 4.9508, (0.13625, 1.48e-3, 1.297e-4, -1.434e-6, 6.111e-9),
                (0.03639, 6.98e-3, 1.124e-6, -1.881e-9, 1.157e-12), 600.6),
    )
}  # fmt: skip


@dataclass(frozen=True)
class ZoneAxis:
    """Geometry of an fcc crystal seen along a zone axis, lengths in lattice constants a.

    Attributes:
        name: "100", "110" or "111".
        code: number of the zone axis in the published network's input vector (0 = [110],
            1 = [100]; 2 = [111] is an extension of ours).
        cell: A, B of the projected cell.
        layers: per atomic plane of one repeat, the sites in it as fractions of A and B.
        repeat: length along the beam after which the planes repeat.
        wedge_deg: the azimuths between two mirror planes, an irreducible set of tilts.
        n_atoms_max: default largest thickness [atoms per column], None to derive it from
            25 nm.
    """

    name: str
    code: int
    cell: tuple[float, float]
    layers: tuple[tuple[tuple[float, float], ...], ...]
    repeat: float
    wedge_deg: tuple[float, float]
    n_atoms_max: int | None

    @cached_property
    def columns(self) -> int:
        """Number of atomic columns in the projected cell."""
        return sum(len(layer) for layer in self.layers)

    @property
    def column_area(self) -> float:
        """Projected area per column [a²]."""
        return self.cell[0] * self.cell[1] / self.columns

    @property
    def slice_thickness(self) -> float:
        """Distance between consecutive atomic planes [a]."""
        return self.repeat / len(self.layers)

    def thickest(self, element: Element) -> int:
        """Default number of atoms up to which curves are simulated."""
        if self.n_atoms_max is not None:
            return self.n_atoms_max
        return int(250.0 / repeat_angstrom(element, self))


ZONE_AXES = {
    z.name: z
    for z in (
        ZoneAxis(
            name="110",
            code=0,
            cell=(np.sqrt(0.5), 1.0),
            layers=(((0.0, 0.0),), ((0.5, 0.5),)),
            repeat=np.sqrt(0.5),
            wedge_deg=(0.0, 90.0),
            n_atoms_max=87,
        ),
        ZoneAxis(
            name="100",
            code=1,
            cell=(1.0, 1.0),
            layers=(((0.0, 0.0), (0.5, 0.5)), ((0.5, 0.0), (0.0, 0.5))),
            repeat=1.0,
            wedge_deg=(0.0, 45.0),
            n_atoms_max=61,
        ),
        ZoneAxis(
            name="111",
            code=2,
            cell=(np.sqrt(0.5), np.sqrt(1.5)),
            layers=(
                ((0.0, 0.0), (0.5, 0.5)),
                ((0.0, 1 / 3), (0.5, 5 / 6)),
                ((0.0, 2 / 3), (0.5, 1 / 6)),
            ),
            repeat=np.sqrt(3.0),
            wedge_deg=(30.0, 90.0),
            n_atoms_max=None,
        ),
    )
}


def element(name: str | int) -> Element:
    """The element of a symbol or an atomic number; InputError names the known ones."""
    symbol = name.strip().capitalize() if isinstance(name, str) else name
    for known in ELEMENTS.values():
        # A number of a file can be a float; True is not hydrogen.
        if symbol == known.symbol or (type(name) is not bool and name == known.atomic_number):
            return known
    raise InputError(choice_problem("element", name, ELEMENTS) or f"element = {name}: is unknown")


def zone_axis(name: str | Iterable[int]) -> ZoneAxis:
    """The zone axis of that name, such as "110", "[1 1 0]" or (1, 1, 0); "001" means "100"."""
    if not isinstance(name, str) and isinstance(name, Iterable):
        name = "".join(map(str, name))
    bare = "".join(c for c in str(name) if c not in "[]<>(), ")
    bare = "100" if bare in ("001", "010") else bare
    bare = "110" if bare in ("011", "101") else bare
    if problem := choice_problem("zone_axis", bare, ZONE_AXES):
        raise InputError(problem)
    return ZONE_AXES[bare]


def column_area_angstrom2(element: Element, zone: ZoneAxis) -> float:
    """Projected area of a crystal per atomic column [Å²]."""
    return zone.column_area * element.lattice_angstrom**2


def repeat_angstrom(element: Element, zone: ZoneAxis) -> float:
    """Length along the beam after which the planes of a crystal repeat [Å]."""
    return zone.repeat * element.lattice_angstrom


def specimen_of(atomic_number: int, zone_code: int) -> tuple[Element, ZoneAxis]:
    """The element and the zone axis of two numbers in `Settings.to_vector`."""
    (zone,) = (z for z in ZONE_AXES.values() if z.code == zone_code)
    return element(atomic_number), zone


def specimen_name(atomic_number: float, zone_code: float) -> str:
    """A specimen from its two numbers in `Settings.to_vector`, such as "Au [110]"."""
    symbols: dict[float, str] = {e.atomic_number: e.symbol for e in ELEMENTS.values()}
    zones: dict[float, str] = {z.code: z.name for z in ZONE_AXES.values()}
    symbol = symbols.get(atomic_number, atomic_number)
    return f"{symbol} [{zones.get(zone_code, zone_code)}]"


def rmsd_from_temperature(symbol: str, temperature_k: float) -> float:
    """Root-mean-square displacement per axis [Å] of an element at a temperature [K].

    rmsd = √(B / 8π²) with B(T) of Gao & Peng, Acta Cryst. A 55 (1999) 926. Valid from 1 K
    to 1000 K or to the melting point, whichever is lower.
    """
    e = element(symbol)
    limit = min(1000.0, e.melting_k)
    if problem := range_problem("temperature_k", temperature_k, 1.0, limit, "K"):
        raise InputError(f"{problem} for {symbol}")
    coefficients = e.debye_waller_high if temperature_k > 80 else e.debye_waller_low
    b_factor = np.polynomial.polynomial.polyval(temperature_k, coefficients)
    return float(np.sqrt(b_factor / (8 * np.pi**2)))
