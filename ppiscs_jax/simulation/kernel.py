"""Scattering resolved in tilt, collection angle and thickness, with its batch means.

Every aperture, annular detector and radial sensitivity is a weighted sum of a kernel, and so
is its standard error, because the batches are kept.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.curve import Curve

WIDEST_RING_MRAD = 6.0
"""Apertures are interpolated inside rings at most this wide: by less than 0.3 %."""

SAME_ANGLE = 1e-9
"""Angles [mrad] that differ by no more are the same."""

SUBDIVISIONS = 8
"""Parts of a bin in which a radial sensitivity is averaged."""

SAME_SENSITIVITY = 1e-3
"""Sensitivities that differ by no more are the same where a kernel cannot resolve them."""


def cumulative_weights(nodes: np.ndarray, x: float, kink: float | None = None) -> np.ndarray:
    """Weights of bins in the integral from the first node to x, shape (bins,).

    The running integral is known at the bins' edges; between edges it is interpolated by the
    cubic through the four nearest (fewer where there are fewer), which is linear in the bins.
    Where the integrand jumps, at `kink`, only nodes on the side of x are used.
    """
    near = _nearest(nodes, x, kink)
    weights = np.zeros(len(nodes) - 1)
    for j in near:
        others = nodes[near[near != j]]
        weights[:j] += np.prod((x - others) / (nodes[j] - others))
    return weights


def _nearest(nodes: np.ndarray, x: float, kink: float | None = None) -> np.ndarray:
    """Indices of the four nodes nearest to x on both sides, or of all if they are fewer."""
    first, last = 0, len(nodes)
    if kink is not None and x > kink + SAME_ANGLE:
        first = int(np.searchsorted(nodes, kink - SAME_ANGLE))
    elif kink is not None and x < kink - SAME_ANGLE:
        last = int(np.searchsorted(nodes, kink + SAME_ANGLE))
    n = min(4, last - first)
    after = int(np.searchsorted(nodes, x, side="left"))
    return int(np.clip(after - n // 2, first, last - n)) + np.arange(n)


def _interpolation_problem(
    field: str, nodes: np.ndarray, x: float, widest: float, kink: float | None = None
) -> str | None:
    """Say why x [mrad] cannot be interpolated between nodes, or None."""
    if problem := range_problem(field, x, nodes[0], nodes[-1], "mrad of this kernel"):
        return problem
    if _is_among(nodes, x):
        return None
    i = int(np.searchsorted(nodes, x))
    low, high = nodes[i - 1], nodes[i]
    between = f"{field} = {x:g} mrad: lies between {low:g} and {high:g} mrad of this kernel, "
    if high - low > widest:
        return f"{between}more than {widest:g} mrad apart; simulate with it as an edge"
    if kink is not None and low + SAME_ANGLE < kink < high - SAME_ANGLE:
        return (
            f"{between}as does the edge of the aperture at {kink:g} mrad, where the scattering "
            "jumps; simulate with one of them as an edge"
        )
    return None


def _widest_bin(angle_mrad: float) -> float:
    """Widest bin that is interpolated: what is scattered is steep at small angles only."""
    return max(2.0, 0.04 * angle_mrad)


def _subdivided(edges: np.ndarray) -> np.ndarray:
    """Edges of SUBDIVISIONS parts of every bin."""
    parts = np.arange(SUBDIVISIONS) / SUBDIVISIONS
    return np.append((edges[:-1, None] + parts * np.diff(edges)[:, None]).ravel(), edges[-1])


def _is_among(nodes: np.ndarray, x: float) -> bool:
    return bool(np.any(np.isclose(nodes, x, rtol=0, atol=SAME_ANGLE)))


@dataclass(frozen=True)
class ScatteringKernel:
    """Fractions of electrons scattered, by tilt ring, thickness and collection angle.

    Attributes:
        settings: specimen, voltage and mistilt; their aperture and detector are the defaults below.
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

    settings: Settings
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

    def _aperture(self, convergence_mrad: float | None) -> float:
        """The aperture asked for, or that of the settings [mrad]."""
        settings = self.settings
        return float(settings.convergence_mrad if convergence_mrad is None else convergence_mrad)

    def _kink(self, convergence_mrad: float) -> float:
        """Collection angle up to which the unscattered beam reaches [mrad].

        Where an aperture is interpolated, that is the edge of the last ring which takes part.
        """
        edges = self.ring_edges_mrad
        if _is_among(edges, convergence_mrad):
            return convergence_mrad
        return float(edges[_nearest(edges**2, convergence_mrad**2)[-1]])

    def _unscattered_problem(self, field: str, angle: float, convergence: float) -> str | None:
        """Say why an angle cannot be had at an aperture between two rings' edges, or None.

        The integral over the aperture is no smooth function of the aperture there.
        """
        farthest = self._kink(convergence)
        if angle == 0 or angle >= farthest or farthest == convergence:
            return None
        return (
            f"{field} = {angle:g} mrad: at convergence_mrad = {convergence:g} mrad, between two "
            f"edges of this kernel's rings, must be {farthest:g} mrad or more; simulate with "
            "this aperture as an edge"
        )

    def _weighted(self, convergence_mrad: float | None, angle_weights: np.ndarray) -> np.ndarray:
        """Cross-sections [Å²] of every batch and thickness, shape (batches, n)."""
        area = self.settings.column_area_angstrom2
        rings = self._aperture_weights(self._aperture(convergence_mrad))
        return area * np.einsum("brnt,r,t->bn", self.batch_means, rings, angle_weights)

    def _curve(self, batches: np.ndarray, **changes: float | None) -> Curve:
        changed: dict[str, Any] = {f: v for f, v in changes.items() if v is not None}
        n = len(batches)
        modes = (batches - batches.mean(axis=0)) / np.sqrt(n * (n - 1))
        return Curve(
            n_atoms=self.n_atoms,
            ppiscs=batches.mean(axis=0),
            standard_error=np.sqrt(np.sum(modes**2, axis=0)),
            error_modes=modes,
            settings=dataclasses.replace(self.settings, **changed),
            seed=self.seed,
            waves=self.waves,
            batches=len(batches),
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
                interpolate (2 mrad or 4 % of the collection angle, 6 mrad of aperture), or in
                the same bin as the edge of the aperture, or so close to an interpolated aperture
                that the unscattered beam is in the way.
        """
        inner = float(self.settings.inner_mrad) if inner_mrad is None else inner_mrad
        outer = float(self.settings.outer_mrad) if outer_mrad is None else outer_mrad
        edges = self.angle_edges_mrad
        aperture = self._aperture(convergence_mrad)
        kink = self._kink(aperture)
        problems = [
            problem
            for field, x in (("inner_mrad", inner), ("outer_mrad", outer))
            for problem in (
                _interpolation_problem(field, edges, x, _widest_bin(x), kink),
                self._unscattered_problem(field, x, aperture),
            )
        ]
        if inner >= outer:
            problems.append(f"inner_mrad = {inner:g} mrad: must be below {outer:g} mrad")
        if any(problems):
            raise InputError(p for p in problems if p)
        weights = cumulative_weights(edges, outer, kink) - cumulative_weights(edges, inner, kink)
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

        S is integrated over what is scattered into each of SUBDIVISIONS parts of every bin,
        interpolated as in `curve`; the settings' detector angles in the result are the kernel's
        range.

        Raises:
            InputError: as `curve`, where S varies by more than 0.001 of its largest value:
                there the kernel must resolve what is scattered.
        """
        edges = self.angle_edges_mrad
        aperture = self._aperture(convergence_mrad)
        kink = self._kink(aperture)
        fine = _subdivided(edges)
        points, weights = np.polynomial.legendre.leggauss(4)
        theta = fine[:-1, None] + 0.5 * (points + 1) * np.diff(fine)[:, None]
        values = np.asarray(sensitivity(theta), dtype=float)
        mean = values @ weights / 2
        if problems := self._sensitivity_problems(values, aperture):
            raise InputError(problems)
        running = np.array([self._up_to(x, kink) for x in fine])
        return self._curve(
            self._weighted(convergence_mrad, mean @ np.diff(running, axis=0)),
            convergence_mrad=convergence_mrad,
            inner_mrad=float(edges[0]),
            outer_mrad=float(edges[-1]),
        )

    def _up_to(self, x: float, kink: float) -> np.ndarray:
        """Weights of bins in what is scattered up to an angle, also where bins are wide.

        Where a bin cannot be interpolated, the sensitivity is constant, and any split will do.
        """
        edges = self.angle_edges_mrad
        if not _interpolation_problem("", edges, x, _widest_bin(x), kink):
            return cumulative_weights(edges, x, kink)
        return np.clip((x - edges[:-1]) / np.diff(edges), 0, 1)

    def _sensitivity_problems(self, values: np.ndarray, aperture: float) -> list[str]:
        """Bins in which S varies, but the kernel does not resolve what is scattered."""
        edges, kink = self.angle_edges_mrad, self._kink(aperture)
        of_bins = values.reshape(len(edges) - 1, -1)
        tolerance = SAME_SENSITIVITY * np.max(np.abs(values))
        problems = []
        for i in np.flatnonzero(np.ptp(of_bins, axis=1) > tolerance):
            middle = (edges[i] + edges[i + 1]) / 2
            problem = _interpolation_problem(
                "S(θ) varies at θ", edges, middle, _widest_bin(middle), kink
            )
            problems += [problem] if problem else []
        if kink != aperture and np.ptp(of_bins[edges[:-1] < kink]) > tolerance:
            problems.append(
                f"S(θ): varies below {kink:g} mrad; at convergence_mrad = {aperture:g} mrad, "
                "between two edges of this kernel's rings, it must be constant there; simulate "
                "with this aperture as an edge"
            )
        return problems[:3]


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
