"""Residuals add up to the posterior; sampled, it is what closed forms say."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import xlogy

from ppiscs_jax import InputError
from ppiscs_jax.inverse.forward import in_groups
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import deviance_residual, log_posteriors, one_case
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.inverse.uncertainty import nuts
from tests.inverse.test_fit import NOMINAL, TRUE, analytic, gaussian, line, noisy

STEPS = np.array([[0, 0], [0.1, -0.001], [-0.2, 0.002]])


@pytest.mark.parametrize("poisson", [False, True])
def test_residuals_add_up_to_the_posterior(poisson):
    """But for a constant: densities of scipy, of the values and of the priors."""
    problem = gaussian({"convergence_mrad": 0.25, "rmsd_angstrom": 0.003})
    free = problem.nominal + STEPS
    dose, error = 300.0, 0.1
    counts = np.random.default_rng(0).poisson(dose * np.asarray(line(jnp.asarray(TRUE))))
    counts[0] = 0
    noise = {"dose_per_angstrom2": dose} if poisson else {"standard_error": error}
    measured = Measured(counts / dose, **noise)
    with jax.enable_x64(True):
        layout, case = one_case(line, problem, measured)
        found = log_posteriors(line, layout, case, free)
        models = np.stack([line(jnp.asarray(NOMINAL).at[jnp.array([5, 8])].set(f)) for f in free])
    of_prior = stats.norm.logpdf(free, problem.nominal, [0.25, 0.003]).sum(axis=1)
    of_data = (
        stats.poisson.logpmf(counts, dose * models)
        if poisson
        else stats.norm.logpdf(measured.ppiscs, models, error)
    ).sum(axis=1)
    expected = of_prior + of_data
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-6)


def test_deviance_residual():
    """Against its formula where that is safe, and slopes against central differences.

    Where counts meet expectation the slope is 1/√μ, and 1/√(2μ) without counts.
    """
    with jax.enable_x64(True):
        expected = np.array([1e-3, 0.5, 3.0, 50.0, 1e4, 1e4, 7.0])
        counted = np.array([2.0, 3.0, 2.9, 61.0, 9.9e3, 1.001e4, 0.0])
        deviance = 2 * (xlogy(counted, counted / expected) - counted + expected)
        formula = np.sign(expected - counted) * np.sqrt(deviance)
        both = jax.jit(jax.vmap(jax.value_and_grad(deviance_residual)))
        value, slope = both(expected, counted)
        np.testing.assert_allclose(value, formula, rtol=1e-7)
        step = 1e-5 * expected
        ahead, behind = (both(expected + s, counted)[0] for s in (step, -step))
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-6)
        np.testing.assert_allclose(both(expected, expected)[1], expected**-0.5, rtol=1e-12)
        none = np.zeros_like(expected)
        np.testing.assert_allclose(both(expected, none)[1], (2 * expected) ** -0.5, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 5, 8, 21])
def test_groups_are_put_together_again(n):
    rows = {"a": np.arange(n), "b": np.arange(2.0 * n).reshape(n, 2)}
    sizes = []

    def doubled(part):
        sizes.append(len(part["a"]))
        return jax.tree.map(lambda v: 2 * v, part)

    result = in_groups(doubled, rows, at_once=8)
    np.testing.assert_array_equal(result["a"], 2 * rows["a"])
    np.testing.assert_array_equal(result["b"], 2 * rows["b"])
    assert len(set(sizes)) == 1
    assert sizes[0] in (1, 8)


@pytest.mark.slow
def test_nuts_on_a_linear_model():
    """A truncated Gaussian in one number: mean and width of scipy's, within 5 standard errors.

    With n effective draws the mean is known to σ/√n, the width to about σ/√(2n).
    """
    pytest.importorskip("numpyro", reason="numpyro is not installed")
    n, error, prior = np.arange(1, 11), 1.0, 0.01
    problem = Problem(NOMINAL, {"rmsd_angstrom": Free(0.089, 0.12, prior)})
    measured = Measured(n * (1 + 10 * (0.091 - 0.09)) + 0.1 * n**2 * 0.78, error)
    precision = np.sum((10.0 * n) ** 2) / error**2 + 1 / prior**2
    mean = 0.090 + 0.001 * np.sum((10.0 * n) ** 2) / error**2 / precision
    width = precision**-0.5
    cut = (np.array([0.089, 0.12]) - mean) / width
    expected = stats.truncnorm(*cut, mean, width)
    drawn = nuts(line, problem, measured, jax.random.key(0), draws=2000, warm_up=300)
    assert drawn.effective_size > 300
    assert drawn.values.min() >= 0.089
    tolerance = 5 * expected.std() / np.sqrt(drawn.effective_size)
    assert drawn.mean[0] == pytest.approx(expected.mean(), abs=tolerance)
    assert np.sqrt(drawn.covariance[0, 0]) == pytest.approx(expected.std(), abs=tolerance)


def test_nuts_needs_errors_and_draws():
    pytest.importorskip("numpyro", reason="numpyro is not installed")
    problem = Problem.within(NOMINAL, {"rmsd_angstrom": 0.003})
    with pytest.raises(InputError, match="a posterior needs"):
        nuts(analytic, problem, Measured(noisy(0).ppiscs), jax.random.key(0))
    with pytest.raises(InputError, match="draws = 0: must be 4 to"):
        nuts(analytic, problem, noisy(0), jax.random.key(0), draws=0)


def test_nuts_without_numpyro(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpyro", None)
    with pytest.raises(InputError, match=r"not installed; pip install ppiscs-jax\[posterior\]"):
        nuts(line, gaussian(), noisy(0), jax.random.key(0))
