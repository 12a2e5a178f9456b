"""Measured curves, and what is known of their errors."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from jaxtyping import Float, Int

from ppiscs_jax.errors import InputError, as_numbers, is_number, range_problem
from ppiscs_jax.io.library import Library
from ppiscs_jax.settings import MOST_ATOMS
from ppiscs_jax.simulation.curve import Curve

LEAST_ERROR = 1e-12
"""Smallest standard error, in parts of the largest value: squares of smaller ones overflow, and
no curve is computed so precisely."""

SURELY_NEGATIVE = 5.0
"""Cross-sections further below zero, in standard errors, are not noise."""

SINGULAR = 1e-9
"""Smallest eigenvalue of a correlation matrix that can be inverted."""


class Errors(NamedTuple):
    """Errors of the values of a curve that are there, apart from Poisson noise.

    Attributes:
        variance: of the independent errors [Å⁴].
        modes: of correlated errors whose covariance is known [Å²]: its outer products' sum.
        estimated: modes of correlated errors whose covariance is estimated from few batches [Å²].
        degrees_of_freedom: of that estimate.
        n_atoms: atoms per column of the values.
    """

    variance: Float[np.ndarray, " values"]
    modes: Float[np.ndarray, "modes values"]
    estimated: Float[np.ndarray, "batches values"]
    degrees_of_freedom: float
    n_atoms: Int[np.ndarray, " values"]

    @property
    def smooth_variance(self) -> Float[np.ndarray, " values"]:
        """Variance of each value by the batches, as a power of the number of atoms [Å⁴].

        Weights from the batches' own variances would favour what happens to scatter little, and
        the errors formed from the same batches would come out too small.
        """
        variance = np.sum(self.estimated**2, axis=0)
        some = variance > 0
        if np.sum(some) < 2:
            return variance
        power, level = np.polyfit(np.log(self.n_atoms[some]), np.log(variance[some]), 1)
        return np.exp(level + power * np.log(self.n_atoms))

    @property
    def total_variance(self) -> Float[np.ndarray, " values"]:
        """Variance of each value by itself [Å⁴]."""
        return self.variance + np.sum(self.modes**2, axis=0) + np.sum(self.estimated**2, axis=0)


@dataclass(frozen=True)
class Measured:
    """A measured PPISCS–thickness curve. Kept at 1, 2, … atoms, NaN where nothing was measured.

    Its noise is a dose; or the sum of independent errors (`standard_error`) and of errors that
    are correlated along thickness (`covariance`, `error_modes`), as far as they are given. The
    error of the forward model does not belong here: `fit` adds it.

    Attributes:
        ppiscs: measured cross-sections [Å²], shape (m,); NaN is a gap. Below zero only by noise.
        standard_error: standard errors of independent errors [Å²], one number or shape (m,); a
            weight w is a standard error 1/√w.
        dose_per_angstrom2: instead, the dose [e⁻/Å²] whose Poisson noise is all the noise, one
            number or shape (m,); where curves are means over columns, the doses' sum.
        n_atoms: atoms per column of each value, in any order; None for 1, 2, ….
        covariance: known covariance of further errors [Å⁴], shape (m, m).
        error_modes: modes of further errors [Å²], shape (modes, m), as in `Curve`.
        degrees_of_freedom: with which the modes estimate a covariance, batches − 1; infinite if
            they are known.

    Raises:
        InputError: lengths differ, a value is not a cross-section, a thickness is not a whole
            number or occurs twice, or a covariance is not positive semidefinite. The message names
            every problem.

    Example:
        >>> import ppiscs_jax as pp
        >>> measured = pp.Measured([0.03, 0.05, 0.09], standard_error=0.002, n_atoms=[1, 2, 4])
        >>> measured.ppiscs  # Å²
        array([0.03, 0.05,  nan, 0.09])
        >>> by_dose = pp.Measured([0.03, 0.05, 0.09], dose_per_angstrom2=1e4)
    """

    ppiscs: Any
    standard_error: Any = None
    dose_per_angstrom2: Any = None
    n_atoms: Any = None
    covariance: Any = None
    error_modes: Any = None
    degrees_of_freedom: float = np.inf

    @classmethod
    def from_curve(cls, curve: Curve, standard_error: Any = None) -> Self:
        """A simulated or predicted curve with its own error, correlations included.

        Args:
            curve: from `simulate`, `predict` or a file.
            standard_error: of further, independent errors [Å²], one number or shape (n,).

        Raises:
            InputError: the curve does not say how its errors are correlated.
        """
        if curve.error_modes is None:
            raise InputError(
                "error_modes: this curve does not say how its errors are correlated; give "
                "Measured its values, and their covariance"
            )
        return cls(
            curve.ppiscs,
            standard_error,
            n_atoms=curve.n_atoms,
            error_modes=curve.error_modes,
            degrees_of_freedom=curve.degrees_of_freedom,
        )

    @classmethod
    def from_library(
        cls,
        library: Library,
        standard_error: Any = None,
        *,
        dose_per_angstrom2: float | None = None,
        angstrom2: float = 1.0,
    ) -> Self:
        """A curve of a file, as `load_library` reads it.

        Args:
            library: values, and perhaps their errors.
            standard_error: standard errors [the library's unit], one number or shape (n,); by
                default those of the library, correlations included.
            dose_per_angstrom2: instead, the dose [e⁻/Å²] whose Poisson noise is all the noise.
            angstrom2: Å² of one unit of the library's values; 100 where they are in nm².

        Raises:
            InputError: as `Measured`.
        """
        values, atoms = angstrom2 * library.ppiscs, library.n_atoms
        if dose_per_angstrom2 is not None:
            return cls(values, standard_error, dose_per_angstrom2, atoms)
        if standard_error is None and library.error_modes is not None:
            modes, freedom = angstrom2 * library.error_modes, library.degrees_of_freedom
            return cls(values, n_atoms=atoms, error_modes=modes, degrees_of_freedom=freedom)
        error = library.standard_error if standard_error is None else np.asarray(standard_error)
        return cls(values, None if error is None else angstrom2 * error, None, atoms)

    def __post_init__(self) -> None:
        values = as_numbers("ppiscs", self.ppiscs, (None,), "Å²")
        there = ~np.isnan(values)
        atoms = self.n_atoms
        atoms = np.arange(1, len(values) + 1) if atoms is None else np.asarray(atoms)
        problems = _atoms_problems(atoms, len(values))
        if not np.any(there & (values != 0)):
            problems.append("ppiscs: nothing but gaps and zeros")
        largest = float(np.max(np.abs(values), where=np.isfinite(values), initial=0.0))
        noise, more = self._noise(there, largest)
        problems += more
        if not problems:
            # In the order of 1, 2, …, with gaps.
            at = atoms.astype(int) - 1
            size = int(atoms.max())
            values = _spread(np.where(there, values, np.nan), (at,), (size,), np.nan)
            places = {"covariance": (at, at), "error_modes": (slice(None), at)}
            for field, given in noise.items():
                fill = 0.0 if field in places else np.nan
                shape = (len(given), size) if field == "error_modes" else (size,) * given.ndim
                spread = _spread(given, places.get(field, (at,)), shape, fill)
                object.__setattr__(self, field, spread)
            object.__setattr__(self, "ppiscs", values)
            object.__setattr__(self, "n_atoms", np.arange(1, size + 1))
            problems = self._value_problems()
        if problems:
            raise InputError(problems)

    @property
    def there(self) -> np.ndarray:
        """Indices of the thicknesses at which something was measured."""
        return np.flatnonzero(~np.isnan(self.ppiscs))

    @property
    def error_bars(self) -> Float[np.ndarray, " n"]:
        """Standard errors to be shown [Å²]: of Poisson noise with a dose, 0 where none is known."""
        if self.dose_per_angstrom2 is not None:
            return np.sqrt(self.ppiscs / self.dose_per_angstrom2)
        if self.standard_error is None:
            return np.zeros(len(self.ppiscs))
        return self.standard_error

    @property
    def errors_known(self) -> bool:
        """Whether anything is known of the errors, Poisson noise apart."""
        given = (self.standard_error, self.covariance, self.error_modes)
        return any(field is not None for field in given)

    @property
    def errors(self) -> Errors:
        """The errors at the thicknesses that are there; nothing where none are known."""
        there = self.there
        variance = np.zeros(len(there))
        modes = estimated = np.zeros((0, len(there)))
        if self.standard_error is not None:
            variance = variance + self.standard_error[there] ** 2
        if self.error_modes is not None and np.isfinite(self.degrees_of_freedom):
            estimated = self.error_modes[:, there]
        elif self.error_modes is not None:
            modes = self.error_modes[:, there]
        if self.covariance is not None:
            further = self.covariance[np.ix_(there, there)]
            if self.standard_error is None:
                # Errors without an independent part: half of the smallest eigenvalue is taken
                # out as one.
                size = np.diag(further)
                least = np.linalg.eigvalsh(further / np.sqrt(np.outer(size, size)))[0] / 2
                variance = variance + least * size
                further = further - np.diag(least * size)
            power, vectors = np.linalg.eigh(further)
            modes = np.concatenate([modes, (vectors * np.sqrt(np.maximum(power, 0))).T])
        return Errors(variance, modes, estimated, self.degrees_of_freedom, there + 1)

    @property
    def total_standard_error(self) -> Float[np.ndarray, " n"] | None:
        """Standard error of each value by itself [Å²], NaN in gaps; None if it is not known."""
        if not self.errors_known:
            return None
        total = np.full(len(self.ppiscs), np.nan)
        total[self.there] = np.sqrt(self.errors.total_variance)
        return total

    def _noise(self, there: np.ndarray, largest: float) -> tuple[dict[str, np.ndarray], list[str]]:
        """The given noise as arrays, by field, and its problems."""
        n = len(there)
        noise: dict[str, np.ndarray] = {}
        problems = []
        if self.dose_per_angstrom2 is not None and self.errors_known:
            problems.append(
                "dose_per_angstrom2: determines the noise, and cannot be combined with "
                "standard_error, covariance or error_modes"
            )
        if not np.isinf(self.degrees_of_freedom):
            problem = range_problem("degrees_of_freedom", self.degrees_of_freedom, 1, 10**9, "")
            problems += [problem] if problem else []
        for field, shape, unit in (
            ("standard_error", (n,), "Å²"),
            ("dose_per_angstrom2", (n,), "e⁻/Å²"),
            ("covariance", (n, n), "Å⁴"),
            ("error_modes", (None, n), "Å²"),
        ):
            given = getattr(self, field)
            if given is None:
                continue
            one_for_all = len(shape) == 1 and is_number(given)
            try:
                noise[field] = as_numbers(
                    field, np.full(n, given) if one_for_all else given, shape, unit
                )
            except InputError as error:
                problems += error.problems
                continue
            of_values = noise[field][..., there]
            if len(shape) == 1:
                least = LEAST_ERROR * largest if field == "standard_error" else 0.0
                wrong = of_values[~((of_values > least) & np.isfinite(of_values))]
                noise[field] = np.where(there, noise[field], np.nan)
                if len(wrong):
                    said = f"{field} = {_listed(wrong)} {unit}: must be above 0"
                    problems.append(said + (f", and above {least:.2g} {unit}" if least else ""))
            elif not np.all(np.isfinite(of_values[there] if field == "covariance" else of_values)):
                problems.append(f"{field}: must be finite [{unit}] wherever ppiscs is")
            elif field == "covariance":
                problems += self._covariance_problems(of_values[there])
        return noise, problems

    def _covariance_problems(self, covariance: np.ndarray) -> list[str]:
        size = np.diag(covariance)
        if not np.all(size > 0) or not np.allclose(covariance, covariance.T, rtol=1e-6, atol=0):
            return ["covariance: must be symmetric, with variances above 0 on its diagonal [Å⁴]"]
        power = np.linalg.eigvalsh(covariance / np.sqrt(np.outer(size, size)))
        if power[0] < -SINGULAR * len(size):
            return [
                "covariance: must be positive semidefinite; the smallest eigenvalue of its "
                f"correlation matrix is {power[0]:.2g}"
            ]
        if power[0] < SINGULAR and self.standard_error is None:
            return [
                "covariance: is singular; give a standard_error of independent errors beside it, "
                "or, if it is estimated from batches, error_modes and degrees_of_freedom"
            ]
        return []

    def _value_problems(self) -> list[str]:
        """Values that are not cross-sections."""
        total = self.total_standard_error
        least = -SURELY_NEGATIVE * (np.zeros(len(self.ppiscs)) if total is None else total)
        there = ~np.isnan(self.ppiscs)
        bad = there & ~((self.ppiscs >= np.nan_to_num(least)) & np.isfinite(self.ppiscs))
        if not np.any(bad):
            return []
        return [
            f"ppiscs at {_listed(np.flatnonzero(bad) + 1)} atoms = {_listed(self.ppiscs[bad])} Å²: "
            f"must be 0 or more, within {SURELY_NEGATIVE:g} standard errors; NaN where nothing "
            "was measured"
        ]


def _atoms_problems(atoms: np.ndarray, n: int) -> list[str]:
    if atoms.shape != (n,):
        return [f"n_atoms of shape {atoms.shape}: must be one for each of {n} values"]
    if atoms.dtype.kind not in "iuf" or not np.all(np.isin(atoms, range(1, MOST_ATOMS + 1))):
        return [f"n_atoms = {_listed(atoms)}: must be whole numbers, 1 to {MOST_ATOMS}"]
    unique, counts = np.unique(atoms, return_counts=True)
    if np.any(counts > 1):
        return [f"n_atoms: {_listed(unique[counts > 1])} more than once; average, or choose"]
    return []


def _spread(
    given: np.ndarray, places: tuple[Any, ...], shape: tuple[int, ...], fill: float
) -> np.ndarray:
    """An array of a larger shape that holds the given one at some places."""
    spread = np.full(shape, fill)
    spread[np.ix_(*places) if all(isinstance(p, np.ndarray) for p in places) else places] = given
    return spread


def _listed(values: np.ndarray) -> str:
    """The first few of some values."""
    text = ", ".join(f"{v:g}" if isinstance(v, np.number) else str(v) for v in values[:5])
    return text + (f" and {len(values) - 5} more" if len(values) > 5 else "")
