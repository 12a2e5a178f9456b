"""PPISCS against thickness with its errors, simulated or predicted."""

from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import numpy as np
import scipy  # its submodules load when first used

from ppiscs_jax.errors import InputError
from ppiscs_jax.settings import Settings


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("n_atoms", "ppiscs", "standard_error", "settings", "error_modes", "sensitivity"),
    meta_fields=("seed", "waves", "batches", "model"),
)
@dataclass(frozen=True, eq=False)
class Curve:
    """PPISCS against thickness. A pytree; NumPy functions and indices see its `ppiscs`.

    Attributes:
        n_atoms: number of atoms per column 1, 2, …, shape (n,).
        ppiscs: probe-position integrated scattering cross-section [Å²], shape (n,).
        standard_error: standard error of ppiscs [Å²], shape (n,).
        settings: what was simulated.
        seed: seed of all random draws.
        waves: number of tilted plane waves.
        batches: number of independent batches that the error is estimated from.
        model: name of the surrogate that predicted it; then seed, waves and batches are 0.
        error_modes: modes of the error [Å²], shape (modes, n). Errors at different thicknesses are
            strongly correlated; their covariance is the sum of the outer products of the modes. A
            simulated curve has one mode for each batch, the deviation of the batch from the mean
            divided by √(batches (batches − 1)). None if the covariance is not known.
        sensitivity: radial sensitivity S(θ) of a detector that is not an ideal annulus, shape
            (2, angles): angles [mrad] and S. None for ideal annuli.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> curve = pp.predict(settings)
        >>> curve.ppiscs.shape, curve.standard_error.shape
        ((87,), (87,))
        >>> low, high = curve.interval(0.95)  # Å²
        >>> bool((low < curve.ppiscs).all())
        True
    """

    n_atoms: np.ndarray
    ppiscs: np.ndarray
    standard_error: np.ndarray
    settings: Settings
    seed: int
    waves: int
    batches: int
    model: str | None = None
    error_modes: np.ndarray | None = None
    sensitivity: np.ndarray | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.ppiscs, dtype=dtype, copy=copy)

    def __getitem__(self, index: Any) -> Any:
        return self.ppiscs[index]

    def __len__(self) -> int:
        return len(self.ppiscs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Curve):
            return NotImplemented
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return all(
            np.array_equal(a, b) if isinstance(a, np.ndarray) else bool(a == b) for a, b in pairs
        )

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the errors [Å⁴], shape (n, n).

        Estimated from few batches, it is singular: do not invert it. `Measured.from_curve` is
        how fits use it.

        Raises:
            InputError: the curve has no error_modes.
        """
        if self.error_modes is None:
            raise InputError("error_modes: this curve does not say how its errors are correlated")
        return self.error_modes.T @ self.error_modes

    @property
    def degrees_of_freedom(self) -> float:
        """With which `error_modes` estimate the covariance: infinite for predictions."""
        return self.batches - 1.0 if self.model is None else np.inf

    @property
    def detector(self) -> str:
        """The detector's collection angles, or that it has a sensitivity, for captions."""
        if self.sensitivity is not None:
            return "detector with S(θ)"
        return f"{float(self.settings.inner_mrad):g}–{float(self.settings.outer_mrad):g} mrad"

    @property
    def made_by(self) -> str:
        """How the curve was made, for captions."""
        if self.model is not None:
            return f"predicted by the surrogate {self.model!r}"
        return f"seed {self.seed}, {self.waves} plane waves in {self.batches} batches"

    def to_dataframe(self) -> Any:
        """Thickness, value and standard error as a pandas DataFrame; pandas must be installed."""
        import pandas

        return pandas.DataFrame(
            {
                "n_atoms": self.n_atoms,
                "ppiscs_angstrom2": self.ppiscs,
                "standard_error_angstrom2": self.standard_error,
            }
        )

    def to_xarray(self) -> Any:
        """Value and standard error as an xarray Dataset; xarray must be installed."""
        import xarray

        of_settings = {f.name: getattr(self.settings, f.name) for f in fields(self.settings)}
        return xarray.Dataset(
            {
                name: ("n_atoms", values, {"units": "Å²"})
                for name, values in (
                    ("ppiscs", self.ppiscs),
                    ("standard_error", self.standard_error),
                )
            },
            coords={"n_atoms": self.n_atoms},
            attrs={**of_settings, "detector": self.detector, "made_by": self.made_by},
        )

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Confidence interval [Å²] of each thickness by itself.

        Student's t over batches, a normal distribution for predictions.
        """
        half = scipy.special.stdtrit(self.degrees_of_freedom, 0.5 + level / 2) * self.standard_error
        return self.ppiscs - half, self.ppiscs + half
