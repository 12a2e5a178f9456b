"""Core correction: what a band-limited phase loses at the nuclei, put back exactly.

exp(iv) peaks sharply at each nucleus, so a grid that only holds the detector cuts v too
early. Split the phase of one atom into v = v_soft + rest, where v_soft carries a smooth
window W that ends at the band limit k_c. The grid exponentiates v_soft, whose exponential it
resolves, and

    t(r) = exp(i v_soft(r)) + Σⱼ D(r − rⱼ),    D = exp(i v) − exp(i v_soft)  (one atom),

is exact on the grid for separate atoms (a neighbour's tail at a nucleus turns D by about
1e-3 rad at most in these crystals). D is radial: its spectrum is a Hankel transform of two radial
functions, so no fine grid is ever made.
"""

from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Array, Complex, Float

from ppiscs_jax.multislice.form_factors import projected_scattering, scattering_factor_angstrom
from ppiscs_jax.types import Scalar

N_FREQUENCIES = 1025
REACH = 2.0
"""D(g) is sampled at N_FREQUENCIES even steps on 0 … REACH · k_c (past the corners of any
grid whose smaller Nyquist frequency is k_c) and interpolated linearly: error < 1e-5 D(0)."""


def soft_window(x: np.ndarray) -> np.ndarray:
    """W at x = g / k_c: cos² falling from 1 at x = 0 to 0 at x = 1."""
    return np.where(x < 1, np.cos(0.5 * np.pi * np.minimum(x, 1)) ** 2, 0.0)


def _gauss_legendre(low: float, high: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    half = 0.5 * (high - low)
    return low + half * (nodes + 1), half * weights


@lru_cache(maxsize=1)
def _hankel() -> tuple[np.ndarray, np.ndarray]:
    """Quadrature nodes ρ = r k_c and the matrix of 2π ∫ f(ρ) J₀(2πγρ) ρ dρ, γ = g / k_c.

    Logarithmic nodes resolve the oscillation of exp(iv) towards the nucleus; even ones the
    oscillation of J₀ out to where exp(iv) − exp(iv_soft) has died out.
    """
    log_nodes, log_weights = _gauss_legendre(np.log(1e-6), np.log(0.5), 96)
    inner = np.exp(log_nodes)
    outer, outer_weights = _gauss_legendre(0.5, 24.0, 512)
    nodes = np.concatenate([inner, outer])
    weights = np.concatenate([log_weights * inner, outer_weights])
    gamma = np.linspace(0, REACH, N_FREQUENCIES)
    return nodes, 2 * np.pi * nodes * weights * scipy.special.j0(2 * np.pi * gamma[:, None] * nodes)


@dataclass(frozen=True)
class CoreTable:
    """Radial functions of one element at one band limit, before the voltage enters.

    Attributes:
        full, soft: projected scattering of one atom with all its frequencies, and with
            those of the window, at the quadrature nodes [Å⁻¹].
        band_limit_inv_angstrom: k_c [Å⁻¹], the unit of the quadrature.
    """

    full: Float[np.ndarray, " nodes"]
    soft: Float[np.ndarray, " nodes"]
    band_limit_inv_angstrom: float


@lru_cache(maxsize=64)
def core_table(symbol: str, band_limit_inv_angstrom: float) -> CoreTable:
    """Radial functions for `core_spectrum`, computed once in float64 on the host."""
    k_c = band_limit_inv_angstrom
    nodes, _ = _hankel()
    g, weights = _gauss_legendre(0.0, 1.0, 256)
    spectrum = scattering_factor_angstrom(symbol, g * k_c) * soft_window(g)
    soft = k_c**2 * (
        scipy.special.j0(2 * np.pi * nodes[:, None] * g) @ (2 * np.pi * g * weights * spectrum)
    )
    return CoreTable(
        full=projected_scattering(symbol, nodes / k_c),
        soft=soft,
        band_limit_inv_angstrom=k_c,
    )


def core_spectrum(table: CoreTable, interaction_angstrom: Scalar) -> Complex[Array, " frequencies"]:
    """D(g) [Å²] on even steps from 0 to REACH · k_c. Differentiable in γλ, so in voltage."""
    full, soft, hankel = (
        jnp.asarray(x, dtype=jnp.result_type(float)) for x in (table.full, table.soft, _hankel()[1])
    )
    lost = jnp.exp(1j * interaction_angstrom * full) - jnp.exp(1j * interaction_angstrom * soft)
    # Two real products: the matrix stays real.
    exactly = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    spectrum = jax.lax.complex(exactly(hankel, lost.real), exactly(hankel, lost.imag))
    return spectrum / table.band_limit_inv_angstrom**2
