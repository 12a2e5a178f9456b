"""Images of columns on the lattice of platinum, whose cross-sections are known."""

import numpy as np
import scipy

from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.counting.images import AdfImage
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.settings import Settings

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


def probe_image_of(
    positions: np.ndarray,
    values: np.ndarray,
    settings: Settings,
    *,
    widths: np.ndarray | float,
    dose: float | None = None,
    seed: int = 0,
) -> AdfImage:
    """Columns as a probe shows them: |ψ|² of its aperture and aberrations, blurred by Gaussians."""
    beyond = 20.0
    size = int(np.ceil((positions.max() + 4) / PIXEL))
    pixels = scipy.fft.next_fast_len(size + 2 * round(beyond / PIXEL))
    g = np.fft.fftfreq(pixels, PIXEL)
    square = g[:, None] ** 2 + g**2
    wavelength = float(wavelength_angstrom(settings.voltage_kv))
    phase = np.pi * wavelength * settings.c10_angstrom * square
    phase += 0.5e7 * np.pi * wavelength**3 * settings.c30_mm * square**2
    inside = wavelength * np.sqrt(square) <= 1e-3 * settings.convergence_mrad
    probe = np.abs(np.fft.ifft2(inside * np.exp(-1j * phase))) ** 2
    shape = np.fft.fft2(probe / probe.sum())
    spectrum = np.zeros(shape.shape, complex)
    every = np.broadcast_to(widths, len(values))
    for (x, y), value, width in zip(positions, values, every, strict=True):
        places = np.outer(np.exp(-2j * np.pi * g * y), np.exp(-2j * np.pi * g * x))
        spectrum += value * places * np.exp(-2 * (np.pi * width) ** 2 * square)
    image = np.fft.ifft2(spectrum * shape).real[:size, :size] / PIXEL**2
    if dose is not None:
        electrons = dose * PIXEL**2
        image = np.random.default_rng(seed).poisson(np.maximum(image, 0) * electrons) / electrons
    return AdfImage(image, PIXEL, normalised=True)
