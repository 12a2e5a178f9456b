"""One task of a campaign, from config to kernel."""

from collections.abc import Iterable

import numpy as np

from ppiscs_jax.campaign.config import Campaign, Task
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.averaging import run_levels
from ppiscs_jax.simulation.grids import band_limit_inv_angstrom, supercell_grid
from ppiscs_jax.simulation.kernel import ScatteringKernel, limits_and_noise
from ppiscs_jax.simulation.levels import grids_reaching, levels_of
from ppiscs_jax.simulation.plan import Plan

PILOT_ROUNDS = 4
LOW_NOISE = 3e-3
"""Rounds of a pilot for noise limits below LOW_NOISE: with one wave per ring and batch, it would
overestimate how much tilts add to the noise of many waves. One round serves for higher limits."""


def simulate_task(campaign: Campaign, task: Task) -> ScatteringKernel:
    """The kernel of a task, with waves enough for the campaign's noise limits.

    Most waves are computed on a grid that just holds all angles, a few on that and on the
    converged grid (`simulation.levels`). The same campaign and task give the same numbers, whatever
    was computed before.
    """
    settings = campaign.settings(task)
    n_atoms = campaign.thickest(task)
    grids = task_grids(campaign, task)
    edges, kept = campaign.angle_edges_mrad, np.array(campaign.kept_rings_mrad)
    plan = Plan.of(settings, grids[-1], np.array(campaign.rings_mrad), edges, n_atoms, task.seed)
    kernel, _ = run_levels(
        levels_of([plan.on(g) for g in grids], control=False),
        lambda kernel: limits_and_noise(kernel.with_rings(kept), campaign.noise_limits),
        1.0,
        campaign.max_waves,
        workers=1,
        pilot_rounds=pilot_rounds(campaign.noise_limits),
    )
    return kernel.with_rings(kept)


def pilot_rounds(limits: Iterable[tuple[float, float, float, float]]) -> int:
    """Rounds of a pilot for noise limits as of `simulation.kernel.limits_and_noise`."""
    return PILOT_ROUNDS if min(limit for *_, limit in limits) < LOW_NOISE else 1


def noise_over_limit(campaign: Campaign, kernel: ScatteringKernel) -> float:
    """Largest ratio of a kernel's noise to the campaign's limit: above 1 where waves ran out."""
    limits, errors = limits_and_noise(kernel, campaign.noise_limits)
    return float(np.max(errors / limits))


def task_grids(campaign: Campaign, task: Task) -> list[CrystalGrid]:
    """The grids of a task's levels, the converged one last."""
    settings = campaign.settings(task)
    fine = task_grid(campaign, settings, campaign.thickest(task))
    return grids_reaching(settings, fine, float(campaign.angle_edges_mrad[-1]))


def task_grid(campaign: Campaign, settings: Settings, n_atoms: int) -> CrystalGrid:
    """The converged grid of a task: the campaign's share of the band limit, and its supercell."""
    outer = float(campaign.angle_edges_mrad[-1])
    wavelength = float(wavelength_angstrom(settings.voltage_kv))
    return supercell_grid(
        settings,
        campaign.band * band_limit_inv_angstrom(settings, outer, n_atoms),
        1e3 * wavelength / campaign.lattice_mrad,
    )
