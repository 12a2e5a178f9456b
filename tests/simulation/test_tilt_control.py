"""Zernike polynomials as control variates: exact means, no bias, honest and small errors."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from ppiscs_jax import Settings
from ppiscs_jax.crystal import ZONE_AXES
from ppiscs_jax.multislice.grid import make_grid
from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH, sample_tilts
from ppiscs_jax.simulation import tilt_control
from ppiscs_jax.simulation.plan import Plan
from ppiscs_jax.simulation.tilt_control import (
    SampledTilts,
    corrections,
    order_for,
    ring_means,
    ring_weights,
    zernike,
    zernike_orders,
)

WEDGES = [axis.wedge_deg for axis in ZONE_AXES.values()] + [WHOLE_AZIMUTH]
RINGS = np.array([0.0, 12.0, 20.0])


def over_ring(low, high, wedge):
    """Nodes (ρ, azimuth from the wedge's start) and weights of a mean over a ring, ρ² ≤ 1."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    unit = (nodes + 1) / 2
    rho = np.sqrt(low**2 + (high**2 - low**2) * unit)
    grid = np.meshgrid(rho, np.deg2rad(wedge[1] - wedge[0]) * unit, indexing="ij")
    return *grid, np.outer(weights, weights) / 4


@pytest.mark.parametrize("wedge", WEDGES)
def test_polynomials_are_orthonormal_and_their_ring_means_exact(wedge):
    """Against Gauss–Legendre quadrature, in every wedge."""
    orders = zernike_orders(10, wedge)
    rho, azimuth, weights = over_ring(0, 1, wedge)
    values = zernike(orders, rho, azimuth)
    products = np.einsum("ab,abi,abj->ij", weights, values, values)
    np.testing.assert_allclose(products, np.eye(len(orders)), atol=1e-9)
    expected = ring_means(orders, RINGS)
    for ring, (low, high) in enumerate(zip(RINGS[:-1] / 20, RINGS[1:] / 20, strict=True)):
        rho, azimuth, weights = over_ring(low, high, wedge)
        means = np.einsum("ab,abi->i", weights, zernike(orders, rho, azimuth))
        np.testing.assert_allclose(means, expected[ring], atol=1e-12)


@pytest.mark.parametrize("wedge", WEDGES)
def test_order_follows_the_number_of_waves(wedge):
    """As high as sixteen waves for each polynomial allow, and never above 16."""
    assert order_for(15, wedge) == 0
    for waves in (128, 512):
        order = order_for(waves, wedge)
        assert 16 * len(zernike_orders(order, wedge)) <= waves
        assert 16 * len(zernike_orders(order + 1, wedge)) > waves or order == 16
    assert order_for(1 << 20, wedge) == 16


@pytest.mark.parametrize("zone_axis", ZONE_AXES)
@pytest.mark.parametrize("mistilt_mrad", [(0.0, 0.0), (4.0, 7.0)])
def test_what_polynomials_describe_has_no_error(zone_axis, mistilt_mrad, monkeypatch):
    """Waves that scatter 2 + ρ² + ρˢ cos s(φ − φ₀): exact ring means, for any tilts drawn.

    The azimuth is that in the aperture, from the first mirror plane; s mirror planes. Tilts are in
    single precision.
    """
    settings = Settings("Cu", zone_axis, 100.0, 20.0, 60.0, 120.0, 0.1, mistilt_mrad=mistilt_mrad)
    a = settings.element_data.lattice_angstrom
    grid = make_grid(zone_axis, a, 4.0, cell_angstrom=3.0)
    rings = np.array([0.0, 5.0, 12.0, 16.0, 20.0])
    plan = Plan.of(settings, grid, rings, np.array([60.0, 120.0]), 1, 3).with_control(1 << 9)
    first, last = np.deg2rad(settings.zone_axis_data.wedge_deg)
    order = round(np.pi / (last - first))

    def scatter(plan, tilts, batch, number):
        tilts = np.asarray(tilts, float) - mistilt_mrad
        rho, azimuth = np.hypot(*tilts.T) / 20, np.arctan2(*tilts.T[::-1]) - first
        return (2 + rho**2 + rho**order * np.cos(order * azimuth))[:, None, None] * [1, 0.1]

    monkeypatch.setattr(Plan, "_scatter", scatter)
    monkeypatch.setattr(tilt_control, "RIDGE", 0.0)
    rounds = 8
    sums = [sum(plan.grow(batch, number) for number in range(rounds)) for batch in range(16)]
    means = plan.means(np.array(sums), range(16), rounds)
    exact = 2 + (rings[:-1] ** 2 + rings[1:] ** 2) / 2 / 20**2
    np.testing.assert_allclose(means[..., 0, 0], np.tile(exact, (16, 1)), rtol=1e-5)
    np.testing.assert_allclose(means[..., 0, 1], means[..., 0, 0] / 10, rtol=1e-9)


def scattered(tilts):
    """A fraction that falls steeply with the tilt, as in a thick crystal, in two bins."""
    rho, azimuth = np.hypot(*tilts.T) / 20, np.arctan2(*tilts.T[::-1])
    peak = np.exp(-((rho / 0.25) ** 2)) * (1 + 4 * rho**2 * np.cos(2 * azimuth))
    return np.stack([1 + 2 * peak, 0.1 + 0.3 * rho**4], axis=-1)


def run(seed, waves, edges):
    """Batch means over the aperture (batches, bins) of noisy waves, plain and corrected."""
    rng = np.random.default_rng(seed)
    wedge = ZONE_AXES["110"].wedge_deg
    orders = zernike_orders(order_for(16 * waves, wedge), wedge)
    batches, sampled = [], []
    for batch in range(16):
        tilts, rings = sample_tilts(wedge, edges, (seed, batch), 0, waves)
        polynomials = zernike(orders, np.hypot(*tilts.T) / 20, np.arctan2(*tilts.T[::-1]))
        inside = np.eye(len(edges) - 1)[rings]
        weighted = ring_weights(edges)[rings, None] * polynomials
        values = scattered(tilts) * rng.normal(1, 0.015, (waves, 1))
        batches.append(np.concatenate([inside, weighted], axis=-1).T @ values)
        sampled.append(SampledTilts.of(rings, polynomials, orders, edges))
    sums = np.array(batches)
    plain = sums[:, : len(edges) - 1] * ((len(edges) - 1) / waves)
    corrected = plain - corrections(sums, SampledTilts.stack(sampled), edges)
    return [ring_weights(edges) @ means / (len(edges) - 1) for means in (plain, corrected)]


@pytest.mark.parametrize(("rings", "least_gain"), [(1, 2.0), (4, 0.9)])
def test_unbiased_with_honest_errors(rings, least_gain):
    """Over 200 seeds, 512 waves each: mean, coverage, and variance of plain means over corrected.

    Coverage of 68 % intervals over 400 numbers: ± 2.4 %, more since those of one seed are
    correlated; 10 % are allowed. The mean over seeds is within 4 of its errors (two numbers).
    Errors of batches that share their waves for the fit may be a few percent too small, and mean
    squares over 200 seeds are uncertain by 10 %: between 0.75 and 1.3 is allowed. Four rings put
    most tilts near the peak already, and gain nothing.
    """
    rho, azimuth, weights = over_ring(0, 1, ZONE_AXES["110"].wedge_deg)
    tilts = 20 * np.stack([rho * np.cos(azimuth), rho * np.sin(azimuth)], -1)
    exact = weights.ravel() @ scattered(tilts.reshape(-1, 2))
    edges = np.linspace(0, 20, rings + 1)
    runs = [run(seed, 32, edges) for seed in range(200)]
    plain, corrected = (np.array(batches) for batches in zip(*runs, strict=True))
    deviation = corrected.mean(axis=1) - exact
    error = corrected.std(axis=1, ddof=1) / 4
    assert np.all(np.abs(deviation.mean(0)) < 4 * deviation.std(0, ddof=1) / np.sqrt(200))
    ratios = np.mean(error**2, axis=0) / np.mean(deviation**2, axis=0)
    assert np.all((ratios > 0.75) & (ratios < 1.3)), ratios
    covered = np.abs(deviation) < student_t(15).ppf(0.84) * error
    assert abs(covered.mean() - 0.68) < 0.1
    gain = np.mean(plain[..., 0].var(axis=1)) / np.mean(corrected[..., 0].var(axis=1))
    assert gain > least_gain
