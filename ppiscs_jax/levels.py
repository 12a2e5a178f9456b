"""Levels of band limit: many waves on a coarse grid, a few that correct them on the fine one.

Nearly all of the variance of a cross-section is already in a grid too coarse to be converged.
With P₀, P₁, … the fraction that one wave scatters, computed on grids of rising band limit,

    ⟨P_L⟩ = ⟨P₀⟩ + ⟨P₁ − P₀⟩ + … + ⟨P_L − P_{L−1}⟩,

and each term may be averaged over waves of its own, as few as its variance allows. In a
difference both grids see the same tilt and the same displaced atoms, so that its variance is
small. The sum is the value of the finest grid, without bias, whatever the coarse ones leave out
(Giles, Oper. Res. 56 (2008) 607). docs/physics.md has the derivation.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import jax
import numpy as np

from ppiscs_jax.batches import (
    AIM,
    BATCHES,
    PILOT_IS_ENOUGH,
    RATE,
    Progress,
    Reporter,
    in_threads,
    kernel_of,
)
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.kernel import ScatteringKernel
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.plan import WAVES_PER_ROUND, Plan
from ppiscs_jax.sampling import coarse_band_limit_inv_angstrom
from ppiscs_jax.settings import Settings

Watch = Callable[[ScatteringKernel], tuple[np.ndarray, np.ndarray]]
"""Values and standard errors of all that is watched, from a kernel; any shape, (…, n)."""


@dataclass(frozen=True)
class Level:
    """One term of the sum: a plan, less the same waves on the next coarser grid.

    Attributes:
        plan: what is computed on the level's own grid.
        coarser: the plan that is subtracted; None on the coarsest level.
        first_batch: number of its first batch; the batches of two levels are independent.
        every: only every so many batches get waves of this level, which then count as many times.
            The mean stays unbiased, and the spread of the batches is at least as large as it
            should be (docs/physics.md).
    """

    plan: Plan
    coarser: Plan | None
    first_batch: int
    every: int = 1

    def grow(self, batch: int, round_number: int) -> np.ndarray:
        """Sums of a batch's next waves, as `Plan.grow`."""
        sums = self.plan.grow(batch, round_number)
        return sums if self.coarser is None else sums - self.coarser.grow(batch, round_number)

    def with_waves(self, waves: float) -> Self:
        """The same level in rounds, and in batches, that suit so many waves of a batch."""
        rings = len(self.plan.rings_mrad) - 1
        every = 2 ** max(0, int(math.log2(rings / waves)))
        size = max(rings, min(self.plan.room, 2 ** int(math.log2(waves * every))))
        plan = dataclasses.replace(self.plan, waves_per_round=size)
        coarser = self.coarser and dataclasses.replace(self.coarser, waves_per_round=size)
        return dataclasses.replace(self, plan=plan, coarser=coarser, every=every)

    @property
    def plans(self) -> list[Plan]:
        """What is computed for each wave."""
        return [self.plan] if self.coarser is None else [self.plan, self.coarser]

    @property
    def step(self) -> float:
        """Waves of a batch in one round, on average over batches."""
        return self.plan.waves_per_round / self.every

    def cost(self, waves: float) -> float:
        """Cost of so many waves of a batch, in pixels · slices, with the slices they share."""
        grids = [plan.grid for plan in self.plans]
        pixels = self.plan.n_atoms * sum(g.slices_per_atom * math.prod(g.shape) for g in grids)
        shared = max(min(waves, 1.0), waves / self.plan.room)
        return pixels * (waves + (shared if self.plan.n_planes else waves))


COMPILE_COST = 3e8
"""Pixels · slices of waves that take as long as compiling a program: a few seconds of a core."""

LEVEL_SHARE = 0.1
"""Waves that a level usually gets, over those of the next coarser one."""

MOST_LAYERS_PER_SLICE = 2
"""Atomic layers that a slice of the coarsest grid may hold."""

PILOT_ERROR = 0.009
PILOT_ERROR_THIN = 0.002
"""Usual relative error of 128 waves: PILOT_ERROR_THIN · √n, at most PILOT_ERROR."""


TRUNCATION_ERROR = 1e-3
TOP_FACTOR = 1.5
"""Below this relative error what the band limit truncates might count. Several levels then get
one more on top, with so many times the converged band limit: its few waves put the truncation and
its uncertainty into the result."""


