"""Transmission functions of atomic planes of displaced atoms."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from ppiscs_jax.constants import interaction_angstrom
from ppiscs_jax.multislice.core_correction import (
    N_FREQUENCIES,
    REACH,
    core_spectrum,
    core_table,
    soft_window,
)
from ppiscs_jax.multislice.form_factors import scattering_factor_angstrom
from ppiscs_jax.multislice.grid import Grid
from ppiscs_jax.types import Scalar


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Atom:
    """Spectra of one atom on a grid, normalised so that an inverse FFT sums them over sites.

    Attributes:
        phase: spectrum of the phase v [rad], rows × half the columns (v is real).
        core: spectrum of the core correction, or None to go without.
    """

    phase: Float[Array, "nx half_ny"]
    core: Complex[Array, "nx ny"] | None


def make_atom(
    symbol: str,
    unit_angstrom: float,
    grid: Grid,
    voltage_kv: Scalar,
    *,
    core_correction: bool = True,
) -> Atom:
    """Spectra of one atom. Differentiable in `voltage_kv` [kV].

    Without core correction the scattering factor is cut sharply at the band limit, as
    multislice programs usually do.
    """
    g = grid.radial_frequency / unit_angstrom
    k_c = grid.band_limit / unit_angstrom
    window = soft_window(g / k_c) if core_correction else grid.in_band
    pixels_per_area = np.prod(grid.shape) / (np.prod(grid.lengths) * unit_angstrom**2)
    spectrum = scattering_factor_angstrom(symbol, g) * window * pixels_per_area
    gamma_lambda = interaction_angstrom(voltage_kv)
    half = grid.shape[1] // 2 + 1
    phase = gamma_lambda * jnp.asarray(spectrum[:, :half])
    if not core_correction:
        return Atom(phase, None)
    radial = core_spectrum(core_table(symbol, k_c), gamma_lambda)
    core = jnp.interp(jnp.asarray(g / k_c), jnp.linspace(0, REACH, N_FREQUENCIES), radial)
    return Atom(phase, core * pixels_per_area)


def displace(
    key: PRNGKeyArray,
    sites: Float[Array, "atoms 2"],
    rmsd: Float[Array, " 2"],
) -> Float[Array, "atoms 2"]:
    """Independent Gaussian displacements in the plane (Einstein model).

    Sites and rmsd are fractions of the supercell's edges.
    """
    # Drawn in float32 whatever the precision: float64 runs repeat the same crystal.
    return sites + rmsd * jax.random.normal(key, sites.shape, jnp.float32)


def transmission(
    grid: Grid,
    atom: Atom,
    positions: Float[Array, "atoms 2"],
    occupied: Float[Array, " atoms"] | None = None,
) -> Complex[Array, "nx ny"]:
    """Transmission function of one atomic plane; positions are fractions of the cell.

    exp(i v) with the exact structure factor of the displaced atoms, plus core correction.
    `occupied` is 1 for atoms that are there and 0 for places kept free; None for all there.
    """
    nx, ny = grid.shape
    turns = [positions[:, i, None] * (np.fft.fftfreq(n) * n) for i, n in enumerate((nx, ny))]
    # Whole turns are dropped before the cosine: float32 keeps its digits that way.
    ex, ey = (jnp.exp(-2j * jnp.pi * (t - jnp.round(t))) for t in turns)
    if occupied is not None:
        ex = ex * occupied[:, None]
    # Highest precision: GPUs would otherwise shorten float32 products to ten bits.
    structure = jnp.matmul(ex.T, ey, precision=jax.lax.Precision.HIGHEST)
    half = ny // 2 + 1
    phase = jnp.fft.irfft2(structure[:, :half] * atom.phase, s=grid.shape)
    t = jnp.exp(1j * phase)
    return t if atom.core is None else t + jnp.fft.ifft2(structure * atom.core)
