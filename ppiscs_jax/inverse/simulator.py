"""The simulator as a forward model of fits."""

import jax
import jax.numpy as jnp

from ppiscs_jax.differentiable import gradient_grid, ppiscs_estimate, unit_tilts
from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.inverse.forward import Forward
from ppiscs_jax.settings import VECTOR_ORDER, Settings

WAVES = 64


def simulator(settings: Settings, n_atoms: int, *, waves: int = WAVES, seed: int = 0) -> Forward:
    """PPISCS [Å²] at 1 … n_atoms atoms by multislice, near some settings.

    The average of `ppiscs_estimate` over few waves, always the same ones: smooth in all numbers,
    for fits of specimens and settings that no surrogate knows. What it errs by, because its waves
    are few, is not in a fit's standard errors: compare seeds. Element and zone axis stay as given.

    Args:
        settings: for which the grid is chosen; fits should stay near.
        n_atoms: largest thickness [atoms per column].
        waves: plane waves averaged over.
        seed: of their tilts and displacements.

    Raises:
        InputError: a number is out of range.
    """
    problems = [
        range_problem("n_atoms", n_atoms, 1, 1000, "", whole=True),
        range_problem("waves", waves, 1, 10**6, "", whole=True),
        range_problem("seed", seed, 0, 2**63 - 1, "", whole=True),
    ]
    if any(problems):
        raise InputError(p for p in problems if p)
    grid = gradient_grid(settings, n_atoms)
    tilts = jnp.asarray(unit_tilts(settings.zone_axis, waves, seed), jnp.float32)
    key = jax.random.key(seed)

    def curve(x):
        numbers = dict(zip(VECTOR_ORDER[2:], x[2:], strict=True))
        there = Settings(settings.element, settings.zone_axis, **numbers)
        return ppiscs_estimate(there, grid, key, tilts, n_atoms=n_atoms)

    return curve
