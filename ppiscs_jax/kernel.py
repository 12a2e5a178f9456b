"""Scattering resolved in tilt, collection angle and thickness, with its batch means.

Every aperture, annular detector and radial sensitivity is a weighted sum of a kernel, and so
is its standard error, because the batches are kept.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy  # its submodules load when first used

from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.settings import Settings

WIDEST_RING_MRAD = 6.0
"""Apertures are interpolated inside rings at most this wide: by less than 0.3 %."""


@dataclass(frozen=True)
class Curve:
    """PPISCS against thickness.

    Attributes:
        n_atoms: number of atoms per column 1, 2, …, shape (n,).
        ppiscs: probe-position integrated scattering cross-section [Å²], shape (n,).
        standard_error: standard error of ppiscs [Å²], shape (n,); errors at different
            thicknesses are correlated.
        settings: what was simulated.
        seed: seed of all random draws.
        waves: number of tilted plane waves.
        batches: number of independent batches that the error is estimated from.
        mistilt_mrad: direction of the optical axis in the crystal's frame, (x, y) [mrad].
        model: name of the surrogate that predicted it; then seed, waves and batches are 0.
    """

    n_atoms: np.ndarray
    ppiscs: np.ndarray
    standard_error: np.ndarray
    settings: Settings
    seed: int
    waves: int
    batches: int
    mistilt_mrad: tuple[float, float] = (0.0, 0.0)
    model: str | None = None

    @property
    def made_by(self) -> str:
        """How it came about, for captions."""
        if self.model is not None:
            return f"predicted by the surrogate {self.model!r}"
        return f"seed {self.seed}, {self.waves} plane waves in {self.batches} batches"

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Confidence interval [Å²] of each thickness by itself.

        Student's t over batches, a normal distribution for predictions.
        """
        freedom = self.batches - 1 if self.model is None else np.inf
        half = scipy.special.stdtrit(freedom, 0.5 + level / 2) * self.standard_error
        return self.ppiscs - half, self.ppiscs + half


def cumulative_weights(nodes: np.ndarray, x: float) -> np.ndarray:
    """Weights of bins in the integral from the first node to x, shape (bins,).

    The running integral is known at the bins' edges; between edges it is interpolated by the
    cubic through the four nearest (fewer where there are fewer), which is linear in the bins.
    """
    near = _nearest(nodes, x)
    weights = np.zeros(len(nodes) - 1)
    for j in near:
        others = nodes[near[near != j]]
        weights[:j] += np.prod((x - others) / (nodes[j] - others))
    return weights


