"""Tilted plane waves: which tilts, and how a tilt starts on the periodic cell."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from ppiscs_jax.multislice.grid import Grid
from ppiscs_jax.types import Scalar

WHOLE_AZIMUTH = (0.0, 360.0)


def sample_tilts(
    wedge_deg: tuple[float, float],
    ring_edges_mrad: np.ndarray,
    seeds: tuple[int, ...],
    start: int,
    n_waves: int,
    rounds: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Quasi-random tilts over the rings of an aperture: part of one endless sequence.

    A scrambled Sobol sequence: its first coordinate picks ring and radius, uniform in area
    within a ring, so that rings of any width get the same number of waves; its second the
    azimuth.

    Args:
        wedge_deg: first and last azimuth [°]: the irreducible wedge of a zone axis, or
            WHOLE_AZIMUTH for a mistilted crystal.
        ring_edges_mrad: increasing edges of the rings [mrad], shape (rings + 1,); the number
            of rings is a power of two.
        seeds: what the scrambling is drawn from.
        start: number of tilts to skip, a multiple of `n_waves`.
        n_waves: number of tilts, a power of two and a multiple of the number of rings.
        rounds: how many times that number is drawn, one after the other.

    Returns:
        Tilts as (q_x, q_y) [mrad], shape (rounds · n_waves, 2), and the ring of each.
    """
    from scipy.stats import qmc  # half a second to import, needed only to simulate

    edges = np.asarray(ring_edges_mrad, dtype=float)
    sobol = qmc.Sobol(2, scramble=True, rng=np.random.default_rng(seeds))
    if start:
        sobol.fast_forward(start)
    s, t = np.concatenate([sobol.random(n_waves) for _ in range(rounds)]).T
    ring = np.floor(s * (len(edges) - 1)).astype(int)
    fraction = s * (len(edges) - 1) - ring
    low, high = edges[ring], edges[ring + 1]
    radius = np.sqrt(low**2 + fraction * (high**2 - low**2))
    first, last = np.deg2rad(wedge_deg)
    azimuth = first + t * (last - first)
    return radius[:, None] * np.stack([np.cos(azimuth), np.sin(azimuth)], axis=-1), ring


class Tilt(NamedTuple):
    """A tilt split into a reciprocal vector of the supercell and the rest.

    Attributes:
        order: the reciprocal vector, as integer-valued indices along A and B.
        residual: the rest, inside the first Brillouin zone [1 / unit].
    """

    order: Float[Array, " 2"]
    residual: Float[Array, " 2"]


def split_tilt(
    grid: Grid,
    tilt_mrad: Float[Array, " 2"],
    unit_angstrom: Scalar,
    wavelength_angstrom: Scalar,
) -> Tilt:
    """Split a tilt so that the grid stays centred on the zone axis for every tilt.

    The band limit then needs no room for the aperture. The derivative with respect to
    angle or wavelength acts on the residual, at a fixed order.
    """
    q = 1e-3 * tilt_mrad / wavelength_angstrom * unit_angstrom
    lengths = jnp.asarray(grid.lengths)
    order = jax.lax.stop_gradient(jnp.round(q * lengths))
    return Tilt(order, q - order / lengths)


def plane_wave(grid: Grid, order: Float[Array, " 2"]) -> Complex[Array, "nx ny"]:
    """The wave e^{2πi g·r} of unit amplitude for a reciprocal vector of the supercell."""
    nx, ny = grid.shape
    wx, wy = (
        jnp.exp(2j * jnp.pi * jnp.mod(np.arange(n) * m, n) / n)
        for n, m in ((nx, order[0]), (ny, order[1]))
    )
    return wx[:, None] * wy[None, :]
