"""Fits of curves whose errors are correlated: standard errors that hold.

The forward model is linear in all that is free, so that a fit is exact and every statement about
its errors has a closed form.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError, Settings
from ppiscs_jax.inverse.batch import fit_batch
from ppiscs_jax.inverse.correlated import whitening
from ppiscs_jax.inverse.coverage import coverage
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.simulation.curve import Curve

N = 40
SETTINGS = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
FREE = {"convergence_mrad": Free(10, 30), "inner_mrad": Free(40, 80)}
PROBLEM = Problem(SETTINGS, FREE)
TRUTH = np.array([20.0, 60.0])
ATOMS = np.arange(1, N + 1)


def forward(x):
    """A curve that is linear in aperture and inner angle."""
    n = jnp.asarray(ATOMS)
    return 0.05 * n * (1 + 0.02 * (x[5] - 20)) + 0.01 * jnp.sqrt(n) * (60 - x[6])


EXACT = np.asarray(forward(SETTINGS.to_vector()), float)
JACOBIAN = np.stack([0.001 * ATOMS, -0.01 * np.sqrt(ATOMS)], axis=1)

ALONG = np.log(ATOMS)
CORRELATED = 0.01 * np.sqrt(ATOMS)[:, None] * np.sqrt(ATOMS) * np.exp(
    -np.abs(ALONG[:, None] - ALONG)
) + 1e-6 * np.eye(N)
"""Covariance of errors like those of a kernel [Å⁴], scaled down below."""
CORRELATED *= 4e-4


def curve_of(batches):
    """A simulated curve with these batches."""
    n = len(batches)
    modes = (batches - batches.mean(axis=0)) / np.sqrt(n * (n - 1))
    error = np.sqrt(np.sum(modes**2, axis=0))
    return Curve(ATOMS, batches.mean(axis=0), error, SETTINGS, 0, 128, n, error_modes=modes)


def simulated(random, batches=16):
    """Batches whose mean has the covariance CORRELATED."""
    spread = np.linalg.cholesky(CORRELATED * batches)
    return EXACT + random.normal(size=(batches, N)) @ spread.T


def mahalanobis(estimates, covariances):
    off = estimates - TRUTH
    return np.einsum("ci,cij,cj->c", off, np.linalg.inv(covariances), off)


def test_whitening():
    """W (1 + G Gᵀ) Wᵀ = 1."""
    modes = np.random.default_rng(0).normal(size=(3, 7))
    white = whitening(modes)
    covariance = np.eye(7) + modes.T @ modes
    np.testing.assert_allclose(white(white(covariance).T), np.eye(7), atol=1e-12)
    np.testing.assert_allclose(white.padded(8)(covariance), white(covariance))


def test_a_known_covariance_is_generalised_least_squares():
    """(Jᵀ C⁻¹ J)⁻¹, whether C is given whole or as modes and independent errors."""
    values = simulated(np.random.default_rng(1)).mean(axis=0)
    inverse = np.linalg.inv(CORRELATED)
    covariance = np.linalg.inv(
        JACOBIAN.T @ inverse @ JACOBIAN + np.diag(12 / np.array([20, 40]) ** 2)
    )
    estimate = np.linalg.solve(
        JACOBIAN.T @ inverse @ JACOBIAN, JACOBIAN.T @ inverse @ (values - EXACT)
    )
    independent = np.full(N, 1e-4)
    power, vectors = np.linalg.eigh(CORRELATED - np.diag(independent**2))
    modes = (vectors * np.sqrt(power)).T
    for measured in (
        Measured(values, covariance=CORRELATED),
        Measured(values, independent, error_modes=modes),
    ):
        found = fit(forward, PROBLEM, measured)
        np.testing.assert_allclose(found.estimates, TRUTH + estimate, rtol=1e-6)
        np.testing.assert_allclose(found.covariance, covariance, rtol=1e-5)
        assert found.dof == N - 2
        assert found.explained


@pytest.mark.slow
def test_few_batches():
    """Mean of squared Mahalanobis distances 2, and intervals that hold, over 300 simulations.

    The distance is Hotelling's T², scaled to a mean of k = 2; its standard deviation is then 2.8
    with 15 degrees of freedom, that of the mean 0.16: four of them are allowed. With independent
    errors the mean is above 20.
    """
    random = np.random.default_rng(2)
    curves = [curve_of(simulated(random)) for _ in range(300)]
    fits = fit_batch(forward, PROBLEM, [Measured.from_curve(c) for c in curves])
    distances = mahalanobis(fits.estimates, fits.covariance)
    assert np.mean(distances) == pytest.approx(2, abs=0.64)
    held = np.abs(fits.estimates - TRUTH) < 1.96 * fits.standard_errors
    # 600 intervals, two of a fit: 0.95 and four standard errors of 300 fits; Hotelling's factor
    # for two numbers makes each interval a little wider than needed.
    assert 0.95 - 4 * np.sqrt(0.05 * 0.95 / 300) < held.mean() < 0.99
    # p-values are uniform: the mean of 300 is 1/2 ± 1/√(12 · 300).
    assert np.mean(fits.p_value) == pytest.approx(0.5, abs=4 / np.sqrt(3600))
    naive = fit_batch(forward, PROBLEM, [Measured(c.ppiscs, c.standard_error) for c in curves])
    assert np.mean(mahalanobis(naive.estimates, naive.covariance)) > 10


@pytest.mark.slow
def test_one_fit_is_the_batch_of_one():
    """Also with priors, which the second stage weighs against the projected data."""
    free = {name: Free(f.low, f.high, 1.0) for name, f in FREE.items()}
    problem = Problem(SETTINGS, free)
    measured = Measured.from_curve(curve_of(simulated(np.random.default_rng(3))))
    one, batch = fit(forward, problem, measured), fit_batch(forward, problem, [measured])
    np.testing.assert_allclose(one.estimates, batch.estimates[0], rtol=1e-5)
    np.testing.assert_allclose(one.covariance, batch.covariance[0], rtol=1e-3)
    assert one.p_value == pytest.approx(batch.p_value[0], rel=1e-3)


def test_a_wrong_model_is_not_explained():
    """A term that no free number can imitate, ten times the error."""
    wrong = EXACT + 0.3 * np.sin(ATOMS / 6) * np.sqrt(np.diag(CORRELATED)) * 20
    random = np.random.default_rng(4)
    batches = simulated(random) - EXACT + wrong
    assert not fit(forward, PROBLEM, Measured.from_curve(curve_of(batches))).explained


def test_the_error_of_the_model():
    """It is added to that of the data, by a function of the settings, and can be left out."""
    measured = Measured(EXACT, 0.01)

    def modes(x):
        assert x.shape == (9,)
        return 0.02 * EXACT[None]

    alone = fit(forward, PROBLEM, measured)
    both = fit(forward, PROBLEM, measured, model_error=modes)
    covariance = 1e-4 * np.eye(N) + 4e-4 * np.outer(EXACT, EXACT)
    expected = fit(forward, PROBLEM, Measured(EXACT, covariance=covariance))
    np.testing.assert_allclose(both.covariance, expected.covariance, rtol=1e-6)
    assert np.all(both.standard_errors > alone.standard_errors)
    assert fit(forward, PROBLEM, measured, model_error=False).covariance == pytest.approx(
        alone.covariance
    )


@pytest.mark.slow
def test_coverage_of_correlated_errors():
    """Gaussian priors, for which the intervals hold; an error of 2 % of the model beside it."""
    problem = Problem(
        SETTINGS,
        {"convergence_mrad": Free(15, 25, 0.5), "inner_mrad": Free(58, 62, 0.2)},
    )
    found = coverage(
        forward,
        problem,
        jax.random.key(0),
        covariance=CORRELATED,
        cases=400,
        levels=(0.95,),
        model_error=lambda _: 0.02 * EXACT[None],
    )
    error = np.sqrt(0.05 * 0.95 / 400)
    np.testing.assert_allclose(found.fractions, 0.95, atol=4 * error)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"covariance": np.eye(3)}, "must be 40 × 40 numbers"),
        ({"covariance": -CORRELATED}, "variances above 0"),
        ({"covariance": np.ones((N, N))}, "covariance: is singular"),
        ({"covariance": CORRELATED + np.triu(np.ones((N, N)), 1)}, "symmetric"),
        ({"error_modes": np.full((2, N), np.nan)}, "error_modes: must be finite"),
        ({"error_modes": np.ones((2, 3))}, "error_modes of shape"),
        ({"covariance": CORRELATED, "dose_per_angstrom2": 1e4}, "dose_per_angstrom2: determines"),
        ({"error_modes": np.ones((2, N)), "degrees_of_freedom": 0}, "degrees_of_freedom = 0"),
    ],
)
def test_what_is_no_covariance(given, said):
    with pytest.raises(InputError, match=said):
        Measured(EXACT, **given)


def test_a_curve_without_modes():
    curve = Curve(ATOMS, EXACT, 0.1 * EXACT, SETTINGS, 0, 128, 16)
    with pytest.raises(InputError, match="does not say how its errors are correlated"):
        Measured.from_curve(curve)
