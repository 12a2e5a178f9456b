"""The simulator as a forward model of fits."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.inverse.forward import Forward
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.settings import LARGEST_SEED, MOST_ATOMS, VECTOR_ORDER, Settings
from ppiscs_jax.simulation.gradient import gradient_grid, ppiscs_estimate, unit_tilts

WAVES = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FixedWaves:
    """The simulator on fixed waves; a pytree, as surrogates are.

    Attributes:
        key: of the displacements.
        tilts: points of the unit disk.
        mistilt_mrad: direction of the optical axis [mrad].
        element, zone_axis: of the crystal.
        grid: on which it is simulated.
        n_atoms: largest thickness [atoms per column].
    """

    key: PRNGKeyArray
    tilts: Float[Array, "waves 2"]
    mistilt_mrad: tuple[float, float]
    element: str = field(metadata={"static": True})
    zone_axis: str = field(metadata={"static": True})
    grid: CrystalGrid = field(metadata={"static": True})
    n_atoms: int = field(metadata={"static": True})

    def curve(self, x: Float[Array, " 9"]) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms; element and zone axis of x do not count."""
        numbers: dict[str, Any] = dict(zip(VECTOR_ORDER[2:], x[2:], strict=True))
        numbers["mistilt_mrad"] = self.mistilt_mrad
        settings = Settings(self.element, self.zone_axis, **numbers)
        return ppiscs_estimate(settings, self.grid, self.key, self.tilts, n_atoms=self.n_atoms)


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

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> forward = pp.simulator(settings, n_atoms=2, waves=4)
        >>> forward(settings.to_vector()).shape  # Å², a forward model for `fit`
        (2,)
    """
    problems = [
        range_problem("n_atoms", n_atoms, 1, MOST_ATOMS, "atoms", whole=True),
        range_problem("waves", waves, 1, 10**6, "", whole=True),
        range_problem("seed", seed, 0, LARGEST_SEED, "", whole=True),
    ]
    if any(problems):
        raise InputError(p for p in problems if p)
    return FixedWaves(
        key=jax.random.key(seed),
        tilts=jnp.asarray(unit_tilts(settings, waves, seed), jnp.float32),
        mistilt_mrad=settings.mistilt_mrad,
        element=settings.element,
        zone_axis=settings.zone_axis,
        grid=gradient_grid(settings, n_atoms),
        n_atoms=n_atoms,
    ).curve
