"""Scattering resolved in tilt, collection angle and thickness, with its batch means.

Every aperture, annular detector and radial sensitivity is a weighted sum of a kernel, and so
is its standard error, because the batches are kept.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.bins import Bins
from ppiscs_jax.simulation.curve import Curve


@dataclass(frozen=True)
class ScatteringKernel:
    """Fractions of electrons scattered, by tilt ring, thickness and collection angle.

    Attributes:
        element, zone_axis, voltage_kv, rmsd_angstrom, mistilt_mrad: specimen and incident waves,
            as in `Settings`. A kernel has no aperture and no detector of its own.
        ring_edges_mrad: edges of the rings of tilts [mrad], shape (rings + 1,), from 0.
        angle_edges_mrad: edges of the collection-angle bins [mrad], shape (bins + 1,).
        batch_means: mean fraction over the tilts of a ring, per batch, shape
            (batches, rings, n, bins). Bins are correlated: form errors over batches.
        lost: fraction of the electrons that left the numerical band, shape (rings, n).
        seed, waves: seed of all random draws, number of tilted plane waves.

    Example:
        >>> import numpy as np
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 40.0, 100.0, rmsd_angstrom=0.085)
        >>> kernel = pp.scattering_kernel(
        ...     settings, angle_edges_mrad=range(101), n_atoms=2, relative_error=0.1
        ... )
        >>> kernel.batch_means.shape  # batches, rings of tilts, thicknesses, bins of angle
        (16, 1, 2, 100)
        >>> curve = kernel.sensitivity_curve(lambda mrad: np.clip((mrad - 40) / 20, 0, 1))
        >>> curve.ppiscs.shape
        (2,)
    """

    element: str
    zone_axis: str
    voltage_kv: float
    rmsd_angstrom: float
    mistilt_mrad: tuple[float, float]
    ring_edges_mrad: np.ndarray
    angle_edges_mrad: np.ndarray
    batch_means: np.ndarray
    lost: np.ndarray
    seed: int
    waves: int

    @property
    def n_atoms(self) -> np.ndarray:
        """Thicknesses 1, 2, … [atoms per column]."""
        return np.arange(1, self.batch_means.shape[2] + 1)

    @property
    def largest_aperture_mrad(self) -> float:
        """Convergence semi-angle that all rings together fill [mrad]."""
        return float(self.ring_edges_mrad[-1])

    def settings(
        self,
        convergence_mrad: float | None = None,
        inner_mrad: float | None = None,
        outer_mrad: float | None = None,
    ) -> Settings:
        """Settings with an aperture and a detector [mrad].

        By default those of everything that the kernel holds: all rings and all bins.
        """
        edges = self.angle_edges_mrad
        return Settings(
            self.element,
            self.zone_axis,
            self.voltage_kv,
            self.largest_aperture_mrad if convergence_mrad is None else convergence_mrad,
            float(edges[0]) if inner_mrad is None else inner_mrad,
            float(edges[-1]) if outer_mrad is None else outer_mrad,
            self.rmsd_angstrom,
            mistilt_mrad=self.mistilt_mrad,
        )

    def with_rings(self, ring_edges_mrad: np.ndarray) -> Self:
        """The same kernel in fewer rings, whose edges [mrad] are among those of this one."""
        area = np.diff(self.ring_edges_mrad**2)
        starts = np.searchsorted(self.ring_edges_mrad, np.asarray(ring_edges_mrad)[:-1] - 1e-9)
        merged = np.add.reduceat(area, starts)
        return dataclasses.replace(
            self,
            ring_edges_mrad=np.asarray(ring_edges_mrad, dtype=float),
            batch_means=np.add.reduceat(self.batch_means * area[:, None, None], starts, axis=1)
            / merged[:, None, None],
            lost=np.add.reduceat(self.lost * area[:, None], starts, axis=0) / merged[:, None],
        )

    @cached_property
    def _bins(self) -> Bins:
        return Bins(self.ring_edges_mrad, self.angle_edges_mrad)

    def _curve(
        self, settings: Settings, angle_weights: np.ndarray, sensitivity: np.ndarray | None = None
    ) -> Curve:
        """PPISCS of every batch [Å²], their mean and its error."""
        rings = self._bins.aperture_weights(settings.convergence_mrad)
        fractions = np.einsum("brnt,r,t->bn", self.batch_means, rings, angle_weights)
        batches = settings.column_area_angstrom2 * fractions
        n = len(batches)
        modes = (batches - batches.mean(axis=0)) / np.sqrt(n * (n - 1))
        return Curve(
            n_atoms=self.n_atoms,
            ppiscs=batches.mean(axis=0),
            standard_error=np.sqrt(np.sum(modes**2, axis=0)),
            error_modes=modes,
            settings=settings,
            seed=self.seed,
            waves=self.waves,
            batches=n,
            sensitivity=sensitivity,
        )

    def curve(
        self,
        convergence_mrad: float | None = None,
        inner_mrad: float | None = None,
        outer_mrad: float | None = None,
    ) -> Curve:
        """PPISCS of an ideal annular detector.

        Args:
            convergence_mrad: convergence semi-angle [mrad]. Default: the largest of the kernel.
            inner_mrad, outer_mrad: collection angles [mrad]. Default: all that the kernel has.

        Raises:
            InputError: an angle outside the kernel, or between edges too far apart to
                interpolate (2 mrad or 4 % of the collection angle, 6 mrad of aperture), or in
                the same bin as the edge of the aperture, or so close to an interpolated aperture
                that the unscattered beam is in the way.
        """
        settings = self.settings(convergence_mrad, inner_mrad, outer_mrad)
        angles = settings.convergence_mrad, settings.inner_mrad, settings.outer_mrad
        return self._curve(settings, self._bins.detector_weights(*angles))

    def curve_of(self, settings: Settings) -> Curve:
        """PPISCS of the aperture and detector of settings, which the curve keeps.

        Raises:
            InputError: as `curve`.
        """
        angles = (settings.convergence_mrad, settings.inner_mrad, settings.outer_mrad)
        return dataclasses.replace(self.curve(*map(float, angles)), settings=settings)

    def sensitivity_curve(
        self,
        sensitivity: Callable[[np.ndarray], np.ndarray],
        convergence_mrad: float | None = None,
    ) -> Curve:
        """PPISCS of a detector with a radial sensitivity S(θ), θ in mrad, S usually 0 to 1.

        The curve keeps S as `sensitivity`; the detector in its settings is the kernel's range.

        Raises:
            InputError: as `curve`, where S varies by more than 0.001 of its largest value:
                there the kernel must resolve what is scattered.
        """
        settings = self.settings(convergence_mrad)
        weights, kept = self._bins.sensitivity_weights(settings.convergence_mrad, sensitivity)
        return self._curve(settings, weights, kept)


def noise(
    kernel: ScatteringKernel, convergence_mrad: float, inner_mrad: float, outer_mrad: float
) -> float:
    """Mean standard error over all thicknesses, in units of the curve's maximum."""
    curve = kernel.curve(convergence_mrad, inner_mrad, outer_mrad)
    return float(np.mean(curve.standard_error) / np.max(curve.ppiscs))


def limits_and_noise(
    kernel: ScatteringKernel, limits: Iterable[tuple[float, float, float, float]]
) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the noise, and what it is: both [Å²], shape (limits, 1), as `run_levels` watches.

    Args:
        kernel: the kernel.
        limits: aperture, inner and outer angle [mrad], and the largest `noise` of that detector.
    """
    curves = [(kernel.curve(*angles), limit) for *angles, limit in limits]
    allowed = [[limit * np.max(curve.ppiscs)] for curve, limit in curves]
    errors = [[np.mean(curve.standard_error)] for curve, _ in curves]
    return np.array(allowed), np.array(errors)


def largest_relative_error(
    kernel: ScatteringKernel,
    apertures_mrad: Iterable[float],
    detectors_mrad: Iterable[tuple[float, float]],
) -> float:
    """Largest standard error over value, over apertures, detectors and thicknesses."""
    curves = [
        kernel.curve(aperture, inner, outer)
        for aperture in apertures_mrad
        for inner, outer in detectors_mrad
    ]
    # A detector that nothing reaches has no error.
    return max(
        float(np.max(c.standard_error / np.where(c.standard_error > 0, abs(c.ppiscs), 1)))
        for c in curves
    )
