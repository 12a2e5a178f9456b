"""One task of a campaign, from config to kernel."""

import numpy as np

from ppiscs_jax.campaign.config import Campaign, Task
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.averaging import run_levels
from ppiscs_jax.simulation.grids import band_limit_inv_angstrom, supercell_grid
from ppiscs_jax.simulation.kernel import ScatteringKernel, noise_limits
from ppiscs_jax.simulation.levels import grids_reaching, levels_of
from ppiscs_jax.simulation.plan import Plan

PILOT_ROUNDS = 4
"""Rounds of a task's pilot: a single wave in each ring would expect too much of the noise."""


def simulate_task(campaign: Campaign, task: Task) -> ScatteringKernel:
    """The kernel of a task, with waves enough for the campaign's noise limits.

    Most waves are computed on a grid that just holds all angles, a few on that and on the
    converged grid, as by `simulation.simulate.scattering_kernel`. The same campaign and task
    give the same numbers, whatever was computed before.
    """
    settings = campaign.settings(task)
    n_atoms = campaign.thickest(task)
    grid = task_grid(campaign, settings, n_atoms)
    edges, kept = campaign.angle_edges_mrad, np.array(campaign.kept_rings_mrad)
    plan = Plan.of(settings, grid, np.array(campaign.rings_mrad), edges, n_atoms, task.seed)
    grids = grids_reaching(settings, grid, float(edges[-1]))
    kernel, _ = run_levels(
        levels_of([plan.on(g) for g in grids], control=False),
        lambda kernel: noise_limits(kernel.with_rings(kept), campaign.noise_limits),
        1.0,
        campaign.max_waves,
        workers=1,
        pilot_rounds=PILOT_ROUNDS,
    )
    return kernel.with_rings(kept)


def noise_over_limit(campaign: Campaign, kernel: ScatteringKernel) -> float:
    """Largest ratio of a kernel's noise to the campaign's limit: above 1 where waves ran out."""
    limits, errors = noise_limits(kernel, campaign.noise_limits)
    return float(np.max(errors / limits))


def task_grid(campaign: Campaign, settings: Settings, n_atoms: int) -> CrystalGrid:
    """The grid of a task: the campaign's share of the band limit, and its supercell."""
    outer = float(campaign.angle_edges_mrad[-1])
    wavelength = float(wavelength_angstrom(settings.voltage_kv))
    return supercell_grid(
        settings,
        campaign.band * band_limit_inv_angstrom(settings, outer, n_atoms),
        1e3 * wavelength / campaign.lattice_mrad,
    )
