"""A data set of smooth formulas, in no time."""

import jax.numpy as jnp

from ppiscs_jax.surrogate.table import KernelTable


def made_up_table():
    """Smooth curves of two elements at two voltages."""
    angles = jnp.concatenate([jnp.arange(0.0, 50.0), jnp.arange(50.0, 251.0, 5.0)])
    rings = jnp.array([0.0, 17.5, 22.0, 26.0, 31.0, 35.5])
    rmsd, n = jnp.array([0.075, 0.1, 0.125, 0.15]), jnp.arange(1.0, 13.0)
    sizes = jnp.array([1.0, 5.0])[:, None, None, None, None, None]
    voltages = jnp.array([100.0, 300.0])
    fall = 40 + 100 * rmsd[:, None, None, None] + 0.05 * voltages[:, None, None, None, None]
    beyond = sizes * n * (jnp.exp(-angles[:, None] / fall) - jnp.exp(-250 / fall)) / 50
    beyond = beyond * rings[1:, None, None] ** 2
    return KernelTable(
        beyond=beyond,
        unscattered=jnp.zeros((*beyond.shape[:4], 12)),
        atomic_numbers=jnp.array([13, 79]),
        zone_codes=jnp.array([0, 1]),
        thickest=jnp.array([12, 12]),
        voltages_kv=voltages,
        rmsd_angstrom=jnp.stack([rmsd, rmsd]),
        ring_edges_mrad=rings,
        angles_mrad=angles,
    )
