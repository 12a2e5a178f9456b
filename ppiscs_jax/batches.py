"""Batches of waves that grow together until the error asked for is reached."""

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import numpy as np

from ppiscs_jax import accelerator
from ppiscs_jax.kernel import ScatteringKernel
from ppiscs_jax.plan import Plan
from ppiscs_jax.settings import Settings

BATCHES = 16
"""Independently scrambled batches: fewer would leave the standard error too uncertain."""

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


def run_to_error(
    settings: Settings,
    plan: Plan,
    error_of: Callable[[ScatteringKernel], float],
    target: float,
    max_waves: int,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    accelerated: bool | None = None,
) -> tuple[ScatteringKernel, float]:
    """Pilot and run proper (see PILOT_IS_ENOUGH) until `error_of` the kernel is at most `target`.

    `accelerated` says whether whole rounds are computed in one call (`accelerator.grow`) or
    batch by batch in threads; by default the former, except on CPUs.

    Returns:
        The kernel and its error, which is above the target where `max_waves` were not enough.
    """
    if accelerated is None:
        accelerated = jax.default_backend() != "cpu"
    most_rounds = max(1, max_waves // (BATCHES * plan.waves_per_round))
    started, finished, error = time.monotonic(), 0, np.nan

    def grow(sums: np.ndarray, first_batch: int, rounds: range) -> tuple[ScatteringKernel, float]:
        nonlocal error
        to_do = BATCHES * len(rounds)

        def report(batches: int) -> None:
            nonlocal finished, to_do
            finished, to_do = finished + batches, to_do - batches
            if progress:
                left = (time.monotonic() - started) / finished * to_do if first_batch else np.nan
                progress(Progress(finished * plan.waves_per_round, error, target, left))

        numbers = range(first_batch, first_batch + BATCHES)
        if accelerated:
            sums += accelerator.grow(plan, numbers, rounds, report)
        else:
            sums += _grow_in_threads(plan, numbers, rounds, report, workers)
        kernel = _to_kernel(settings, plan, sums, rounds.stop)
        error = error_of(kernel)
        return kernel, error

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


def _grow_in_threads(
    plan: Plan, batches: range, rounds: range, report: Callable[[int], None], workers: int | None
) -> np.ndarray:
    """Sums of the waves of some rounds of all batches, several batches at a time."""
    sums = np.zeros((len(batches), *plan.sums_shape))
    pool = ThreadPoolExecutor(workers or _cores())
    try:
        for round_number in rounds:
            jobs = [pool.submit(plan.grow, batch, round_number) for batch in batches]
            for batch, job in enumerate(jobs):
                sums[batch] += job.result()
                report(1)
    finally:
        # On an error or Ctrl-C only the batches already running are waited for.
        pool.shutdown(cancel_futures=True)
    return sums


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


def _cores() -> int:
    """CPU cores at our disposal."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
