"""Averages over levels of band limit, until the error asked for is reached."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np

from ppiscs_jax.simulation import accelerator
from ppiscs_jax.simulation.batches import (
    AIM,
    BATCHES,
    PILOT_IS_ENOUGH,
    RATE,
    Reporter,
    SimulationProgress,
    in_threads,
    kernel_of,
)
from ppiscs_jax.simulation.grids import on_accelerator
from ppiscs_jax.simulation.kernel import ScatteringKernel, limits_and_noise
from ppiscs_jax.simulation.levels import ROUNDS_TOGETHER, Level, grids_reaching, levels_of
from ppiscs_jax.simulation.plan import Plan

CONTINUED = 4
"""The pilot of a fine level is continued where less than so many times its waves are wanted.

Its variance then has a part in the choice, but a small one: if all of a level's number of waves
followed from its pilot, which is a share f of them, its variance would on average be reported
0.15 f too small (15 degrees of freedom), and a fine level has only a part of the variance.
"""

TILTED = 1.1
TILTED_RATE = 2.0
"""Where plain means of the coarsest level vary so many times as much as corrected ones, tilts are
what makes it vary. Its variance then falls like waves^−TILTED_RATE or faster, at up to some hundred
waves a batch, because the tilts become denser and the polynomials more.
"""

PILOT_ROUNDS = 4
LOW_NOISE = 3e-3
"""Rounds of a pilot for noise limits below LOW_NOISE: with one wave per ring and batch, it would
overestimate how much tilts add to the noise of many waves. One round serves for higher limits."""

Watch = Callable[[ScatteringKernel], tuple[np.ndarray, np.ndarray]]
"""Values and standard errors of all that is watched, from a kernel; any shape, (…, n)."""


@dataclass
class Average:
    """The waves of one level that have been averaged so far.

    Attributes:
        level: the level.
        batches: numbers of its batches.
        sums: over the waves of every batch, as `Plan.grow` returns them.
        rounds: how many rounds have been added to the sums.
    """

    level: Level
    batches: range
    sums: np.ndarray
    rounds: int = 0

    @classmethod
    def of(cls, level: Level, first_batch: int) -> Self:
        """Nothing yet, in batches that begin at a number within the level."""
        first = level.first_batch + first_batch
        shape = (BATCHES, *level.plan.sums_shape)
        return cls(level, range(first, first + BATCHES), np.zeros(shape))

    @property
    def waves(self) -> float:
        """Waves of a batch, on average over batches."""
        return self.rounds * self.level.step

    @property
    def means(self) -> np.ndarray:
        """Batch means of what goes into every bin or is lost, (batches, rings, n, bins + 1)."""
        level = self.level
        return level.every * level.plan.means(self.sums, self.batches, self.rounds)

    @property
    def plain_means(self) -> np.ndarray:
        """Batch means that the polynomials of the tilts do not correct."""
        plain = dataclasses.replace(self.level.plan, tilt_order=0)
        return self.level.every * plain.means(self.sums, self.batches, self.rounds)


def run_levels(
    levels: Sequence[Level],
    watch: Watch,
    target: float,
    max_waves: int,
    workers: int | None = None,
    progress: Callable[[SimulationProgress], None] | None = None,
    accelerated: bool | None = None,
    pilot_rounds: int = 1,
) -> tuple[ScatteringKernel, float]:
    """Average over levels until the largest relative standard error is at most `target`.

    The error of the run itself takes no part in the choice of its number of waves (see
    `batches.PILOT_IS_ENOUGH`). A pilot of one round of every level, of the coarsest `pilot_rounds`,
    decides how many waves each level gets: those that reach the target at the least cost. The
    coarsest level, which decides most of the error, then starts again, unless its pilot is all that
    it needs and leaves an error below PILOT_IS_ENOUGH of the target. Fine levels, whose waves are
    dear and few, continue their pilots (see CONTINUED).

    `accelerated` says whether a round of all batches is computed in one call (`accelerator.grow`)
    or batch by batch in threads; by default the former, except on CPUs.

    Returns:
        The kernel, whose batch means are sums over levels, and its error, which is above the
        target where `max_waves` were not enough.
    """
    if accelerated is None:
        accelerated = on_accelerator()
    reporter = Reporter(target, progress)
    averages = [Average.of(level, 0) for level in levels]

    def grow(rounds: Sequence[int]) -> None:
        if accelerated:
            _grow_together(averages, rounds, reporter)
        else:
            _grow_in_threads(averages, rounds, reporter, workers)

    _compile(levels, workers, accelerated)
    most = max_waves / BATCHES
    first = max(1, min(pilot_rounds, int(most / levels[0].step)))
    grow([first] + [1] * (len(levels) - 1))
    pilot = True
    while True:
        kernel = _kernel(averages)
        error = float(np.sqrt(np.max(_relative_variance(watch, kernel, kernel))))
        reporter.error = error
        spent = sum(average.waves for average in averages) >= most
        if error <= (PILOT_IS_ENOUGH if pilot else 1) * target or spent:
            return kernel, error
        parts = [_relative_variance(watch, _kernel([a]), kernel) for a in averages]
        variances = np.array(parts) * (error**2 / np.max(np.sum(parts, axis=0)))
        rates = np.ones(variances.shape)
        rates[0] = _rate_of_coarsest(watch, averages[0], kernel, parts[0])
        wanted = share_waves(
            levels,
            variances,
            rates,
            [average.waves for average in averages],
            (AIM * target) ** 2,
            most,
        )
        if pilot:
            enough = (PILOT_IS_ENOUGH * target) ** 2
            for i, (average, waves) in enumerate(zip(averages, wanted, strict=True)):
                if average.level.coarser:
                    restarted = waves >= CONTINUED * average.waves
                else:
                    restarted = waves > average.waves or np.max(variances[i]) > enough
                if restarted:
                    level = average.level.with_waves(waves, few_programs=accelerated)
                    averages[i] = Average.of(level, BATCHES)
            pilot = False
        rounds = [
            max(0, math.ceil(waves / average.level.step - 1e-9) - average.rounds)
            for average, waves in zip(averages, wanted, strict=True)
        ]
        if not any(rounds):
            return kernel, error
        grow(rounds)


def kernel_to_noise(
    plan: Plan,
    limits: Iterable[tuple[float, float, float, float]],
    max_waves: int,
    *,
    kept_rings_mrad: np.ndarray | None = None,
    control: bool = True,
    workers: int | None = None,
) -> ScatteringKernel:
    """The kernel of a plan, with all its angles, and with waves enough for limits of its noise.

    Most waves are computed on a grid that just holds all angles, a few on that and on the plan's.

    Args:
        plan: on the converged grid.
        limits: apertures, detectors and their limits, as of `limits_and_noise`.
        max_waves: stop there, even if the noise is above the limits.
        kept_rings_mrad: edges of the rings that the kernel keeps. Default: those of the plan.
        control: as of `levels_of`.
        workers: batches computed at once.
    """
    limits = list(limits)

    def kept(kernel: ScatteringKernel) -> ScatteringKernel:
        return kernel if kept_rings_mrad is None else kernel.with_rings(kept_rings_mrad)

    low = min(limit for *_, limit in limits) < LOW_NOISE
    grids = grids_reaching(plan.settings, plan.grid, float(plan.angle_edges_mrad[-1]))
    kernel, _ = run_levels(
        levels_of([plan.on(grid) for grid in grids], control=control),
        lambda kernel: limits_and_noise(kept(kernel), limits),
        1.0,
        max_waves,
        workers,
        pilot_rounds=PILOT_ROUNDS if low else 1,
    )
    return kept(kernel)


def _compile(levels: Sequence[Level], workers: int | None, accelerated: bool) -> None:
    """Compile the programs of all levels side by side, each of them once."""
    calls: dict[tuple, Callable[[], None]] = {}
    for level in levels:
        for plan in level.plans:
            program = plan.grid.shape, plan.grid.slices_per_atom, plan.n_planes
            if accelerated:
                # In a program for the device every size has its place.
                batches = range(0, BATCHES, level.every)
                work = partial(accelerator.compile_rounds, plan, batches, ROUNDS_TOGETHER)
                sums = accelerator.room_for_sums(plan)
                calls[*program, plan.waves_per_round, len(batches), sums] = work
            else:
                calls[program] = plan.compile
    list(in_threads(list(calls.values()), workers))


def share_waves(
    levels: Sequence[Level],
    variances: np.ndarray,
    rates: np.ndarray,
    waves: Sequence[float],
    goal: float,
    most: float,
) -> list[float]:
    """Waves of a batch for every level with which the variance reaches a goal at least cost.

    From the waves at hand on, step by step, each to the level that takes most off the largest
    variance for its cost.

    Args:
        levels: the levels.
        variances: what each level contributes to the variance of all that is watched with the
            waves at hand, (levels, …).
        rates: exponents r of the law waves^−r by which they fall, (levels, …).
        waves: the waves of a batch at hand, on average over batches.
        goal: variance wanted of everything.
        most: waves of a batch on all levels together that are not exceeded.
    """
    flat, rates = (values.reshape(len(levels), -1) for values in (variances, rates))
    steps = [level.step for level in levels]
    wanted = list(waves)
    while True:
        expected = flat * np.divide(waves, wanted)[:, None] ** rates
        worst = np.argmax(expected.sum(axis=0))
        if expected[:, worst].sum() <= goal:
            return wanted
        gains, more = [], []
        for i, (level, now) in enumerate(zip(levels, wanted, strict=True)):
            after = now + steps[i] * max(1, now // (20 * steps[i]))
            saved = expected[i, worst] * (1 - (now / after) ** rates[i, worst])
            gains.append(saved / (level.cost(after) - level.cost(now)))
            more.append(after)
        best = int(np.argmax(gains))
        if sum(wanted) - wanted[best] + more[best] > most:
            return wanted
        wanted[best] = more[best]


def _rate_of_coarsest(
    watch: Watch, average: Average, kernel: ScatteringKernel, variance: np.ndarray
) -> np.ndarray:
    """By which power of the number of waves the coarsest level's variance of what is watched falls.

    That of differences falls like 1 / waves: they gain little from Sobol points.
    """
    usual = np.full(variance.shape, 2 / RATE)
    if not average.level.plan.tilt_order:
        return usual
    waves = round(BATCHES * average.waves)
    plain = kernel_of(average.level.plan, average.plain_means, waves)
    tilted = _relative_variance(watch, plain, kernel) > TILTED * variance
    return np.where(tilted, TILTED_RATE, usual)


def _relative_variance(watch: Watch, part: ScatteringKernel, whole: ScatteringKernel) -> np.ndarray:
    """Variance that a part of the sum contributes to all that is watched, over value²."""
    (values, _), (_, errors) = watch(whole), watch(part)
    # A detector that nothing reaches has no error.
    return np.square(errors / np.where(errors > 0, np.abs(values), 1))


def _kernel(averages: Sequence[Average]) -> ScatteringKernel:
    """The kernel whose batches are the sums of the levels' batches."""
    means = np.sum([average.means for average in averages], axis=0)
    waves = round(BATCHES * sum(average.waves for average in averages))
    return kernel_of(averages[-1].level.plan, means, waves)


