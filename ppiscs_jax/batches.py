"""Batches of waves that grow together until the error asked for is reached."""

import math
import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from ppiscs_jax.kernel import ScatteringKernel
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH, sample_tilts
from ppiscs_jax.multislice.wave import Specimen, make_specimen, scatter_batch
from ppiscs_jax.settings import Settings

BATCHES = 16
"""Independently scrambled batches: fewer would leave the standard error too uncertain."""

WAVES_PER_ROUND = 8
"""Waves of a batch that share a stock of displaced planes; a batch grows by as many."""

LARGEST_STOCK_BYTES = 2**29
"""Larger stocks of displaced planes are not kept: every wave makes its own planes."""

PILOT_IS_ENOUGH = 0.5
AIM = 0.85
RATE = 1.6
"""How the number of waves is chosen without biasing the error that is reported.

Stopping at the first estimate that happens to be small would report errors 15 % too small. So a
pilot of one round decides how many rounds the run proper takes, and is then thrown away: the
run's own error takes no part in the choice. The pilot is kept where its error is below
PILOT_IS_ENOUGH of the one asked for, and so leaves no doubt. Otherwise the run aims at AIM of
it, with waves growing like error^−RATE (2 for independent waves, less for Sobol points), and
grows on in the few cases in which that was not enough.
"""


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


def power_of_two_rings(edges: Iterable[float]) -> np.ndarray:
    """Split the widest rings until their number is a power of two, as Sobol points like it."""
    edges = sorted({0.0, *map(float, edges)})
    while (len(edges) - 1) & (len(edges) - 2):
        widest = int(np.argmax(np.diff(edges)))
        edges.insert(widest + 1, 0.5 * (edges[widest] + edges[widest + 1]))
    return np.array(edges)


@dataclass(frozen=True)
class Plan:
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

    @classmethod
    def of(
        cls,
        settings: Settings,
        grid: CrystalGrid,
        rings_mrad: np.ndarray,
        angle_edges_mrad: np.ndarray,
        n_atoms: int,
        seed: int,
        mistilt_mrad: tuple[float, float] = (0.0, 0.0),
    ) -> Self:
        """The plan for settings on a grid: at least one wave a ring in each round."""
        return cls(
            grid=grid,
            specimen=make_specimen(settings, grid),
            wedge_deg=WHOLE_AZIMUTH if any(mistilt_mrad) else settings.zone_axis_data.wedge_deg,
            rings_mrad=rings_mrad,
            angle_edges_mrad=angle_edges_mrad,
            mistilt_mrad=mistilt_mrad,
            n_atoms=n_atoms,
            waves_per_round=max(WAVES_PER_ROUND, len(rings_mrad) - 1),
            seed=seed,
        )

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
        """Rings, thicknesses, bins and what is lost."""
        return len(self.rings_mrad) - 1, self.n_atoms, len(self.angle_edges_mrad)


def run_to_error(
    settings: Settings,
    plan: Plan,
    error_of: Callable[[ScatteringKernel], float],
    target: float,
    max_waves: int,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[ScatteringKernel, float]:
    """Pilot and run proper (see PILOT_IS_ENOUGH) until `error_of` the kernel is at most `target`.

    Returns:
        The kernel and its error, which is above the target where `max_waves` were not enough.
    """
    most_rounds = max(1, max_waves // (BATCHES * plan.waves_per_round))
    pool = ThreadPoolExecutor(workers or _default_workers())
    started, finished, error = time.monotonic(), 0, np.nan

    def grow(sums: np.ndarray, first_batch: int, rounds: range) -> tuple[ScatteringKernel, float]:
        nonlocal finished, error
        for round_number in rounds:
            numbers = range(first_batch, first_batch + BATCHES)
            jobs = [pool.submit(plan.grow, b, round_number) for b in numbers]
            for batch, job in enumerate(jobs):
                sums[batch] += job.result()
                finished += 1
                if progress:
                    to_do = BATCHES * (rounds.stop - round_number) - batch - 1
                    left = (time.monotonic() - started) / finished * to_do
                    waves = finished * plan.waves_per_round
                    left = left if first_batch else np.nan
                    progress(Progress(waves, error, target, left))
        kernel = _to_kernel(settings, plan, sums, rounds.stop)
        error = error_of(kernel)
        return kernel, error

    try:
        shape = (BATCHES, *plan.sums_shape)
        kernel, error = grow(np.zeros(shape), 0, range(1))
        if error <= PILOT_IS_ENOUGH * target or most_rounds == 1:
            return kernel, error
        sums, done = np.zeros(shape), 0
        wanted = math.ceil((error / (AIM * target)) ** RATE)
        while True:
            rounds = min(max(wanted, done + 1), most_rounds)
            kernel, error = grow(sums, BATCHES, range(done, rounds))
            if error <= target or rounds == most_rounds:
                return kernel, error
            done, wanted = rounds, math.ceil(rounds * (error / (AIM * target)) ** RATE)
    finally:
        # On an error or Ctrl-C only the batches already running are waited for.
        pool.shutdown(cancel_futures=True)


def _to_kernel(settings: Settings, plan: Plan, sums: np.ndarray, rounds: int) -> ScatteringKernel:
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
