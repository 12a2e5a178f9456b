"""Kernels of a campaign's specimens on grids, rings and bins of one's choice."""

import numpy as np

from experiments.dataset.study.schema import Config
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.campaign.task import task_grid
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.settings import Settings
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.simulation.batches import kernel_of
from ppiscs_jax.simulation.kernel import ScatteringKernel
from ppiscs_jax.simulation.plan import Plan


def settings_of(config: Config, specimen: Illuminated) -> Settings:
    """Settings of a specimen; raises InputError for values out of range."""
    return specimen.settings(config.detectors_mrad[0])


def thickest(config: Config, settings: Settings) -> int:
    """Largest thickness [atoms per column]."""
    return config.n_atoms or settings.zone_axis_data.thickest(settings.element_data)


def grid_of(config: Config, campaign: Campaign, settings: Settings) -> CrystalGrid:
    """The grid on which a campaign computes these settings."""
    return task_grid(campaign, settings, thickest(config, settings))


def simulate(
    config: Config,
    campaign: Campaign,
    settings: Settings,
    waves: int,
    *,
    stream: int = 0,
    rings_mrad: np.ndarray | None = None,
    edges_mrad: np.ndarray | None = None,
) -> ScatteringKernel:
    """The kernel of at least so many waves.

    Tilts and displacements depend on seed, stream and cell alone: two kernels of one cell and
    stream differ by grid, specimen and bins, but not by chance.
    """
    rings = np.array(campaign.rings_mrad) if rings_mrad is None else rings_mrad
    edges = campaign.angle_edges_mrad if edges_mrad is None else edges_mrad
    grid = grid_of(config, campaign, settings)
    plan = Plan.of(settings, grid, rings, edges, thickest(config, settings), config.seed + stream)
    rounds = -(-waves // (config.batches * plan.waves_per_round))
    sums = np.array(
        [sum(plan.grow(batch, r) for r in range(rounds)) for batch in range(config.batches)]
    )
    means = sums / (rounds * plan.waves_per_round / (len(rings) - 1))
    return kernel_of(plan, means, rounds * config.batches * plan.waves_per_round)
