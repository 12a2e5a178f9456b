"""Draws, spreads and intervals: against closed forms, and whether they keep their word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ppiscs_jax import InputError
from ppiscs_jax.inverse.coverage import coverage
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.inverse.uncertainty import Samples, laplace, prior_samples, propagate
from tests.inverse.test_fit import NOMINAL, STD, analytic, gaussian, line, noisy

KEY = jax.random.key(0)


def test_prior_samples():
    """Uniform between bounds alone, else a Gaussian cut at the bounds; by Kolmogorov–Smirnov."""
    problem = Problem(
        NOMINAL,
        {"inner_mrad": Free(45.0, 46.5), "rmsd_angstrom": Free(0.088, 0.1, 0.003)},
    )
    samples = prior_samples(problem, KEY, 2000)
    inner, rmsd = samples.values.T
    assert stats.kstest(inner, stats.uniform(45.0, 1.5).cdf).pvalue > 1e-3
    cut = stats.truncnorm(-0.002 / 0.003, 0.01 / 0.003, 0.090, 0.003)
    assert stats.kstest(rmsd, cut.cdf).pvalue > 1e-3
    again = prior_samples(problem, KEY, 2000)
    np.testing.assert_array_equal(again.values, samples.values)
    with pytest.raises(InputError, match="draws = 1: must be 2 to"):
        prior_samples(problem, KEY, 1)


def test_paper_propagation():
    """Linear model, uniform draws: std = |slope| × half width / √3, within 4 standard errors.

    Of the standard deviation of N uniform draws it is σ √(0.8 / 4N): their kurtosis is 1.8.
    """
    problem = Problem.within(NOMINAL, {"rmsd_angstrom": 0.0025, "c30_mm": 0.001})
    spread = propagate(line, problem, prior_samples(problem, KEY))
    expected = 10 * np.arange(1, 11) * 0.0025 / np.sqrt(3)
    np.testing.assert_allclose(spread.std_error, expected * np.sqrt(0.8 / 4000), rtol=0.15)
    assert np.all(np.abs(spread.std - expected) < 4 * spread.std_error)
    np.testing.assert_allclose(spread.mean, line(jnp.asarray(NOMINAL)), rtol=1e-2)


def test_propagation_of_gain_and_of_no_effect():
    """Gain within ± 3 %: std / curve is 0.03/√3 at all thicknesses. C30: nothing."""
    problem = Problem.within(NOMINAL, {"gain": 0.03})
    spread = propagate(analytic, problem, prior_samples(problem, KEY, 4000))
    curve = np.asarray(analytic(jnp.asarray(NOMINAL)))
    np.testing.assert_allclose(spread.std / curve, 0.03 / np.sqrt(3), rtol=0.03)
    problem = Problem.within(NOMINAL, {"c30_mm": 0.001})
    spread = propagate(analytic, problem, prior_samples(problem, KEY, 10))
    np.testing.assert_allclose(spread.std, 0, atol=1e-7)
    np.testing.assert_allclose(spread.std_error, 0, atol=1e-6)


def test_propagation_outside_the_model():
    def narrow(x):
        return jnp.where(x[8] > 0.09, jnp.nan, analytic(x))

    problem = Problem.within(NOMINAL, {"rmsd_angstrom": 0.003})
    with pytest.raises(InputError, match=r"for \d+.\d% of the draws the forward model gives"):
        propagate(narrow, problem, prior_samples(problem, KEY, 50))
    with pytest.raises(InputError, match=r"for 100.0% of the draws"):
        propagate(lambda x: x * jnp.nan, problem, prior_samples(problem, KEY, 50))
    other = Problem.within(NOMINAL, {"inner_mrad": 1.0})
    with pytest.raises(InputError, match=r"samples: of \('rmsd_angstrom',\)"):
        propagate(analytic, other, prior_samples(problem, KEY, 50))
    along_100 = np.concatenate([[79, 1], NOMINAL[2:]])
    problem = Problem.within(along_100, {"rmsd_angstrom": 0.003})
    spread = propagate(analytic, problem, prior_samples(problem, KEY, 50))
    np.testing.assert_array_equal(np.isnan(spread.std), np.arange(1, 41) > 30)


def test_weighted_intervals():
    """Weights w of whole numbers are draws repeated w times."""
    rng = np.random.default_rng(0)
    values, repeats = rng.standard_normal((500, 2)), rng.integers(0, 4, 500)
    weighted = Samples(("a", "b"), values, repeats / repeats.sum(), 1.0)
    repeated = np.repeat(values, repeats, axis=0)
    np.testing.assert_allclose(weighted.mean, repeated.mean(axis=0))
    np.testing.assert_allclose(weighted.covariance, np.cov(repeated.T, ddof=0))
    for level in (0.5, 0.95):
        ends = np.quantile(
            repeated, [0.5 - level / 2, 0.5 + level / 2], axis=0, method="inverted_cdf"
        )
        np.testing.assert_allclose(weighted.interval(level), ends)


def test_laplace_of_a_linear_model():
    """The posterior is the Gaussian of the fit; of Student's t with 5 degrees most draws count.

    Mean within 5 σ/√ESS, widths within 5 σ/√(2 ESS).
    """
    problem = gaussian({"convergence_mrad": 0.5, "rmsd_angstrom": 0.004}, reach=20)
    measured = Measured(np.asarray(line(jnp.asarray(NOMINAL))) * 1.01, 0.3)
    result = fit(line, problem, measured)
    samples = laplace(line, measured, result, KEY)
    assert samples.effective_size > 0.6 * 4000
    errors = result.standard_errors
    tolerance = 5 / np.sqrt(samples.effective_size)
    np.testing.assert_allclose((samples.mean - result.estimates) / errors, 0, atol=tolerance)
    widths = np.sqrt(np.diag(samples.covariance))
    np.testing.assert_allclose(widths / errors, 1, atol=tolerance)


def test_laplace_where_bounds_cut():
    """A number that the curve does not depend on stays uniform between its bounds."""
    problem = Problem.within(NOMINAL, {"c30_mm": 0.001, "inner_mrad": 1.0})
    measured = noisy(0)
    samples = laplace(analytic, measured, fit(analytic, problem, measured), KEY)
    std = np.sqrt(samples.covariance[0, 0])
    assert std == pytest.approx(0.001 / np.sqrt(3), rel=0.05)
    low, high = samples.interval(0.9)
    assert low[0] == pytest.approx(-0.0006 - 0.0009, abs=1e-4)
    assert high[0] == pytest.approx(-0.0006 + 0.0009, abs=1e-4)
    after = propagate(analytic, problem, samples)
    before = propagate(analytic, problem, prior_samples(problem, KEY))
    assert np.all(after.std < 0.5 * before.std)


@pytest.mark.slow
def test_laplace_warns():
    """A posterior far from Gaussian: |rmsd − 0.09| is measured, the fit sits on one side."""

    def folded(x):
        return 1 + jnp.arange(1, 6) * 1e4 * (x[8] - 0.09) ** 2

    nominal = NOMINAL.copy()
    nominal[8] = 0.0902
    problem = Problem(nominal, {"rmsd_angstrom": Free(0.08, 0.1)})
    measured = Measured(1 + np.arange(1, 6) * 1e4 * 0.005**2, 1e-4)
    result = fit(folded, problem, measured)
    with pytest.warns(UserWarning, match=r"effective sample size is only \d+ of 100 draws: "):
        laplace(folded, measured, result, KEY, draws=100)
    with pytest.raises(InputError, match="a posterior needs standard_error or dose"):
        laplace(folded, Measured(measured.ppiscs), result, KEY)


@pytest.mark.slow
def test_coverage_of_few():
    """200 cases: fractions within 4 √(f (1 − f) / 200), 0.13 and 0.06, of their levels."""
    problem = gaussian({n: STD[n] for n in ("convergence_mrad", "inner_mrad", "rmsd_angstrom")})
    found = coverage(analytic, problem, KEY, standard_error=3e-3, cases=200)
    assert found.converged == 1
    assert found.fractions.shape == (2, 3)
    assert np.all(np.abs(found.fractions[0] - 0.68) < 0.13)
    assert np.all(np.abs(found.fractions[1] - 0.95) < 0.06)
    with pytest.raises(InputError, match="give one of them"):
        coverage(analytic, gaussian(), KEY)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [{"standard_error": 3e-3}, {"dose_per_angstrom2": 1e5}])
def test_coverage_of_many(noise):
    """1000 cases: within 5 points of 68 % and 95 %; binomial standard errors are 1.5 and 0.7."""
    found = coverage(analytic, gaussian(), KEY, **noise)
    assert found.converged == 1
    np.testing.assert_allclose(found.fractions, [[0.68], [0.95]] * np.ones(6), atol=0.05)


@pytest.mark.slow
def test_coverage_between_bounds():
    """The paper's problem, 500 cases: intervals of draws hold where bounds cut posteriors."""
    problem = Problem.within(NOMINAL, STD)
    found = coverage(analytic, problem, KEY, standard_error=3e-3, cases=500, draws=2000)
    np.testing.assert_allclose(found.fractions, [[0.68], [0.95]] * np.ones(6), atol=0.06)
