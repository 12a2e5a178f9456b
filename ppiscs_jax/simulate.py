"""From settings to PPISCS with standard errors: the tilt average over plane waves.

In expectation the probe-position integrated cross-section of a laterally infinite crystal is
the column area times the mean, over the tilts inside the aperture, of the fraction that one
tilted plane wave scatters into the detector. Aberrations drop out.
"""

import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ppiscs_jax.errors import InputError, as_numbers, range_problem
from ppiscs_jax.kernel import Curve, ScatteringKernel
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH, sample_tilts
from ppiscs_jax.multislice.wave import Specimen, make_specimen, scatter_batch
from ppiscs_jax.sampling import simulation_grid
from ppiscs_jax.scan import simulate_scan
from ppiscs_jax.settings import Settings

__all__ = ["Progress", "largest_relative_error", "scattering_kernel", "simulate", "simulate_scan"]

BATCHES = 16
"""Independently scrambled batches: fewer would leave the standard error too uncertain."""

WAVES_PER_ROUND = 8
"""Waves of a batch that share a stock of displaced planes; a batch grows by as many."""

LARGEST_STOCK_BYTES = 2**29
"""Larger stocks of displaced planes are not kept: every wave makes its own planes."""

AIM = 0.8
"""The next look at the error is planned for this part of the error asked for. Looking often,
and stopping at the first estimate that happens to be small, would bias the estimate."""


@dataclass(frozen=True)
class Progress:
    """State of a running simulation, given to a progress callback after every batch.

    Attributes:
        waves: waves finished.
        relative_error: largest standard error over value, NaN until the first round ends.
        target: the relative error asked for.
        seconds_left: estimated time left [s], NaN until known.
    """

    waves: int
    relative_error: float
    target: float
    seconds_left: float


def _power_of_two_rings(edges: Iterable[float]) -> np.ndarray:
    """Split the widest rings until their number is a power of two, as Sobol points like it."""
    edges = sorted({0.0, *map(float, edges)})
    while (len(edges) - 1) & (len(edges) - 2):
        widest = int(np.argmax(np.diff(edges)))
        edges.insert(widest + 1, 0.5 * (edges[widest] + edges[widest + 1]))
    return np.array(edges)


@dataclass(frozen=True)
class _Plan:
    """Everything a batch needs, fixed before the first wave."""

    grid: CrystalGrid
    specimen: Specimen
    wedge_deg: tuple[float, float]
    rings_mrad: np.ndarray
    angle_edges_mrad: np.ndarray
    mistilt_mrad: tuple[float, float]
    n_atoms: int
    waves_per_round: int
    seed: int

    def grow(self, batch: int, round_number: int) -> np.ndarray:
        """Sums of a batch's next waves, shape (rings, n, bins and lost)."""
        tilts, ring = sample_tilts(
            self.wedge_deg,
            self.rings_mrad,
            (self.seed, batch),
            round_number * self.waves_per_round,
            self.waves_per_round,
        )
        key = jax.random.fold_in(jax.random.key(self.seed), batch)
        fractions = scatter_batch(
            self.grid,
            self.specimen,
            jax.random.fold_in(key, round_number),
            jnp.asarray(tilts + np.asarray(self.mistilt_mrad), jnp.float32),
            jnp.asarray(self.angle_edges_mrad, jnp.float32),
            jnp.asarray(self.mistilt_mrad, jnp.float32) if any(self.mistilt_mrad) else None,
            n_atoms=self.n_atoms,
            n_planes=self.n_atoms if self.keeps_stock else 0,
            # CPUs are fastest one wave after the other, GPUs with many at once.
            batch_size=None if jax.default_backend() == "cpu" else self.waves_per_round,
        )
        sums = np.zeros(self.sums_shape)
        np.add.at(sums, ring, np.asarray(fractions, dtype=float))
        return sums

    @property
    def keeps_stock(self) -> bool:
        """Whether the displaced planes of a round are kept for all its waves."""
        planes = self.n_atoms * len(self.grid.sites)
        return 8 * planes * math.prod(self.grid.shape) <= LARGEST_STOCK_BYTES

    @property
    def sums_shape(self) -> tuple[int, int, int]:
        return len(self.rings_mrad) - 1, self.n_atoms, len(self.angle_edges_mrad)