def level_grids(
    settings: Settings,
    fine: CrystalGrid,
    detectors_mrad: np.ndarray,
    outer_mrad: float,
    n_atoms: int,
    relative_error: float,
    max_waves: int,
) -> list[CrystalGrid]:
    """Grids of rising band limit, for the levels with which an error probably costs the least.

    Only the converged one where so few waves are expected that compiling a second program takes
    longer than the waves that it saves.

    Args:
        settings: specimen and microscope.
        fine: the grid on which curves are converged.
        detectors_mrad: inner and outer angles of the detectors that are watched [mrad].
        outer_mrad: largest angle that is kept [mrad].
        n_atoms: largest thickness [atoms per column].
        relative_error: the error asked for.
        max_waves: the most waves that are computed.
    """
    a = settings.element_data.lattice_angstrom
    band_limit = coarse_band_limit_inv_angstrom(settings, detectors_mrad, outer_mrad, n_atoms)
    layers = len(fine.sites)
    coarse = fine.resampled(band_limit * a, layers if layers <= MOST_LAYERS_PER_SLICE else 1)
    with jax.ensure_compile_time_eval():
        edge = 1e-3 * outer_mrad / float(wavelength_angstrom(settings.voltage_kv))
    middle = fine.resampled(max(band_limit, edge) * a)

    waves = float(BATCHES * WAVES_PER_ROUND)
    usual = min(PILOT_ERROR, PILOT_ERROR_THIN * math.sqrt(n_atoms))
    if usual > PILOT_IS_ENOUGH * relative_error:
        waves += min(waves * (usual / relative_error) ** RATE, max_waves)
    choices = [[fine], [coarse, fine], [coarse, middle, fine]]
    grids = min(choices, key=lambda grids: _expected_cost(grids, n_atoms, waves))
    if len(grids) > 1 and relative_error < TRUNCATION_ERROR:
        grids.append(fine.resampled(TOP_FACTOR * fine.band_limit))
    return grids


def _expected_cost(grids: Sequence[CrystalGrid], n_atoms: int, waves: float) -> float:
    """Cost in pixels · slices of so many waves on the first grid and of what corrects them."""
    total = COMPILE_COST * len(grids)
    below = 0.0
    for grid in grids:
        pixels = float(n_atoms * grid.slices_per_atom * math.prod(grid.shape))
        sharing = min(WAVES_PER_ROUND, waves / BATCHES)
        total += (pixels + below) * waves * (1 + 1 / sharing)
        below, waves = pixels, max(BATCHES, LEVEL_SHARE * waves)
    return total


SPARED = 4
"""Share of the batches, one in so many, that get waves of levels that hardly vary."""


def levels_of(plans: Sequence[Plan], *, spared: bool = False) -> list[Level]:
    """The levels of plans that differ by their grids alone, the coarsest first.

    A difference gets rounds of one wave a ring: few waves are wanted of it.

    Args:
        plans: what is computed, on grids of rising band limit.
        spared: whether levels from the third on begin in one batch of SPARED. The first difference
            holds nearly all that the coarsest grid lacks; the next ones hardly vary.
    """
    levels = [Level(plans[0], None, 0)]
    rings = len(plans[0].rings_mrad) - 1
    for number, (coarser, plan) in enumerate(itertools.pairwise(plans), 1):
        # One stock or none for both grids: their waves then select the same repeats.
        coarser = dataclasses.replace(coarser, n_planes=plan.n_planes)
        level = Level(plan, coarser, 2 * BATCHES * number)
        levels.append(level.with_waves(rings / SPARED if spared and number > 1 else rings))
    return levels


@dataclass
class _Average:
    """The waves of one level that have been averaged so far."""

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
        return self.sums * ((len(self.level.plan.rings_mrad) - 1) / self.waves)


