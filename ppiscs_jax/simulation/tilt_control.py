"""Control variates of the tilt average: Zernike polynomials take up what sampled tilts miss.

In thick crystals the fraction P(t) that a wave scatters varies strongly with its tilt t, and a few
tilts average it poorly, however they are drawn. The aperture's mean of a Zernike polynomial Z_j(t)
is known, so that with any coefficients c_j

    ⟨P⟩ = ⟨P(t) − Σ_j c_j (Z_j(t) − ⟨Z_j⟩)⟩,

and with those of a fit to P(t) only what the polynomials cannot describe still depends on the
sampling. The coefficients that correct a batch are fitted to the waves of the other batches: they
are independent of its tilts, and the mean stays unbiased. docs/physics.md has the derivation.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH

WAVES_PER_FUNCTION = 16
"""Waves, of all batches together, that a polynomial needs to be worth fitting."""

HIGHEST_ORDER = 16
"""Radial order of the highest polynomials, 2ρ¹⁶ − … ."""

RIDGE = 1.0
"""Waves without any tilt dependence that are thought added to the fit, to keep it bounded."""


def zernike_orders(order: int, wedge_deg: tuple[float, float]) -> list[tuple[int, int]]:
    """Radial and azimuthal orders (n, m) up to a radial order, without piston (0, 0).

    In a wedge between mirror planes only polynomials of that symmetry: cosines of the azimuth
    from the wedge's first plane. In the whole aperture sines as well, with negative m.
    """
    step = 1 if wedge_deg == WHOLE_AZIMUTH else round(180 / (wedge_deg[1] - wedge_deg[0]))
    cosines = [
        (n, m) for n in range(1, order + 1) for m in range(0, n + 1, step) if (n - m) % 2 == 0
    ]
    if wedge_deg != WHOLE_AZIMUTH:
        return cosines
    return sorted({(n, sign * m) for n, m in cosines for sign in (1, -1)})


def order_for(waves: float, wedge_deg: tuple[float, float]) -> int:
    """Radial order whose polynomials so many waves determine well; 0 for no polynomials."""
    fitting = (
        order
        for order in range(HIGHEST_ORDER, 0, -1)
        if 0 < WAVES_PER_FUNCTION * len(zernike_orders(order, wedge_deg)) <= waves
    )
    return next(fitting, 0)


def zernike(
    orders: Sequence[tuple[int, int]],
    rho: Float[np.ndarray, "*waves"],
    azimuth: Float[np.ndarray, "*waves"],
) -> Float[np.ndarray, "*waves functions"]:
    """Zernike polynomials, normalised to a mean square of 1 over the aperture.

    Args:
        orders: (n, m) of each; negative m for the sine.
        rho: radius over the aperture's.
        azimuth: [rad], from where the cosines begin.
    """
    from scipy.special import eval_jacobi  # as scipy.stats, slow to import

    columns = []
    for n, m in orders:
        a = abs(m)
        radial = rho**a * eval_jacobi((n - a) // 2, 0, a, 2 * rho**2 - 1)
        angular = np.sin(a * azimuth) if m < 0 else np.cos(a * azimuth)
        columns.append(np.sqrt((n + 1) * (2 if m else 1)) * radial * angular)
    return np.stack(columns, axis=-1) if columns else np.zeros((*rho.shape, 0))


def ring_means(
    orders: Sequence[tuple[int, int]], ring_edges: Float[np.ndarray, " edges"]
) -> Float[np.ndarray, "rings functions"]:
    """Means of Zernike polynomials over rings of the aperture, whose edges are given in any unit.

    Only polynomials without azimuth have one: Legendre polynomials P_k of 2ρ² − 1, n = 2k, with
    the integral (P_{k+1} − P_{k−1}) / (2k + 1).
    """
    from scipy.special import eval_legendre

    x = 2 * (ring_edges / ring_edges[-1]) ** 2 - 1
    means = np.zeros((len(x) - 1, len(orders)))
    for j, (n, m) in enumerate(orders):
        if m == 0:
            k = n // 2
            integral = (eval_legendre(k + 1, x) - eval_legendre(k - 1, x)) / (2 * k + 1)
            means[:, j] = np.sqrt(n + 1) * np.diff(integral) / np.diff(x)
    return means


def corrected_means(
    sums: Float[np.ndarray, "batches rings_and_functions *values"],
    rings: Int[np.ndarray, "batches waves"],
    functions: Float[np.ndarray, "batches waves functions"],
    means_of_rings: Float[np.ndarray, "rings functions"],
) -> Float[np.ndarray, "batches rings *values"]:
    """Batch means in every ring, with what their tilts miss taken off.

    Linear in the sums. The fit is to all rings together.

    Args:
        sums: of what the waves of each batch scatter: those in every ring, then of all waves times
            each function.
        rings: the ring of every wave.
        functions: of the tilt of every wave.
        means_of_rings: exact means of the functions.
    """
    n_batches, n_rings = len(sums), len(means_of_rings)
    inside = np.eye(n_rings)[rings]
    counts = inside.sum(axis=1)
    means = sums[:, :n_rings] / counts.reshape(*counts.shape, *[1] * (sums.ndim - 2))
    missed = np.einsum("bwr,bwj->brj", inside, functions) / counts[..., None] - means_of_rings

    # Normal equations of each fit, with a constant, from the waves of all other batches.
    design = np.concatenate([np.ones((*rings.shape, 1)), functions], axis=-1)
    gram = np.einsum("bwi,bwj->bij", design, design)
    ridge = RIDGE * np.diag(np.arange(design.shape[-1]) > 0)
    others = gram.sum(axis=0) - gram + ridge
    # The correction is missed · c, where others · c = moments of the others: a sum over these. The
    # moment with the constant is the sum of all rings.
    padded = np.concatenate([np.zeros((n_batches, n_rings, 1)), missed], axis=-1)
    weights = np.linalg.solve(others, padded.swapaxes(1, 2)).swapaxes(1, 2)
    weights = np.repeat(weights, [n_rings] + [1] * functions.shape[-1], axis=-1)
    flat = sums.reshape(*sums.shape[:2], -1)
    corrections = weights @ flat.sum(axis=0) - weights @ flat
    return means - corrections.reshape(means.shape)