def _grow_together(averages: Sequence[Average], rounds: Sequence[int], reporter: Reporter) -> None:
    """Add so many rounds to each average, a round of all batches in one call."""
    reporter.to_do += sum(
        more * len(average.batches[:: average.level.every]) * _cost(average.level)
        for average, more in zip(averages, rounds, strict=True)
    )
    for average, more in zip(averages, rounds, strict=True):
        if more:
            level, numbers = average.level, range(average.rounds, average.rounds + more)

            def report(batches: int, level: Level = level) -> None:
                waves = batches * level.plan.waves_per_round
                reporter.finished(waves, batches * _cost(level))

            batches = average.batches[:: level.every]
            average.sums[:: level.every] += level.grow_together(batches, numbers, report)
            average.rounds += more


def _cost(level: Level) -> float:
    """Cost of a round of one batch."""
    return level.cost(level.plan.waves_per_round)


def _grow_in_threads(
    averages: Sequence[Average], rounds: Sequence[int], reporter: Reporter, workers: int | None
) -> None:
    """Add so many rounds to each average, several batches at a time."""
    # Fine levels come first, because they take the longest: all threads then finish together.
    jobs = [
        (average, i, average.rounds + more)
        for average, add in reversed(list(zip(averages, rounds, strict=True)))
        for more in range(add)
        for i in range(0, BATCHES, average.level.every)
    ]
    costs = [_cost(average.level) for average, *_ in jobs]
    reporter.to_do += sum(costs)
    calls = [partial(average.level.grow, average.batches[i], r) for average, i, r in jobs]
    sums = in_threads(calls, workers)
    for (average, i, _), cost, added in zip(jobs, costs, sums, strict=True):
        average.sums[i] += added
        reporter.finished(average.level.plan.waves_per_round, cost)
    for average, add in zip(averages, rounds, strict=True):
        average.rounds += add
