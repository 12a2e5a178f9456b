"""Detectors: from the scattered wave to the intensity in bins of collection angle."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from ppiscs_jax.multislice.grid import Grid
from ppiscs_jax.types import Scalar


def collection_angle_mrad(
    grid: Grid,
    residual: Float[Array, " 2"],
    unit_angstrom: Scalar,
    wavelength_angstrom: Scalar,
    axis_mrad: Float[Array, " 2"] | None = None,
) -> Float[Array, " n_band"]:
    """Angle |λ(g + q) − axis| of every component inside the band limit [mrad].

    `axis_mrad` is the direction of the optical axis in the crystal's frame; None if they
    coincide.
    """
    rows, columns = grid.band_indices
    gx, gy = grid.frequencies
    mrad = 1e3 * wavelength_angstrom / unit_angstrom
    x, y = mrad * (gx[rows] + residual[0]), mrad * (gy[columns] + residual[1])
    if axis_mrad is not None:
        x, y = x - axis_mrad[0], y - axis_mrad[1]
    # The angle has no derivative at zero: keep it away from there by less than rounding.
    return jnp.sqrt(x**2 + y**2 + 1e-12)


def intensity(grid: Grid, spectrum: Complex[Array, "nx ny"]) -> Float[Array, " n_band"]:
    """Fraction of the electrons in every component inside the band limit."""
    psi = spectrum[grid.band_indices] / (grid.shape[0] * grid.shape[1])
    return psi.real**2 + psi.imag**2


SUMS_AT_ONCE = 512
"""Partial sums that a histogram is spread over: GPUs add to few places slowly, and many terms in
one float32 lose digits."""


def angle_bins(
    angle_mrad: Float[Array, " n_band"], edges_mrad: Float[Array, " edges"]
) -> Int[Array, " n_band"]:
    """Index of the bin of each angle; angles outside the edges get index `edges − 1`."""
    bins = jnp.searchsorted(edges_mrad, angle_mrad, side="right") - 1
    return jnp.where(bins < 0, len(edges_mrad) - 1, bins)


def bin_intensity(
    fraction: Float[Array, " n_band"], bins: Int[Array, " n_band"], n_bins: int
) -> Float[Array, " bins_and_lost"]:
    """Sum the fractions of each bin; the last entry is what is in none and left the band.

    That entry is 1 − the sum over the band: electrons scattered past the band limit, and
    what the core correction does not conserve. Hard edges: no gradient in angle or voltage.
    """
    copies = max(1, SUMS_AT_ONCE // (n_bins + 1))
    places = bins * copies + np.arange(len(fraction)) % copies
    partial_sums = jax.ops.segment_sum(fraction, places, num_segments=(n_bins + 1) * copies)
    sums = partial_sums.reshape(n_bins + 1, copies).sum(axis=1)
    return sums.at[-1].set(1 - jnp.sum(sums))


def smooth_annulus(
    angle_mrad: Float[Array, " n_band"],
    inner_mrad: Scalar,
    outer_mrad: Scalar,
    edge_width_mrad: Scalar,
) -> Float[Array, " n_band"]:
    """Sensitivity of an annular detector with smooth edges, between 0 and 1.

    Logistic edges whose 12–88 % width is 4 `edge_width_mrad`; differentiable in all angles.
    """
    rise = jax.nn.sigmoid((angle_mrad - inner_mrad) / edge_width_mrad)
    fall = jax.nn.sigmoid((outer_mrad - angle_mrad) / edge_width_mrad)
    return rise * fall
