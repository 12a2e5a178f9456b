"""Fresnel propagation of a tilted wave between atomic planes."""

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from ppiscs_jax.multislice.grid import Grid
from ppiscs_jax.types import Scalar


def propagator(
    grid: Grid,
    residual: Float[Array, " 2"],
    unit_angstrom: Scalar,
    wavelength_angstrom: Scalar,
    distance_angstrom: Scalar,
    *,
    band_limited: bool = True,
) -> Complex[Array, "nx ny"]:
    """exp(−iπ λ Δz |g + q|²) inside the band limit, zero outside.

    Paraxial. `residual` is q, the part of the tilt inside the first Brillouin zone of the
    supercell [1 / unit].
    """
    scale = jnp.pi * wavelength_angstrom * distance_angstrom / unit_angstrom**2
    gx, gy = grid.frequencies
    px, py = (
        jnp.exp(-1j * scale * (g + q) ** 2) for g, q in ((gx, residual[0]), (gy, residual[1]))
    )
    full = px[:, None] * py[None, :]
    return jnp.where(grid.in_band, full, 0) if band_limited else full
