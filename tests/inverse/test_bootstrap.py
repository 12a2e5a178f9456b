"""Parametric bootstrap: against closed forms, and beside the other kinds of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.inverse.bootstrap import bootstrap
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.inverse.uncertainty import laplace, propagate
from tests.inverse.test_fit import NOMINAL, TRUE, analytic, gaussian, line, noisy

KEY = jax.random.key(0)


@pytest.mark.parametrize("method", ["levenberg-marquardt", "nelder-mead"])
@pytest.mark.slow
def test_linear_model(method):
    """Draws are those of the posterior, the Gaussian of the fit, if the prior is drawn too.

    Means within 4.5 σ/√N and standard deviations within 4.5 σ/√(2N); N = 1000. With the prior's
    centre fixed, standard deviations would be smaller by half or so.
    """
    draws = 1000
    problem = gaussian({"convergence_mrad": 0.1, "rmsd_angstrom": 0.004}, reach=20)
    measured = Measured(np.asarray(line(jnp.asarray(NOMINAL))) * 1.01, 1.5)
    result = fit(line, problem, measured)
    assert result.standard_errors[0] > 0.3 * 0.1
    samples = bootstrap(line, measured, result, KEY, draws, method=method)
    assert samples.effective_size == draws
    shifts = (samples.mean - result.estimates) / result.standard_errors
    np.testing.assert_allclose(shifts, 0, atol=4.5 / np.sqrt(draws))
    widths = np.sqrt(np.diag(samples.covariance)) / result.standard_errors
    np.testing.assert_allclose(widths, 1, atol=4.5 / np.sqrt(2 * draws))
    again = bootstrap(line, measured, result, KEY, draws, method=method)
    np.testing.assert_array_equal(again.values, samples.values)


@pytest.mark.slow
def test_gain_of_counts():
    """Poisson with a gain alone: it is refitted as Σ counts / Σ expected, of known variance.

    Gain g from expected counts E: variance g / E. Over 1000 draws as above.
    """
    expected = np.asarray(line(jnp.asarray(TRUE)), float)
    measured = Measured(1.1 * expected, dose_per_angstrom2=20.0)
    problem = Problem(TRUE, {"gain": Free(0.01, 100.0)})
    result = fit(line, problem, measured)
    samples = bootstrap(line, measured, result, KEY, 1000)
    std = np.sqrt(1.1 / np.sum(20.0 * expected))
    assert samples.mean[0] == pytest.approx(1.1, abs=4.5 * std / np.sqrt(1000))
    assert np.sqrt(samples.covariance[0, 0]) == pytest.approx(std, rel=4.5 / np.sqrt(2000))


@pytest.mark.slow
def test_beside_laplace():
    """A nearly linear posterior: the same spread of curves, each to 4.5 standard errors.

    What the curve does not depend on is uniform between its bounds in both.
    """
    free = {"c30_mm": 0.001, "inner_mrad": 3.0}
    problem, measured = Problem.within(NOMINAL, free), noisy(0, x=NOMINAL)
    result = fit(analytic, problem, measured)
    ours = bootstrap(analytic, measured, result, KEY, 400)
    others = laplace(analytic, measured, result, KEY)
    spreads = [propagate(analytic, problem, samples) for samples in (ours, others)]
    error = np.hypot(spreads[0].std_error, spreads[1].std_error)
    assert np.all(np.abs(spreads[0].std - spreads[1].std) < 4.5 * error)
    assert np.sqrt(ours.covariance[0, 0]) == pytest.approx(0.001 / np.sqrt(3), rel=0.1)


@pytest.mark.slow
def test_the_papers_estimator():
    """Absolute differences: the median is found, which varies more than the mean, by π/2.

    An offset alone, 10 values of error 0.1: the variance of a median of n is about
    σ² π / (2 n + 4). 1000 draws give the standard deviation to 2 %; the formula is right to 3 %.
    """
    exact = np.asarray(line(jnp.asarray(TRUE)), float)
    problem = Problem(TRUE, {"offset_angstrom2": Free(-1.0, 1.0)})
    measured = Measured(exact, 0.1)
    result = fit(line, problem, measured, method="nelder-mead", cost="absolute")
    options = {"method": "nelder-mead", "cost": "absolute"}
    samples = bootstrap(line, measured, result, KEY, 1000, **options)
    std = 0.1 * np.sqrt(np.pi / 24)
    assert np.sqrt(samples.covariance[0, 0]) == pytest.approx(std, rel=0.12)


def test_bad_arguments():
    problem, measured = gaussian(), noisy(0)
    result = fit(analytic, problem, measured)
    with pytest.raises(InputError) as caught:
        bootstrap(analytic, measured, result, KEY, 1, method="newton", at_once=0)
    assert len(caught.value.problems) == 3
    free = fit(analytic, Problem.within(NOMINAL, {"inner_mrad": 1.0}), measured)
    with pytest.raises(InputError, match="a posterior needs"):
        bootstrap(analytic, Measured(measured.ppiscs), free, KEY)