def run_levels(
    settings: Settings,
    levels: Sequence[Level],
    watch: Watch,
    target: float,
    max_waves: int,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[ScatteringKernel, float]:
    """Average over levels until the largest relative standard error is at most `target`.

    As in `batches.run_to_error`, the error of the run itself takes no part in the choice of its
    number of waves. A pilot of one round of every level decides how many waves each level gets:
    those that reach the target at the least cost. The pilot of a level is kept where it is all
    that the level needs and its own error is below PILOT_IS_ENOUGH of the target, which is so
    on most fine levels. Other levels begin anew.

    Returns:
        The kernel, whose batch means are sums over levels, and its error, which is above the
        target where `max_waves` were not enough.
    """
    reporter = Reporter(target, progress)
    averages = [_Average.of(level, 0) for level in levels]
    # Programs are compiled side by side, each of them once.
    programs = {
        (plan.grid.shape, plan.grid.slices_per_atom, plan.n_planes): plan
        for level in levels
        for plan in level.plans
    }
    list(in_threads([plan.compile for plan in programs.values()], workers))
    _grow(averages, [1] * len(levels), reporter, workers)
    pilot = True
    while True:
        kernel = _kernel(settings, averages)
        error = float(np.sqrt(np.max(_relative_variance(watch, kernel, kernel))))
        reporter.error = error
        if error <= (PILOT_IS_ENOUGH if pilot else 1) * target:
            return kernel, error
        parts = [_relative_variance(watch, _kernel(settings, [a]), kernel) for a in averages]
        variances = np.array(parts) * (error**2 / np.max(np.sum(parts, axis=0)))
        wanted = share_waves(
            levels,
            variances,
            [average.waves for average in averages],
            (AIM * target) ** 2,
            max_waves / BATCHES,
        )
        if pilot:
            enough = (PILOT_IS_ENOUGH * target) ** 2
            for i, (average, waves) in enumerate(zip(averages, wanted, strict=True)):
                if waves > average.waves or np.max(variances[i]) > enough:
                    averages[i] = _Average.of(average.level.with_waves(waves), BATCHES)
            pilot = False
        rounds = [
            max(0, math.ceil(waves / average.level.step - 1e-9) - average.rounds)
            for average, waves in zip(averages, wanted, strict=True)
        ]
        if not any(rounds):
            return kernel, error
        _grow(averages, rounds, reporter, workers)


def share_waves(
    levels: Sequence[Level],
    variances: np.ndarray,
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
            waves at hand, (levels, …). They fall as waves^(−2 / RATE) on the coarsest level and
            as 1 / waves on the others, whose differences gain little from Sobol points.
        waves: the waves of a batch at hand, on average over batches.
        goal: variance wanted of everything.
        most: waves of a batch on all levels together that are not exceeded.
    """
    flat = variances.reshape(len(levels), -1)
    rates = np.array([2 / RATE] + [1.0] * (len(levels) - 1))
    steps = [level.step for level in levels]
    wanted = list(waves)
    while True:
        expected = flat * (np.divide(waves, wanted) ** rates)[:, None]
        worst = np.argmax(expected.sum(axis=0))
        if expected[:, worst].sum() <= goal:
            return wanted
        gains, more = [], []
        for i, (level, now) in enumerate(zip(levels, wanted, strict=True)):
            after = now + steps[i] * max(1, now // (20 * steps[i]))
            saved = expected[i, worst] * (1 - (now / after) ** rates[i])
            gains.append(saved / (level.cost(after) - level.cost(now)))
            more.append(after)
        best = int(np.argmax(gains))
        if sum(wanted) - wanted[best] + more[best] > most:
            return wanted
        wanted[best] = more[best]


def _relative_variance(watch: Watch, part: ScatteringKernel, whole: ScatteringKernel) -> np.ndarray:
    """Variance that a part of the sum contributes to all that is watched, over value²."""
    (values, _), (_, errors) = watch(whole), watch(part)
    # A detector that nothing reaches has no error.
    return np.square(errors / np.where(errors > 0, np.abs(values), 1))


def _kernel(settings: Settings, averages: Sequence[_Average]) -> ScatteringKernel:
    """The kernel whose batches are the sums of the levels' batches."""
    means = np.sum([average.means for average in averages], axis=0)
    waves = round(BATCHES * sum(average.waves for average in averages))
    return kernel_of(settings, averages[-1].level.plan, means, waves)


def _grow(
    averages: Sequence[_Average], rounds: Sequence[int], reporter: Reporter, workers: int | None
) -> None:
    """Add so many rounds to each average, several batches at a time."""
    # Fine levels come first: they take the longest, and nobody waits for them at the end.
    jobs = [
        (average, i, average.rounds + more)
        for average, add in reversed(list(zip(averages, rounds, strict=True)))
        for more in range(add)
        for i in range(0, BATCHES, average.level.every)
    ]
    costs = [average.level.cost(average.level.plan.waves_per_round) for average, *_ in jobs]
    reporter.to_do += sum(costs)
    calls = [partial(average.level.grow, average.batches[i], r) for average, i, r in jobs]
    sums = in_threads(calls, workers)
    for (average, i, _), cost, added in zip(jobs, costs, sums, strict=True):
        average.sums[i] += added
        reporter.finished(average.level.plan.waves_per_round, cost)
    for average, add in zip(averages, rounds, strict=True):
        average.rounds += add