def _problems(
    apertures: np.ndarray,
    angle_edges: np.ndarray,
    detectors: np.ndarray,
    n_atoms: int,
    mistilt: float,
    relative_error: float,
    max_waves: int,
    seed: int,
    workers: int | None,
) -> list[str]:
    """What is wrong with the arguments of `scattering_kernel`."""
    found = [range_problem("apertures_mrad", a, 0.5, 100.0, "mrad") for a in apertures]
    found += [range_problem("angle_edges_mrad", a, 0.0, 250.0, "mrad") for a in angle_edges]
    found += [
        range_problem("n_atoms", n_atoms, 1, 1000, "atoms", whole=True),
        range_problem("mistilt_mrad", mistilt, 0.0, 100.0, "mrad"),
        range_problem("relative_error", relative_error, 0.0, 1.0, "", open_low=True),
        range_problem("max_waves", max_waves, 128, 2**40, "waves", whole=True),
        range_problem("seed", seed, 0, 2**32 - 1, "", whole=True),
    ]
    if workers is not None:
        found.append(range_problem("workers", workers, 1, 4096, "", whole=True))
    if len(apertures) == 0:
        found.append("apertures_mrad: must be one or more angles [mrad]")
    if len(angle_edges) < 2 or np.any(np.diff(angle_edges) <= 0):
        found.append("angle_edges_mrad: must be two or more increasing angles [mrad]")
    else:
        low, high = angle_edges[[0, -1]]
        for inner, outer in detectors:
            found.append(range_problem("inner_mrad", inner, low, high, "mrad, the angle edges"))
            found.append(
                range_problem(
                    "outer_mrad", outer, inner, high, "mrad, the angle edges", open_low=True
                )
            )
    return [problem for problem in found if problem]


