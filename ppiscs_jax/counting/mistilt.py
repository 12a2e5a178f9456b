"""What a slight mistilt of the crystal takes from its cross-sections."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.gradient import simulator

MISTILT_MRAD = 5.0
"""At which the effect is simulated; up to some 10 mrad it goes with the square."""

WAVES = 64

DEGREE = 3
"""Of the polynomial through 0 atoms that smooths the effect along thickness."""


def mistilt_loss(
    settings: Settings, n_atoms: int, *, waves: int = WAVES, seed: int = 0
) -> Float[np.ndarray, " n"]:
    """Relative decrease of PPISCS per square of the mistilt [mrad⁻²], at 1 … n_atoms atoms.

    The mean over all directions of the mistilt, from four of them that lie 90° apart; tilts inside
    the aperture and thermal displacements are the same for all, so that few waves are enough.

    Raises:
        InputError: a number is out of range.
    """
    curve = simulator(settings, n_atoms, waves=waves, seed=seed)
    upright, *mistilted = (
        np.asarray(curve(replace(settings, mistilt_mrad=(x * MISTILT_MRAD, y * MISTILT_MRAD))))
        for x, y in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    )
    loss = (1 - np.mean(mistilted, axis=0) / upright) / MISTILT_MRAD**2
    powers = np.arange(1, n_atoms + 1)[:, None] ** np.arange(1, min(DEGREE, n_atoms) + 1.0)
    return powers @ np.linalg.lstsq(powers, loss)[0]
