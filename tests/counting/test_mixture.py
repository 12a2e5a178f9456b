"""Mixtures: likelihoods by hand, the number of components of known ones."""

import numpy as np
import pytest

from ppiscs_jax.counting.mixture import fit_mixtures
from ppiscs_jax.errors import InputError


def known(seed: int = 0, count: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Values of 1 … 6 atoms, 0.03 Å² each, with a width of a sixth of that."""
    generator = np.random.default_rng(seed)
    atoms = generator.integers(1, 7, count)
    return atoms, generator.normal(0.03 * atoms, 0.005)


def test_one_component():
    """NLL of a Gaussian at its mean and variance: N/2 (ln 2πσ² + 1); 2G = 2 numbers."""
    _, values = known()
    one = fit_mixtures(values, 1).mixtures[0]
    n = len(values)
    nll = n / 2 * (np.log(2 * np.pi * np.var(values)) + 1)
    assert one.nll == pytest.approx(nll, rel=1e-9)
    assert one.entropy == 0
    assert one.icl == pytest.approx(2 * nll + 2 * np.log(n), rel=1e-9)


def test_known_components():
    """Means of 67 values each have standard errors of 0.005 / √67 = 6e-4; four of them allowed."""
    atoms, values = known()
    found = fit_mixtures(values, 12)
    assert 6 in found.minima
    assert found.suggested == 6
    np.testing.assert_allclose(found.mixtures[5].means, 0.03 * np.arange(1, 7), atol=2.4e-3)
    counts = found.probabilities(6).argmax(axis=1) + 1
    # Neighbours are three widths from the middle: 2 · Φ(−3) = 0.0027 go wrong.
    assert np.mean(counts == atoms) > 0.98


def test_likelihood_rises_with_components():
    _, values = known(1)
    nll = [m.nll for m in fit_mixtures(values, 10).mixtures]
    assert np.all(np.diff(nll) < 1e-6)


def test_many_values_are_summarised():
    """Of 2000 values the same is found; NLL is near the one at the true mixture, or below."""
    atoms, values = known(2, 2000)
    found = fit_mixtures(values, 8)
    assert found.suggested == 6
    shares = np.bincount(atoms)[1:] / len(atoms)
    logs = -0.5 * ((values[:, None] - 0.03 * np.arange(1, 7)) / 0.005) ** 2
    density = np.exp(logs) @ shares / (0.005 * np.sqrt(2 * np.pi))
    assert found.mixtures[5].nll < -np.log(density).sum() + 0.1


def test_noise_of_the_dose():
    """With widths σ² + μ / D, σ is what the dose does not explain."""
    generator = np.random.default_rng(3)
    atoms = generator.integers(1, 5, 600)
    dose, sigma = 2000.0, 0.002
    values = generator.normal(0.03 * atoms, np.sqrt(sigma**2 + 0.03 * atoms / dose))
    found = fit_mixtures(values, 4, dose=dose).mixtures[3]
    np.testing.assert_allclose(found.means, 0.03 * np.arange(1, 5), atol=0.003)
    assert found.width == pytest.approx(sigma, abs=0.0015)


def test_bad_input():
    with pytest.raises(InputError, match="5 or more finite numbers"):
        fit_mixtures(np.ones(10))
    with pytest.raises(InputError, match="components = 0"):
        fit_mixtures(np.arange(10.0), 0)