def scattering_kernel(
    settings: Settings,
    *,
    apertures_mrad: Sequence[float] | None = None,
    angle_edges_mrad: Sequence[float] | np.ndarray | None = None,
    detectors_mrad: Iterable[tuple[float, float]] | None = None,
    n_atoms: int | None = None,
    mistilt_mrad: tuple[float, float] = (0.0, 0.0),
    relative_error: float = 0.005,
    max_waves: int = 1 << 20,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ScatteringKernel:
    """Simulate once for every aperture, detector and radial sensitivity.

    Sixteen independently scrambled Sobol batches of tilted plane waves grow together until the
    largest relative standard error, over all thicknesses and the watched detectors at every
    aperture asked for, is at most `relative_error`. Batches run in threads of their own, in
    float32 and outside of JAX's thread-local contexts.

    Args:
        settings: specimen, voltage, and the default aperture and detector.
        apertures_mrad: convergence semi-angles that will be asked for [mrad]; others between
            two that are at most 6 mrad apart are interpolated. Default: that of the settings.
        angle_edges_mrad: edges of the collection-angle bins [mrad], within 0 … 250. Default:
            every mrad from 0 to 250.
        detectors_mrad: (inner, outer) [mrad] of the detectors whose error is watched. Default:
            that of the settings.
        n_atoms: largest thickness [atoms per column]. Default: 87 for [110], 61 for [100],
            25 nm for [111].
        mistilt_mrad: direction of the optical axis in the crystal's frame, (x, y) [mrad]:
            aperture and detector are centred there instead of on the zone axis.
        relative_error: standard error over value to be reached at every thickness.
        max_waves: stop there, with a warning, even if the error is not reached; at least one
            round of 8 waves a batch is made.
        seed: seed of every random draw; the same seed gives the same numbers.
        workers: batches computed at once. Default: one per CPU core, one on a GPU.
        progress: called with a `Progress` after every batch.

    Returns:
        A ScatteringKernel with the means of every batch.

    Raises:
        InputError: before any work, naming what is out of range.
    """
    if apertures_mrad is None:
        apertures_mrad = [float(settings.convergence_mrad)]
    if angle_edges_mrad is None:
        angle_edges_mrad = np.arange(0.0, 251.0)
    if detectors_mrad is None:
        detectors_mrad = [(float(settings.inner_mrad), float(settings.outer_mrad))]
    if n_atoms is None:
        n_atoms = settings.zone_axis_data.thickest(settings.element_data)
    apertures = np.sort(as_numbers("apertures_mrad", apertures_mrad, (None,), "mrad"))
    angle_edges = as_numbers("angle_edges_mrad", angle_edges_mrad, (None,), "mrad")
    detectors = as_numbers("detectors_mrad", list(detectors_mrad), (None, 2), "mrad")
    axis = as_numbers("mistilt_mrad", mistilt_mrad, (2,), "mrad")
    mistilt = float(np.hypot(*axis))
    problems = _problems(
        apertures,
        angle_edges,
        detectors,
        n_atoms,
        mistilt,
        relative_error,
        max_waves,
        seed,
        workers,
    )
    if problems:
        raise InputError(problems)

    rings = _power_of_two_rings(apertures)
    grid = simulation_grid(settings, angle_edges[-1] + mistilt, n_atoms, apertures[0])
    plan = _Plan(
        grid=grid,
        specimen=make_specimen(settings, grid),
        wedge_deg=WHOLE_AZIMUTH if mistilt else settings.zone_axis_data.wedge_deg,
        rings_mrad=rings,
        angle_edges_mrad=angle_edges,
        mistilt_mrad=(float(axis[0]), float(axis[1])),
        n_atoms=int(n_atoms),
        waves_per_round=max(WAVES_PER_ROUND, len(rings) - 1),
        seed=int(seed),
    )
    kernel, error = _run(
        settings, plan, apertures, detectors, relative_error, max_waves, workers, progress
    )
    if not error <= relative_error:
        warnings.warn(
            f"relative_error = {error:.2g} after {kernel.waves} waves: {relative_error:g} asked "
            f"for, max_waves = {max_waves}",
            stacklevel=2,
        )
    return kernel


def _run(
    settings: Settings,
    plan: _Plan,
    apertures: np.ndarray,
    detectors: np.ndarray,
    relative_error: float,
    max_waves: int,
    workers: int | None,
    progress: Callable[[Progress], None] | None,
) -> tuple[ScatteringKernel, float]:
    """Grow the batches until the error is small enough; the kernel and its error."""
    sums = np.zeros((BATCHES, *plan.sums_shape))
    rounds, error, started = 0, np.nan, time.monotonic()
    most_rounds = max(1, max_waves // (BATCHES * plan.waves_per_round))
    next_look = 1
    pool = ThreadPoolExecutor(workers or _default_workers())
    try:
        while True:
            for round_number in range(rounds, next_look):
                jobs = [pool.submit(plan.grow, b, round_number) for b in range(BATCHES)]
                for batch, job in enumerate(jobs):
                    sums[batch] += job.result()
                    if progress:
                        finished = round_number * BATCHES + batch + 1
                        seconds = (time.monotonic() - started) / finished
                        # Errors fall at least as fast as 1 / √waves.
                        needed = rounds * max((error / (AIM * relative_error)) ** 2, 1.0)
                        left = seconds * max(BATCHES * max(needed, next_look) - finished, 0)
                        waves = finished * plan.waves_per_round
                        progress(Progress(waves, error, relative_error, left if rounds else np.nan))
            rounds = next_look
            kernel = _kernel(settings, plan, sums, rounds)
            error = largest_relative_error(kernel, apertures, detectors)
            if error <= relative_error or rounds >= most_rounds:
                return kernel, error
            needed = math.ceil(rounds * (error / (AIM * relative_error)) ** 2)
            next_look = min(max(needed, rounds + 1), 2 * rounds, most_rounds)
    finally:
        # On an error or Ctrl-C only the batches already running are waited for.
        pool.shutdown(cancel_futures=True)


def _kernel(settings: Settings, plan: _Plan, sums: np.ndarray, rounds: int) -> ScatteringKernel:
    """The kernel of so many rounds, from its batches' sums."""
    waves = rounds * plan.waves_per_round
    means = sums / (waves / (len(plan.rings_mrad) - 1))
    return ScatteringKernel(
        settings=settings,
        ring_edges_mrad=plan.rings_mrad,
        angle_edges_mrad=plan.angle_edges_mrad,
        batch_means=means[..., :-1],
        lost=means[..., -1].mean(axis=0),
        mistilt_mrad=plan.mistilt_mrad,
        seed=plan.seed,
        waves=BATCHES * waves,
    )


def _default_workers() -> int:
    """One batch at a time for every CPU core at our disposal; one on a GPU."""
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def simulate(
    settings: Settings,
    relative_error: float = 0.005,
    seed: int = 0,
    *,
    n_atoms: int | None = None,
    mistilt_mrad: tuple[float, float] = (0.0, 0.0),
    max_waves: int = 1 << 20,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Curve:
    """PPISCS against thickness, converged, to a given relative standard error at every n.

    Args:
        settings: specimen and microscope.
        relative_error: standard error over value to be reached at every thickness.
        seed: seed of every random draw; the same seed gives the same numbers.
        n_atoms: largest thickness [atoms per column].
        mistilt_mrad: direction of the optical axis in the crystal's frame, (x, y) [mrad].
        max_waves: stop there even if the error is not reached.
        workers: batches computed at once.
        progress: called with a `Progress` after every batch.

    Returns:
        A Curve: ppiscs (n,) [Å²], standard_error (n,) [Å²], n_atoms, settings, seed, waves.

    Raises:
        InputError: before any work, naming what is out of range.
    """
    kernel = scattering_kernel(
        settings,
        angle_edges_mrad=[float(settings.inner_mrad), float(settings.outer_mrad)],
        n_atoms=n_atoms,
        mistilt_mrad=mistilt_mrad,
        relative_error=relative_error,
        max_waves=max_waves,
        seed=seed,
        workers=workers,
        progress=progress,
    )
    return kernel.curve()
