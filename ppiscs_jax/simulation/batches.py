"""Batches of waves, the choice of their size, and the progress of averaging over them."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from ppiscs_jax.progress import time_left
from ppiscs_jax.simulation.kernel import ScatteringKernel
from ppiscs_jax.simulation.plan import Plan

BATCHES = 16
"""Independently scrambled batches: fewer would leave the standard error too uncertain."""

PILOT_IS_ENOUGH = 0.5
AIM = 0.85
RATE = 1.6
"""Choice of the number of waves without biasing the reported error.

Stopping at the first estimate that happens to be small would report errors 15 % too small. So a
pilot of one or a few rounds decides how many the run proper takes, and is then thrown away: the
run's own error takes no part in the choice. The pilot is kept where its error is below
PILOT_IS_ENOUGH of the one asked for, and so leaves no doubt. Otherwise the run aims at AIM of
it, with waves growing like error^−RATE (2 for independent waves, less for Sobol points), and
grows on in the few cases in which that was not enough.
"""


@dataclass(frozen=True)
class SimulationProgress:
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

    def __str__(self) -> str:
        """One line: error now and wanted [%], waves, time left [s]."""
        known = math.isfinite(self.relative_error)
        now = f"{self.relative_error:.2%}" if known else "not known yet"
        left = time_left(self.seconds_left)
        return f"error {now} (target {self.target:.2%}), {self.waves} waves{left}"


@dataclass
class Reporter:
    """Counts what is finished and tells a progress callback.

    Attributes:
        target: the relative error asked for.
        callback: called after every batch; None for nobody.
        error: largest relative error, NaN until the first round ends.
        to_do: cost of the work ahead, in any unit.
    """

    target: float
    callback: Callable[[SimulationProgress], None] | None
    error: float = np.nan
    to_do: float = 0.0
    _waves: int = 0
    _done: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def finished(self, waves: int, cost: float) -> None:
        """Some waves are finished, which were so much of the work ahead."""
        self._waves += waves
        self._done, self.to_do = self._done + cost, self.to_do - cost
        if self.callback:
            # How much work there is becomes known when the first round ends.
            left = (time.monotonic() - self._started) / self._done * self.to_do
            left = np.nan if np.isnan(self.error) else left
            self.callback(SimulationProgress(self._waves, self.error, self.target, left))


Result = TypeVar("Result")


def in_threads(calls: Sequence[Callable[[], Result]], workers: int | None) -> Iterator[Result]:
    """Results of calls in their order, several computed at a time: as many as there are cores."""
    pool = ThreadPoolExecutor(workers or _cores())
    try:
        yield from pool.map(lambda call: call(), calls)
    finally:
        # On an error or Ctrl-C only the calls already running are waited for.
        pool.shutdown(cancel_futures=True)


def kernel_of(plan: Plan, means: np.ndarray, waves: int) -> ScatteringKernel:
    """The kernel with given batch means, shape (batches, rings, n, bins and lost)."""
    return ScatteringKernel(
        element=plan.settings.element,
        zone_axis=plan.settings.zone_axis,
        voltage_kv=float(plan.settings.voltage_kv),
        rmsd_angstrom=float(plan.settings.rmsd_angstrom),
        mistilt_mrad=plan.settings.mistilt_mrad,
        ring_edges_mrad=plan.rings_mrad,
        angle_edges_mrad=plan.angle_edges_mrad,
        batch_means=means[..., :-1],
        lost=means[..., -1].mean(axis=0),
        seed=plan.seed,
        waves=waves,
    )


def _cores() -> int:
    """CPU cores at our disposal."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
