"""What a slight mistilt of the crystal takes from its cross-sections."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.gradient import simulator

MISTILT_MRAD = 8.0
"""Mistilt at which the loss is simulated. It is proportional to the square up to about 10 mrad, and
lower than that beyond."""

WAVES = 128
"""At 40 atoms of gold the effect is then known to about a tenth of itself."""


def mistilt_loss(
    settings: Settings, n_atoms: int, size: int, *, waves: int = WAVES, seed: int = 0
) -> Float[np.ndarray, " n"]:
    """Decrease of the logarithm of PPISCS per square of the mistilt [mrad⁻²], at 1 … size atoms.

    It is simulated up to n_atoms, and stays the same from there on. It is the mean over all
    directions of the mistilt, from four of them that lie 90° apart. Tilts inside the aperture and
    thermal displacements are the same for all, so that few waves are enough.

    Raises:
        InputError: a number is out of range.
    """
    curve = simulator(settings, n_atoms, waves=waves, seed=seed)
    upright, *mistilted = (
        np.asarray(curve(replace(settings, mistilt_mrad=(x * MISTILT_MRAD, y * MISTILT_MRAD))))
        for x, y in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    )
    loss = -np.log(np.mean(mistilted, axis=0) / upright) / MISTILT_MRAD**2
    return np.pad(loss, (0, max(0, size - n_atoms)), mode="edge")[:size]
