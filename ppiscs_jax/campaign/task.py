"""One task of a campaign, from config to kernel."""

import numpy as np

from ppiscs_jax.campaign.config import Campaign, Task
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.averaging import kernel_to_noise
from ppiscs_jax.simulation.grids import band_limit_inv_angstrom, supercell_grid
from ppiscs_jax.simulation.kernel import ScatteringKernel, limits_and_noise
from ppiscs_jax.simulation.levels import grids_reaching
from ppiscs_jax.simulation.plan import Plan


def simulate_task(campaign: Campaign, task: Task) -> ScatteringKernel:
    """The kernel of a task, with waves enough for the campaign's noise limits.

    The same campaign and task give the same numbers, whatever was computed before.
    """
    settings = campaign.settings(task)
    n_atoms = campaign.thickest(task)
    plan = Plan.of(
        settings,
        task_grid(campaign, settings, n_atoms),
        np.array(campaign.rings_mrad),
        campaign.angle_edges_mrad,
        n_atoms,
        task.seed,
    )
    return kernel_to_noise(
        plan,
        campaign.noise_limits,
        campaign.max_waves,
        kept_rings_mrad=np.array(campaign.kept_rings_mrad),
        control=False,
        workers=1,
    )


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
