"""The tails of the probe, which spread a column's signal over its neighbours, taken away.

The edge of the aperture gives the probe tails that fall off as 1/r³ and hold 2 % of its intensity
beyond 5 Å (300 kV, 21 mrad). They are in no Gaussian, and they cross the borders of Voronoi cells.
In the spectrum of the image they are the kink of the aperture's transfer function at frequency 0,
which aberrations and the source do not change. A filter with the inverse of this function, times
that of a Gaussian, turns columns into Gaussians and hardly changes the noise: it is between 0.96
and 1.18 at all frequencies.
"""

import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Float

from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.settings import Settings

WIDTH = 0.21
"""Width of the Gaussian that a probe becomes, in λ/α; the nearest one to the probe itself."""

HIGHEST = 0.786
"""Part of the largest frequency up to which the filter acts. It is 1 there, and images have hardly
any signal beyond."""

PADDING_ANGSTROM = 10.0
"""Beyond the edges an image is continued by its mirror image, so far."""


def transfer(part: np.ndarray) -> np.ndarray:
    """Transfer function of an ideal aperture at parts of its largest frequency, 2 α/λ."""
    x = np.minimum(part, 1.0)
    return 2 / np.pi * (np.arccos(x) - x * np.sqrt(1 - x * x))


def tail_filter(frequency: np.ndarray, settings: Settings) -> np.ndarray:
    """The filter at spatial frequencies [Å⁻¹]."""
    wavelength = float(wavelength_angstrom(settings.voltage_kv))
    highest = 2e-3 * float(settings.convergence_mrad) / wavelength
    x = np.minimum(frequency / highest, HIGHEST)
    gaussian = np.exp(-2 * (2 * np.pi * WIDTH * x) ** 2)
    return np.where(x < HIGHEST, gaussian / transfer(x), 1.0)


def without_probe_tails(
    pixels: Float[np.ndarray, "rows columns"],
    pixel_angstrom: float,
    settings: Settings,
    *,
    inverse: bool = False,
) -> Float[np.ndarray, "rows columns"]:
    """An image whose columns are Gaussians, with unchanged integrals.

    Args:
        pixels: the image.
        pixel_angstrom: edge of a pixel [Å].
        settings: of which voltage and convergence semi-angle are used.
        inverse: give tails to an image that has none.
    """
    pad = min(int(np.ceil(PADDING_ANGSTROM / pixel_angstrom)), *(n - 1 for n in pixels.shape))
    shape = [scipy.fft.next_fast_len(n + 2 * pad, real=True) for n in pixels.shape]
    after = [s - n - pad for s, n in zip(shape, pixels.shape, strict=True)]
    padded = np.pad(pixels, [(pad, a) for a in after], mode="symmetric")
    gy, gx = np.fft.fftfreq(shape[0], pixel_angstrom), np.fft.rfftfreq(shape[1], pixel_angstrom)
    spectrum = scipy.fft.rfft2(padded, workers=-1)
    factor = tail_filter(np.hypot(gy[:, None], gx), settings)
    spectrum *= 1 / factor if inverse else factor
    filtered = scipy.fft.irfft2(spectrum, shape, workers=-1)
    return filtered[pad : pad + pixels.shape[0], pad : pad + pixels.shape[1]]


def noise_gain(width_angstrom: float, settings: Settings) -> float:
    """Factor by which the filter changes the standard error of a Gaussian's volume.

    Of white noise, for a Gaussian of that width [Å] that is fitted alone.
    """
    g = np.linspace(0, 1 / width_angstrom, 1000)
    weight = g * np.exp(-((2 * np.pi * width_angstrom * g) ** 2))
    return float(np.sqrt(np.sum(weight * tail_filter(g, settings) ** 2) / np.sum(weight)))
