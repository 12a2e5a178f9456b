"""Rings of tilts and bins of collection angle: apertures and detectors as weighted sums of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ppiscs_jax.errors import InputError, range_problem

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
class Bins:
    """Edges of rings and bins, and the weights with which an aperture or a detector sums them.

    Attributes:
        ring_edges_mrad: edges of the rings of tilts [mrad], shape (rings + 1,), from 0.
        angle_edges_mrad: edges of the collection-angle bins [mrad], shape (bins + 1,).
    """

    ring_edges_mrad: np.ndarray
    angle_edges_mrad: np.ndarray

    def aperture_weights(self, convergence_mrad: float) -> np.ndarray:
        """Weight of each ring in the mean over an aperture, shape (rings,).

        Raises:
            InputError: the aperture is outside of the rings, or inside too wide a ring.
        """
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

    def detector_weights(
        self, convergence_mrad: float, inner_mrad: float, outer_mrad: float
    ) -> np.ndarray:
        """Weight of each bin in an ideal annular detector, shape (bins,).

        Raises:
            InputError: an angle outside the bins, or between edges too far apart to interpolate
                (2 mrad or 4 % of the collection angle), or in the same bin as the edge of the
                aperture, or so close to an interpolated aperture that the unscattered beam is in
                the way.
        """
        edges, kink = self.angle_edges_mrad, self._kink(convergence_mrad)
        problems = [
            problem
            for field, x in (("inner_mrad", inner_mrad), ("outer_mrad", outer_mrad))
            for problem in (
                _interpolation_problem(field, edges, x, _widest_bin(x), kink),
                self._unscattered_problem(field, x, convergence_mrad),
            )
        ]
        if inner_mrad >= outer_mrad:
            problems.append(f"inner_mrad = {inner_mrad:g} mrad: must be below {outer_mrad:g} mrad")
        if any(problems):
            raise InputError(p for p in problems if p)
        outer, inner = (cumulative_weights(edges, x, kink) for x in (outer_mrad, inner_mrad))
        return outer - inner

    def sensitivity_weights(
        self, convergence_mrad: float, sensitivity: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Weight of each bin in a detector with a radial sensitivity S(θ), shape (bins,).

        S is averaged over each of SUBDIVISIONS parts of every bin. Also gives what it was taken to
        be: the middles of the parts [mrad] and the means there, shape (2, parts).

        Raises:
            InputError: S varies by more than 0.001 of its largest value where the bins do not
                resolve what is scattered.
        """
        kink, fine = self._kink(convergence_mrad), _subdivided(self.angle_edges_mrad)
        points, weights = np.polynomial.legendre.leggauss(4)
        theta = fine[:-1, None] + 0.5 * (points + 1) * np.diff(fine)[:, None]
        values = np.asarray(sensitivity(theta), dtype=float)
        mean = values @ weights / 2
        if problems := self._sensitivity_problems(values, convergence_mrad):
            raise InputError(problems)
        running = np.array([self._up_to(x, kink) for x in fine])
        middles = 0.5 * (fine[:-1] + fine[1:])
        return mean @ np.diff(running, axis=0), np.stack([middles, mean])

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

        The integral over the aperture is not a smooth function of the aperture there.
        """
        farthest = self._kink(convergence)
        if angle == 0 or angle >= farthest or farthest == convergence:
            return None
        return (
            f"{field} = {angle:g} mrad: at convergence_mrad = {convergence:g} mrad, between two "
            f"edges of this kernel's rings, must be {farthest:g} mrad or more; simulate with "
            "this aperture as an edge"
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
