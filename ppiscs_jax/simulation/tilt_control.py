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
from dataclasses import dataclass
from typing import Self

import numpy as np
from jaxtyping import Float, Int

from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH

WAVES_PER_POLYNOMIAL = 16
"""Waves, of all batches together, for each fitted polynomial: with fewer, thin crystals, in which
tilts hardly matter, would lose by the fit."""

HIGHEST_ORDER = 16
"""Largest radial order of the polynomials."""

RIDGE = 1.0
"""Ridge of the fit: acts like so many more waves without tilt dependence, and keeps the
coefficients bounded."""


def zernike_orders(order: int, wedge_deg: tuple[float, float]) -> list[tuple[int, int]]:
    """Radial and azimuthal orders (n, m) up to a radial order, without piston (0, 0).

    In a wedge between mirror planes only polynomials of that symmetry: cosines of the azimuth
    from the wedge's first plane. In the whole aperture sines as well, with negative m.
    """
    whole = wedge_deg == WHOLE_AZIMUTH
    step = 1 if whole else round(180 / (wedge_deg[1] - wedge_deg[0]))
    cosines = [(n, m) for n in range(1, order + 1) for m in range(n % 2, n + 1, 2) if m % step == 0]
    return sorted({*cosines, *((n, -m) for n, m in cosines)}) if whole else cosines


def order_for(waves: float, wedge_deg: tuple[float, float]) -> int:
    """Largest radial order that so many waves, of all batches, can determine; 0 for none."""
    possible = (
        order
        for order in range(HIGHEST_ORDER, 0, -1)
        if 0 < WAVES_PER_POLYNOMIAL * len(zernike_orders(order, wedge_deg)) <= waves
    )
    return next(possible, 0)


def zernike(
    orders: Sequence[tuple[int, int]],
    rho: Float[np.ndarray, "*waves"],
    azimuth: Float[np.ndarray, "*waves"],
) -> Float[np.ndarray, "*waves polynomials"]:
    """Zernike polynomials, normalised to a mean square of 1 over the aperture.

    Args:
        orders: (n, m) of each; negative m for the sine.
        rho: radius over the aperture's.
        azimuth: [rad], from the first plane of the wedge.
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
) -> Float[np.ndarray, "rings polynomials"]:
    """Exact means of Zernike polynomials over rings of the aperture.

    Polynomials that depend on the azimuth average to zero. The others are Legendre polynomials
    L_k of 2ρ² − 1, n = 2k, with the integral (L_{k+1} − L_{k−1}) / (2k + 1).

    Args:
        orders: (n, m) of each.
        ring_edges: increasing, in any unit; the last is the edge of the aperture.
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


def ring_weights(ring_edges: Float[np.ndarray, " edges"]) -> Float[np.ndarray, " rings"]:
    """Weights of the waves of each ring in the fit: its area over the mean area."""
    areas = np.diff(np.square(ring_edges))
    return areas / areas.mean()


@dataclass(frozen=True)
class SampledTilts:
    """What the fit needs to know of the tilts of a batch, or of several along leading axes.

    Attributes:
        missed: mean of each polynomial over the sampled tilts of each ring, less its exact mean,
            (…, rings, polynomials).
        gram: Σ a d dᵀ over waves, with the weights a of their rings and d the constant 1 and the
            polynomials, (…, 1 + polynomials, 1 + polynomials).
    """

    missed: Float[np.ndarray, "*batches rings polynomials"]
    gram: Float[np.ndarray, "*batches terms terms"]

    @classmethod
    def of(
        cls,
        rings: Int[np.ndarray, " waves"],
        polynomials: Float[np.ndarray, "waves polynomials"],
        orders: Sequence[tuple[int, int]],
        ring_edges: Float[np.ndarray, " edges"],
    ) -> Self:
        """From the ring and the polynomials of each wave of a batch."""
        inside = np.eye(len(ring_edges) - 1)[rings]
        design = np.concatenate([np.ones((len(rings), 1)), polynomials], axis=-1)
        weighted = ring_weights(ring_edges)[rings, None] * design
        means = inside.T @ polynomials / inside.sum(axis=0)[:, None]
        return cls(means - ring_means(orders, ring_edges), weighted.T @ design)

    @classmethod
    def stack(cls, batches: Sequence[Self]) -> Self:
        """Those of several batches as one."""
        return cls(np.stack([b.missed for b in batches]), np.stack([b.gram for b in batches]))


def corrections(
    sums: Float[np.ndarray, "batches sums *values"],
    tilts: SampledTilts,
    ring_edges: Float[np.ndarray, " edges"],
) -> Float[np.ndarray, "batches rings *values"]:
    """What the sampled tilts put on the means of each ring, to be taken off. Linear in the sums.

    Args:
        sums: of what the waves of each batch scatter: over the waves of each ring, then over all
            waves times each polynomial and the weight of their ring.
        tilts: the tilts of each batch.
        ring_edges: as in `ring_means`.
    """
    n_batches, n_rings, n_polynomials = tilts.missed.shape
    flat = sums.reshape(n_batches, n_rings + n_polynomials, -1)
    # Each correction is missed · c, and gram · c = moments, both of all other batches: a sum over
    # these moments. That of the constant 1 is the weighted sum over rings.
    ridge = RIDGE * np.diag(np.arange(1 + n_polynomials) > 0)
    others = tilts.gram.sum(axis=0) - tilts.gram + ridge
    padded = np.pad(tilts.missed, [(0, 0), (0, 0), (1, 0)])
    of_moments = np.linalg.solve(others, padded.swapaxes(1, 2)).swapaxes(1, 2)
    of_rings = of_moments[..., :1] * ring_weights(ring_edges)
    of_sums = np.concatenate([of_rings, of_moments[..., 1:]], axis=-1)
    corrected = of_sums @ flat.sum(axis=0) - of_sums @ flat
    return corrected.reshape(n_batches, n_rings, *sums.shape[2:])
