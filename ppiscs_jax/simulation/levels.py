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
from typing import Self

import numpy as np

from ppiscs_jax.multislice.grid import CrystalGrid, on_ladder
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation import accelerator
from ppiscs_jax.simulation.batches import BATCHES, PILOT_IS_ENOUGH, RATE
from ppiscs_jax.simulation.grids import (
    coarse_band_limit_inv_angstrom,
    frequency_inv_angstrom,
    narrow,
    on_accelerator,
)
from ppiscs_jax.simulation.plan import WAVES_PER_ROUND, Plan

ROUNDS_TOGETHER = 1
"""Rounds of a level that a GPU computes side by side. A curve takes few rounds, and those that
are missing in a call are computed for nothing."""


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

    def grow_together(
        self, batches: range, rounds: range, report: Callable[[int], None]
    ) -> np.ndarray:
        """Sums of the waves of some rounds of batches, (batches, …), in few calls of the device.

        `report` is called with numbers of batch rounds that were finished.
        """
        sums = accelerator.grow(self.plan, batches, rounds, report, most_rounds=ROUNDS_TOGETHER)
        if self.coarser is None:
            return sums
        return sums - accelerator.grow(
            self.coarser, batches, rounds, lambda _: None, most_rounds=ROUNDS_TOGETHER
        )

    def with_waves(self, waves: float, *, few_programs: bool = False) -> Self:
        """The same level in rounds, and in batches, that suit so many waves of a batch.

        On the coarsest level, also with the polynomials of the tilts that suit them, where it has
        any.

        `few_programs` is for devices that need a program for every size of rounds: these then have
        as few waves as possible, or as many as usual.
        """
        rings = len(self.plan.rings_mrad) - 1
        every = 2 ** max(0, int(math.log2(rings / waves)))
        size = max(rings, min(self.plan.room, 2 ** int(math.log2(waves * every))))
        if few_programs and size < self.plan.room:
            size = rings
        plan = dataclasses.replace(self.plan, waves_per_round=size)
        if self.plan.tilt_order and every == 1:
            plan = plan.with_control(BATCHES * waves)
        coarser = self.coarser and dataclasses.replace(self.coarser, waves_per_round=size)
        return dataclasses.replace(self, plan=plan, coarser=coarser, every=every)

    @property
    def plans(self) -> list[Plan]:
        """The plans that are computed for each wave."""
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
"""Atomic layers that a slice of the coarsest grid may hold, where no narrow detector is watched."""

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
    accelerated: bool = False,
) -> list[CrystalGrid]:
    """Grids of rising band limit, for the levels with which an error probably costs the least.

    Only the converged one where so few waves are expected that compiling a second program takes
    longer than the waves that it saves. On GPUs grids come from a ladder, and so their programs
    serve many settings: compiling them does not count.

    Args:
        settings: specimen and microscope.
        fine: the grid on which curves are converged.
        detectors_mrad: inner and outer angles of the detectors that are watched [mrad].
        outer_mrad: largest angle that is kept [mrad].
        n_atoms: largest thickness [atoms per column].
        relative_error: the error asked for.
        max_waves: the most waves that are computed.
        accelerated: whether a GPU computes.
    """
    # As in `simulation_grid`.
    mistilt = float(np.hypot(*settings.mistilt_mrad))
    detectors_mrad, outer_mrad = detectors_mrad + mistilt, outer_mrad + mistilt
    a = settings.element_data.lattice_angstrom
    band_limit = coarse_band_limit_inv_angstrom(settings, detectors_mrad, outer_mrad, n_atoms)
    layers = len(fine.sites)
    if layers > MOST_LAYERS_PER_SLICE or np.any(narrow(*np.asarray(detectors_mrad).T)):
        layers = 1
    rung = on_ladder if accelerated else float
    coarse = fine.resampled(rung(band_limit * a), layers)
    edge = frequency_inv_angstrom(settings, outer_mrad)
    middle = fine.resampled(rung(max(band_limit, edge) * a))

    waves = float(BATCHES * WAVES_PER_ROUND)
    usual = min(PILOT_ERROR, PILOT_ERROR_THIN * math.sqrt(n_atoms))
    if usual > PILOT_IS_ENOUGH * relative_error:
        waves += min(waves * (usual / relative_error) ** RATE, max_waves)
    # Grids of a ladder may be one and the same.
    candidates = [[fine], [coarse, fine]]
    if layers > 1:
        candidates.append([coarse, middle, fine])
    choices = [list(dict.fromkeys(grids)) for grids in candidates]
    compile_cost = 0 if accelerated else COMPILE_COST
    grids = min(choices, key=lambda grids: _expected_cost(grids, n_atoms, waves, compile_cost))
    if len(grids) > 1 and relative_error < TRUNCATION_ERROR:
        grids.append(fine.resampled(rung(TOP_FACTOR * fine.band_limit)))
    return grids


def grids_reaching(settings: Settings, fine: CrystalGrid, outer_mrad: float) -> list[CrystalGrid]:
    """A grid that just holds all angles, and the converged one: levels for kernels as a whole.

    Only the latter where the former has no fewer pixels, as may happen on the ladder for GPUs.
    """
    outer_mrad += float(np.hypot(*settings.mistilt_mrad))  # as in `simulation_grid`
    a = settings.element_data.lattice_angstrom
    edge = frequency_inv_angstrom(settings, outer_mrad)
    coarse = fine.resampled(on_ladder(edge * a) if on_accelerator() else edge * a)
    return [coarse, fine] if math.prod(coarse.shape) < math.prod(fine.shape) else [fine]


def _expected_cost(
    grids: Sequence[CrystalGrid], n_atoms: int, waves: float, compile_cost: float
) -> float:
    """Cost in pixels · slices of so many waves on the first grid and of what corrects them."""
    total = compile_cost * len(grids)
    below = 0.0
    for grid in grids:
        pixels = float(n_atoms * grid.slices_per_atom * math.prod(grid.shape))
        sharing = min(WAVES_PER_ROUND, waves / BATCHES)
        total += (pixels + below) * waves * (1 + 1 / sharing)
        below, waves = pixels, max(BATCHES, LEVEL_SHARE * waves)
    return total


SPARED = 4
"""Share of the batches, one in so many, that get waves of levels that hardly vary."""


def levels_of(plans: Sequence[Plan], *, spared: bool = False, control: bool = True) -> list[Level]:
    """The levels of plans that differ by their grids alone, the coarsest first.

    A difference gets rounds of one wave a ring: few waves are wanted of it.

    Args:
        plans: what is computed, on grids of rising band limit.
        spared: whether levels from the third on begin in one batch of SPARED. The first difference
            holds nearly all that the coarsest grid lacks; the next ones hardly vary.
        control: whether polynomials of the tilts correct the coarsest level. From some hundred
            waves a batch on they change nothing.
    """
    coarsest = plans[0]
    if control:
        coarsest = coarsest.with_control(BATCHES * coarsest.waves_per_round)
    levels = [Level(coarsest, None, 0)]
    rings = len(plans[0].rings_mrad) - 1
    for number, (coarser, plan) in enumerate(itertools.pairwise(plans), 1):
        # One stock or none for both grids: their waves then select the same repeats.
        coarser = dataclasses.replace(coarser, n_planes=plan.n_planes)
        level = Level(plan, coarser, 2 * BATCHES * number)
        levels.append(level.with_waves(rings / SPARED if spared and number > 1 else rings))
    return levels
