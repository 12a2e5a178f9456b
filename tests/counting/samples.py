"""Images of Gaussian columns on the lattice of platinum, whose cross-sections are known."""

import numpy as np

from ppiscs_jax.counting.images import AdfImage
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES

PIXEL = 0.2
WIDTH = 0.6


def lattice(zone: str = "110", radius: float = 8.0, element: str = "Pt") -> np.ndarray:
    """Columns within a radius [Å], around the middle of an image of `image_of`."""
    axis = ZONE_AXES[zone]
    sites = np.concatenate([np.array(layer) for layer in axis.layers])
    cells = np.array([(i, j) for i in range(-9, 10) for j in range(-9, 10)])
    every = (sites[None] + cells[:, None]).reshape(-1, 2) * axis.cell
    every = every * ELEMENTS[element].lattice_angstrom
    every = every[np.hypot(*every.T) < radius]
    return every + radius + 4 + 0.03


def image_of(
    positions: np.ndarray,
    values: np.ndarray,
    *,
    background: float = 0.0,
    dose: float | None = None,
    seed: int = 0,
    width: float = WIDTH,
) -> AdfImage:
    """Gaussians with these cross-sections [Å²], with Poisson noise at a dose [e⁻/Å²]."""
    size = int(np.ceil((positions.max() + 4) / PIXEL))
    along = np.arange(size) * PIXEL
    profiles = np.exp(-0.5 * ((along - positions[..., None]) / width) ** 2)
    heights = values / (2 * np.pi * width**2)
    pixels = background + np.einsum("n,ny,nx->yx", heights, profiles[:, 1], profiles[:, 0])
    if dose is not None:
        electrons = dose * PIXEL**2
        pixels = np.random.default_rng(seed).poisson(pixels * electrons) / electrons
    return AdfImage(pixels, PIXEL, normalised=True)
