"""Trained ranges of surrogates, and the check of settings against them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ppiscs_jax.crystal import ELEMENTS, specimen_name
from ppiscs_jax.settings import DETECTOR as DETECTOR_COLUMNS
from ppiscs_jax.settings import RANGES, VECTOR_ORDER, Column, column
from ppiscs_jax.settings import SPECIMEN as SPECIMEN_COLUMNS

ROUNDING = 1e-6
"""Relative amount by which numbers may pass a limit: more than single precision rounds them."""

SPECIMEN = "element and zone_axis"
"""The field that says which specimens are known."""

DETECTOR_FIELDS = ("inner_mrad", "outer_mrad")

DETECTOR = "inner_mrad to outer_mrad"
"""The field that says which detectors are known."""


@dataclass(frozen=True)
class TrainedRange:
    """Trained range of a surrogate; the only place where settings are checked against it.

    Hashable, so that models carry it as static data. Limits are compared in single precision
    with numbers in single precision, inside jit and outside: both give the same answer.

    Attributes:
        specimens: (atomic number, zone axis's code) of each.
        limits: smallest and largest value of fields of `Settings`, in their units.
        least_width_mrad: if not 0, detectors must be so wide, and begin outside the aperture.
        rmsd_angstrom: smallest and largest rmsd of each specimen [Å], where specimens differ.
    """

    specimens: tuple[tuple[int, int], ...]
    limits: dict[str, tuple[float, float]]
    least_width_mrad: float = 0.0
    rmsd_angstrom: tuple[tuple[float, float], ...] = ()

    def __hash__(self) -> int:
        return hash((self.specimens, tuple(self.limits.items()), self.rmsd_angstrom))

    def holds(self, x: Float[Array, " 9"]) -> Bool[Array, ""]:
        """Whether settings are inside the range; for use inside jit."""
        inside = [self.holds_specimen(x), self.holds_angles(x[DETECTOR_COLUMNS])]
        if self.least_width_mrad:
            inside.append(self._detector_fits(x))
        return jnp.all(jnp.stack(inside))

    def holds_specimen(self, x: Float[Array, " 9"]) -> Bool[Array, ""]:
        """Whether settings without their detector are inside the range; for use inside jit."""
        low, high = self._ends
        inside = ((x >= low) & (x <= high))[np.isin(VECTOR_ORDER, DETECTOR_FIELDS, invert=True)]
        fits = self._specimen_fits(x[None])[0], self._rmsd_fits(x[None])[0]
        return jnp.all(inside) & fits[0] & fits[1]

    def holds_angles(self, angles_mrad: Float[Array, " angles"]) -> Bool[Array, ""]:
        """Whether angles are between the smallest inner and the largest outer one; inside jit."""
        low, high = self._ends
        least, most = low[Column.INNER_MRAD], high[Column.OUTER_MRAD]
        return jnp.all((angles_mrad >= least) & (angles_mrad <= most))

    def holds_all(self, rows: np.ndarray) -> bool:
        """Whether all rows (…, 9) are inside the range."""
        rows = np.asarray(rows, np.float32)
        low, high = self._ends
        inside = np.all(rows >= low) and np.all(rows <= high)
        known = inside and np.all(self._specimen_fits(rows)) and np.all(self._rmsd_fits(rows))
        return bool(known and (not self.least_width_mrad or np.all(self._detector_fits(rows))))

    def limits_of(self, x: np.ndarray) -> dict[str, tuple[float, float]]:
        """`limits` for the specimen of some settings (9,)."""
        limits = dict(self.limits)
        if self.rmsd_angstrom and (specimen := tuple(x[SPECIMEN_COLUMNS])) in self.specimens:
            limits["rmsd_angstrom"] = self.rmsd_angstrom[self.specimens.index(specimen)]
        return limits

    @cached_property
    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest values of the nine numbers, rounding forgiven."""
        ends = np.tile([[-np.inf], [np.inf]], len(VECTOR_ORDER))
        for field, limits in self.limits.items():
            ends[:, column(field)] = limits
        return _forgiving(*ends)

    def check(self, rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """For each field, which rows (…, 9) keep to it."""
        rows = np.asarray(rows, np.float32)
        known = self._specimen_fits(rows)
        yield SPECIMEN, known
        inside = (rows >= self._ends[0]) & (rows <= self._ends[1])
        # Of unknown specimens there is nothing more to say.
        inside[:, Column.RMSD_ANGSTROM] &= self._rmsd_fits(rows) | ~known
        for field in self.limits:
            yield field, inside[:, column(field)]
        if self.least_width_mrad:
            yield DETECTOR, self._detector_fits(rows)

    def _specimen_fits(self, x: Any) -> Any:
        """Whether specimens of settings (…, 9) are covered."""
        return self._same_specimen(x).any(axis=-1)

    def _same_specimen(self, x: Any) -> Any:
        """Which of the specimens those of settings (…, 9) are, (…, specimens)."""
        return (x[..., None, SPECIMEN_COLUMNS] == np.asarray(self.specimens)).all(axis=-1)

    def _rmsd_fits(self, x: Any) -> Any:
        """Whether the rmsd of settings (…, 9) is in the range of their specimen."""
        if not self.rmsd_angstrom:
            return np.ones(x.shape[:-1], bool)
        low, high = _forgiving(*np.asarray(self.rmsd_angstrom).T)
        rmsd = x[..., Column.RMSD_ANGSTROM, None]
        fits = (rmsd >= low) & (rmsd <= high)
        return (self._same_specimen(x) & fits).any(axis=-1)

    def _detector_fits(self, x: Any) -> Any:
        """Whether detectors of settings (…, 9) are outside the aperture and wide enough."""
        aperture = x[..., Column.CONVERGENCE_MRAD]
        inner, outer = x[..., Column.INNER_MRAD], x[..., Column.OUTER_MRAD]
        narrowest = self.least_width_mrad * (1 - ROUNDING) - ROUNDING * outer
        return (inner >= aperture * (1 - ROUNDING)) & (outer - inner >= narrowest)

    def allowed(self, field: str) -> str:
        """Allowed values of a field, as text."""
        if field == SPECIMEN:
            return f"one of {self.names()}"
        if field == DETECTOR:
            return f"at least {self.least_width_mrad:g} mrad wide, from convergence_mrad on"
        low, high = self.limits[field]
        text = f"{low:g} to {high:g} {RANGES[field][2]}"
        if field != "rmsd_angstrom" or len(set(self.rmsd_angstrom)) < 2:
            return text
        return "; ".join(
            f"{low:g} to {high:g} Å for {', '.join(self._elements((low, high)))}"
            for low, high in sorted(set(self.rmsd_angstrom))
        )

    def _elements(self, rmsd: tuple[float, float]) -> list[str]:
        """Symbols of the elements with this range of rmsd."""
        symbols = {e.atomic_number: e.symbol for e in ELEMENTS.values()}
        pairs = zip(self.specimens, self.rmsd_angstrom, strict=True)
        return list(dict.fromkeys(symbols[z] for (z, _), ends in pairs if ends == rmsd))

    def names(self) -> str:
        """The specimens, as text."""
        return ", ".join(specimen_name(number, code) for number, code in self.specimens)


def _forgiving(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Limits widened by ROUNDING, in single precision."""
    widened = low - ROUNDING * np.abs(low), high + ROUNDING * np.abs(high)
    return widened[0].astype(np.float32), widened[1].astype(np.float32)