def _nearest(nodes: np.ndarray, x: float) -> np.ndarray:
    """Indices of the four nodes nearest to x on both sides, or of all if they are fewer."""
    n = min(4, len(nodes))
    after = int(np.searchsorted(nodes, x, side="left"))
    return int(np.clip(after - n // 2, 0, len(nodes) - n)) + np.arange(n)


def _interpolation_problem(field: str, nodes: np.ndarray, x: float, widest: float) -> str | None:
    """Say why x [mrad] cannot be interpolated between nodes, or None."""
    if problem := range_problem(field, x, nodes[0], nodes[-1], "mrad of this kernel"):
        return problem
    if np.any(np.isclose(nodes, x, rtol=0, atol=1e-9)):
        return None
    i = int(np.searchsorted(nodes, x))
    if nodes[i] - nodes[i - 1] <= widest:
        return None
    return (
        f"{field} = {x:g} mrad: lies between {nodes[i - 1]:g} and {nodes[i]:g} mrad of this "
        f"kernel, more than {widest:g} mrad apart; simulate with it as an edge"
    )


@dataclass(frozen=True)
class ScatteringKernel:
    """Fractions of electrons scattered, by tilt ring, thickness and collection angle.

    Attributes:
        settings: specimen and voltage; its aperture and detector are the defaults below.
        ring_edges_mrad: edges of the rings of tilts [mrad], shape (rings + 1,), from 0.
        angle_edges_mrad: edges of the collection-angle bins [mrad], shape (bins + 1,).
        batch_means: mean fraction over the tilts of a ring, per batch, shape
            (batches, rings, n, bins). Bins are correlated: form errors over batches.
        lost: fraction of the electrons that left the numerical band, shape (rings, n).
        seed, waves: seed of all random draws, number of tilted plane waves.
        mistilt_mrad: direction of the optical axis in the crystal's frame, (x, y) [mrad].
    """

    settings: Settings
    ring_edges_mrad: np.ndarray
    angle_edges_mrad: np.ndarray
    batch_means: np.ndarray
    lost: np.ndarray
    seed: int
    waves: int
    mistilt_mrad: tuple[float, float] = (0.0, 0.0)

    @property
    def n_atoms(self) -> np.ndarray:
        """Thicknesses 1, 2, … [atoms per column]."""
        return np.arange(1, self.batch_means.shape[2] + 1)

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

    def _aperture_weights(self, convergence_mrad: float) -> np.ndarray:
        """Weight of each ring in the mean over an aperture, shape (rings,)."""
        edges = self.ring_edges_mrad
        problem = _interpolation_problem(
            "convergence_mrad", edges[1:], convergence_mrad, WIDEST_RING_MRAD
        )
        if problem:
            raise InputError(problem)
        return (
            cumulative_weights(edges**2, convergence_mrad**2)
            * np.diff(edges**2)
            / (convergence_mrad**2)
        )

    def _unscattered_problem(self, field: str, angle: float, convergence: float) -> str | None:
        """Say why an angle cannot be had at an aperture between two rings' edges, or None.

        Tilts of the rings that the interpolation uses put the unscattered beam as far out as
        they are tilted: the integral over the aperture has a kink there.
        """
        edges = self.ring_edges_mrad
        if angle == 0 or np.any(np.isclose(edges, convergence, rtol=0, atol=1e-9)):
            return None
        farthest = edges[_nearest(edges**2, convergence**2)[-1]]
        if angle >= farthest:
            return None
        return (
            f"{field} = {angle:g} mrad: at convergence_mrad = {convergence:g} mrad, between two "
            f"edges of this kernel's rings, must be {farthest:g} mrad or more; simulate with "
            "this aperture as an edge"
        )

    def _weighted(self, convergence_mrad: float | None, angle_weights: np.ndarray) -> np.ndarray:
        """Cross-sections [Å²] of every batch and thickness, shape (batches, n)."""
        if convergence_mrad is None:
            convergence_mrad = float(self.settings.convergence_mrad)
        area = (
            self.settings.zone_axis_data.column_area
            * self.settings.element_data.lattice_angstrom**2
        )
        rings = self._aperture_weights(convergence_mrad)
        return area * np.einsum("brnt,r,t->bn", self.batch_means, rings, angle_weights)

    def _curve(self, batches: np.ndarray, **changes: float | None) -> Curve:
        changed: dict[str, Any] = {f: v for f, v in changes.items() if v is not None}
        return Curve(
            n_atoms=self.n_atoms,
            ppiscs=batches.mean(axis=0),
            standard_error=batches.std(axis=0, ddof=1) / np.sqrt(len(batches)),
            settings=dataclasses.replace(self.settings, **changed),
            seed=self.seed,
            waves=self.waves,
            batches=len(batches),
            mistilt_mrad=self.mistilt_mrad,
        )

    def curve(
        self,
        convergence_mrad: float | None = None,
        inner_mrad: float | None = None,
        outer_mrad: float | None = None,
    ) -> Curve:
        """PPISCS of an ideal annular detector; what is not given is as in the settings.

        Raises:
            InputError: an angle outside the kernel, or between edges too far apart to
                interpolate (2 mrad or 4 % of the collection angle, 6 mrad of aperture), or so
                close to an interpolated aperture that the unscattered beam is in the way.
        """
        inner = float(self.settings.inner_mrad) if inner_mrad is None else inner_mrad
        outer = float(self.settings.outer_mrad) if outer_mrad is None else outer_mrad
        edges = self.angle_edges_mrad
        problems = [
            # The spectrum is steep at small angles and flat at large ones.
            _interpolation_problem(field, edges, x, max(2.0, 0.04 * x))
            for field, x in (("inner_mrad", inner), ("outer_mrad", outer))
        ]
        aperture = (
            float(self.settings.convergence_mrad) if convergence_mrad is None else convergence_mrad
        )
        problems += [
            self._unscattered_problem(field, x, aperture)
            for field, x in (("inner_mrad", inner), ("outer_mrad", outer))
        ]
        if inner >= outer:
            problems.append(f"inner_mrad = {inner:g} mrad: must be below {outer:g} mrad")
        if any(problems):
            raise InputError(p for p in problems if p)
        weights = cumulative_weights(edges, outer) - cumulative_weights(edges, inner)
        return self._curve(
            self._weighted(convergence_mrad, weights),
            convergence_mrad=convergence_mrad,
            inner_mrad=inner,
            outer_mrad=outer,
        )

    def sensitivity_curve(
        self,
        sensitivity: Callable[[np.ndarray], np.ndarray],
        convergence_mrad: float | None = None,
    ) -> Curve:
        """PPISCS of a detector with a radial sensitivity S(θ), θ in mrad, S usually 0 to 1.

        S is averaged over each bin (four Gauss points); the settings' detector angles in the
        result are the kernel's range.
        """
        edges = self.angle_edges_mrad
        points, weights = np.polynomial.legendre.leggauss(4)
        theta = edges[:-1, None] + 0.5 * (points + 1) * np.diff(edges)[:, None]
        mean = np.asarray(sensitivity(theta)) @ weights / 2
        return self._curve(
            self._weighted(convergence_mrad, mean),
            convergence_mrad=convergence_mrad,
            inner_mrad=float(edges[0]),
            outer_mrad=float(edges[-1]),
        )


def noise(
    kernel: ScatteringKernel, convergence_mrad: float, inner_mrad: float, outer_mrad: float
) -> float:
    """Mean standard error over all thicknesses, in units of the curve's maximum."""
    curve = kernel.curve(convergence_mrad, inner_mrad, outer_mrad)
    return float(np.mean(curve.standard_error) / np.max(curve.ppiscs))


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
