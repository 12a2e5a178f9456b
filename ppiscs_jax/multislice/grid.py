"""The numerical grid: a periodic cell, its pixels and its band limit."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy  # its submodules load when first used

from ppiscs_jax.crystal import ZONE_AXES


@dataclass(frozen=True)
class Grid:
    """A periodic cell and its pixels. Static: one compilation serves each value.

    Lengths and frequencies are in units chosen by the caller, the lattice constant for a
    crystal: elements of the same shape then share a compilation.

    Attributes:
        lengths: edges of the cell, A and B.
        shape: pixels along A and B.
        band_fraction: band limit over the Nyquist frequency, along each axis. From √2 on
            nothing is cut.
    """

    lengths: tuple[float, float]
    shape: tuple[int, int]
    band_fraction: float

    @property
    def nyquist(self) -> tuple[float, float]:
        """Largest frequencies along A and B [1 / unit]."""
        (nx, ny), (a, b) = self.shape, self.lengths
        return nx / (2 * a), ny / (2 * b)

    @property
    def band_limit(self) -> float:
        """k_c [1 / unit], the radius within which nothing is cut."""
        return self.band_fraction * min(self.nyquist)

    @cached_property
    def frequencies(self) -> tuple[np.ndarray, np.ndarray]:
        """Spatial frequencies along A and B, FFT order [1 / unit]."""
        nx, ny = self.shape
        a, b = self.lengths
        return np.fft.fftfreq(nx, a / nx), np.fft.fftfreq(ny, b / ny)

    @cached_property
    def radial_frequency(self) -> np.ndarray:
        """|g| of every pixel of the spectrum, shape (nx, ny) [1 / unit]."""
        gx, gy = self.frequencies
        return np.hypot(gx[:, None], gy[None, :])

    @cached_property
    def in_band(self) -> np.ndarray:
        """Mask of the band limit: an ellipse over the Nyquist frequencies, (nx, ny)."""
        (gx, gy), (kx, ky) = self.frequencies, self.nyquist
        return np.hypot(gx[:, None] / kx, gy[None, :] / ky) < self.band_fraction

    @cached_property
    def band_indices(self) -> tuple[np.ndarray, np.ndarray]:
        """Row and column of every pixel inside the band limit, each (n_band,)."""
        rows, columns = np.nonzero(self.in_band)
        return rows, columns


@dataclass(frozen=True)
class CrystalGrid(Grid):
    """The grid of a supercell of one zone axis, lengths in lattice constants.

    Attributes:
        zone_axis: name of the zone axis.
        repeats: projected unit cells along A and B.
        layers_per_slice: atomic layers that one slice of the multislice holds.
    """

    zone_axis: str
    repeats: tuple[int, int]
    layers_per_slice: int = 1

    @cached_property
    def sites(self) -> np.ndarray:
        """Atoms of each layer, fractions of the supercell, shape (layers, atoms, 2)."""
        mx, my = self.repeats
        origins = np.array([(i, j) for i in range(mx) for j in range(my)], dtype=float)
        layers = np.array(ZONE_AXES[self.zone_axis].layers)
        sites = layers[:, :, None, :] + origins[None, None, :, :]
        return sites.reshape(len(layers), -1, 2) / np.array([mx, my])

    @property
    def slices_per_atom(self) -> int:
        """Slices in one repeat of the crystal, which adds one atom to every column."""
        return len(self.sites) // self.layers_per_slice

    def resampled(self, band_limit: float, layers_per_slice: int = 1) -> "CrystalGrid":
        """The same supercell with the pixels for a band limit [1 / unit].

        `layers_per_slice` divides the layers of a repeat.
        """
        shape = pixels_for(self.lengths, band_limit / self.band_fraction)
        return replace(self, shape=shape, layers_per_slice=layers_per_slice)


LADDER_RUNG, LADDER_STEP = 85.0, 1.25
"""One of the band limits [1 / lattice constant] from which grids for GPUs are chosen; their ratio.

A step is about the ratio of the converged band limit of kernels to the one that just holds their
angles: the coarse grid of one specimen is then the converged one of another. The eight elements
of Table 1 at three zone axes and 60 to 300 kV need 35 programs for both instead of 163, for 22 %
more pixels."""


def on_ladder(band_limit: float) -> float:
    """The next band limit of the ladder, in reciprocal lattice constants."""
    steps = math.ceil(math.log(band_limit / LADDER_RUNG, LADDER_STEP) - 1e-9)
    return LADDER_RUNG * LADDER_STEP**steps


def make_grid(
    zone_axis: str,
    lattice_angstrom: float,
    band_limit_inv_angstrom: float,
    *,
    cell_angstrom: float = 7.0,
    band_fraction: float = 1.0,
    ladder: bool = False,
) -> CrystalGrid:
    """Smallest grid that holds a band limit k_c in a cell of at least a given size.

    Args:
        zone_axis: name of the zone axis.
        lattice_angstrom: lattice constant a [Å].
        band_limit_inv_angstrom: k_c that the grid must at least hold [Å⁻¹].
        cell_angstrom: least edge of the supercell [Å].
        band_fraction: k_c over the Nyquist frequency. 2/3 keeps products of band-limited
            functions free of aliases; with the core correction 1 converges at fewer pixels
            (see `simulation.grids.band_limit_inv_angstrom`).
        ladder: whether to choose among few band limits, so that many elements and voltages
            share their compiled programs.
    """
    cell = ZONE_AXES[zone_axis].cell
    mx, my = (math.ceil(cell_angstrom / (edge * lattice_angstrom) - 1e-9) for edge in cell)
    lengths = (mx * cell[0], my * cell[1])
    band_limit = band_limit_inv_angstrom * lattice_angstrom
    if ladder:
        band_limit = on_ladder(band_limit)
    shape = pixels_for(lengths, band_limit / band_fraction)
    return CrystalGrid(lengths, shape, band_fraction, zone_axis, (mx, my))


def pixels_for(lengths: tuple[float, float], nyquist: float) -> tuple[int, int]:
    """Pixels of a cell that hold a frequency: even numbers with only small prime factors.

    FFTs of other lengths cost several times more.
    """
    nx, ny = (2 * scipy.fft.next_fast_len(math.ceil(nyquist * length)) for length in lengths)
    return nx, ny
