"""The numerical grid: a periodic supercell, its pixels and its band limit."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.fft import next_fast_len

from ppiscs_jax.crystal import ZONE_AXES


@dataclass(frozen=True)
class Grid:
    """Shape of a supercell of one zone axis. Static: one compilation serves each value.

    Attributes:
        zone_axis: name of the zone axis.
        repeats: projected unit cells along A and B.
        shape: pixels along A and B.
        band_fraction: radius of the band limit k_c over the (smaller) Nyquist frequency.
    """

    zone_axis: str
    repeats: tuple[int, int]
    shape: tuple[int, int]
    band_fraction: float

    @property
    def lengths(self) -> tuple[float, float]:
        """Edges of the supercell [lattice constants]."""
        cell = ZONE_AXES[self.zone_axis].cell
        return self.repeats[0] * cell[0], self.repeats[1] * cell[1]

    @property
    def band_limit(self) -> float:
        """k_c [1 / lattice constants]: waves and potentials have no component past it."""
        nyquist = min(n / (2 * length) for n, length in zip(self.shape, self.lengths, strict=True))
        return self.band_fraction * nyquist

    @cached_property
    def frequencies(self) -> tuple[np.ndarray, np.ndarray]:
        """Spatial frequencies along A and B, FFT order [1 / lattice constants]."""
        nx, ny = self.shape
        a, b = self.lengths
        return np.fft.fftfreq(nx, a / nx), np.fft.fftfreq(ny, b / ny)

    @cached_property
    def radial_frequency(self) -> np.ndarray:
        """|g| of every pixel of the spectrum, shape (nx, ny) [1 / lattice constants]."""
        gx, gy = self.frequencies
        return np.hypot(gx[:, None], gy[None, :])

    @cached_property
    def in_band(self) -> np.ndarray:
        """Whether |g| < k_c, shape (nx, ny)."""
        return self.radial_frequency < self.band_limit

    @cached_property
    def band_indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of every pixel inside the band limit, each (n_band,)."""
        rows, columns = np.nonzero(self.in_band)
        return rows, columns

    @cached_property
    def sites(self) -> np.ndarray:
        """Atoms of each layer, fractions of the supercell, shape (layers, atoms, 2)."""
        mx, my = self.repeats
        origins = np.array([(i, j) for i in range(mx) for j in range(my)], dtype=float)
        layers = np.array(ZONE_AXES[self.zone_axis].layers)
        sites = layers[:, :, None, :] + origins[None, None, :, :]
        return sites.reshape(len(layers), -1, 2) / np.array([mx, my])


def make_grid(
    zone_axis: str,
    lattice_angstrom: float,
    band_limit_inv_angstrom: float,
    *,
    cell_angstrom: float = 7.0,
    band_fraction: float = 1.0,
) -> Grid:
    """Smallest grid that holds a band limit k_c in a cell of at least a given size.

    Args:
        zone_axis: name of the zone axis.
        lattice_angstrom: lattice constant a [Å].
        band_limit_inv_angstrom: k_c that the grid must at least hold [Å⁻¹].
        cell_angstrom: least edge of the supercell [Å].
        band_fraction: k_c over the Nyquist frequency. 2/3 keeps products of band-limited
            functions free of aliases; with the core correction 1 converges at fewer pixels
            (see `simulate.band_limit_inv_angstrom`).
    """
    cell = ZONE_AXES[zone_axis].cell
    repeats = [math.ceil(cell_angstrom / (edge * lattice_angstrom) - 1e-9) for edge in cell]
    lengths = [m * edge * lattice_angstrom for m, edge in zip(repeats, cell, strict=True)]
    pixels = [2 * band_limit_inv_angstrom / band_fraction * length for length in lengths]
    # Lengths with only small prime factors: FFTs of others cost several times more.
    nx, ny = (2 * next_fast_len(math.ceil(n / 2)) for n in pixels)
    return Grid(zone_axis, (repeats[0], repeats[1]), (nx, ny), band_fraction)
