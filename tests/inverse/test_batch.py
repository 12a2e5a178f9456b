"""Many fits at once: against scipy's solvers, at bounds too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import least_squares, lsq_linear

from ppiscs_jax import InputError
from ppiscs_jax.inverse.batch import LEAST_DAMPING, _bounded_step, fit_batch
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.settings import VECTOR_ORDER
from tests.inverse.test_fit import NOMINAL, STD, analytic, gaussian, noisy

COLUMNS = np.array([VECTOR_ORDER.index(name) for name in STD])


def random_cases(n, seed, *, priors, relative=1e-3):
    """Problems at random settings, with Gaussian priors or bounds alone, and noisy curves."""
    rng = np.random.default_rng(seed)
    problems, measured = [], []
    for i in range(n):
        nominal = NOMINAL.copy()
        nominal[5:8] = rng.uniform([15, 40, 120], [30, 90, 230])
        draws = np.clip(rng.standard_normal(6), -3, 3) if priors else rng.uniform(-1, 1, 6)
        true = nominal.copy()
        true[COLUMNS] += draws * list(STD.values())
        problems.append(gaussian(nominal=nominal) if priors else Problem.within(nominal, STD))
        curve = noisy(rng.integers(2**31), relative, true)
        values = curve.ppiscs.copy()
        values[rng.integers(0, 40, 5 * (i % 3))] = np.nan
        measured.append(Measured(values, curve.standard_error))
    return problems, measured


@jax.jit
def differences(steps, nominal, width, precision, values, error):
    """Residuals of `random_cases`, written out again."""
    x = nominal.at[COLUMNS[2:]].add(width * steps)
    of_data = jnp.where(jnp.isnan(values), 0, (analytic(x) - values) / error)
    return jnp.concatenate([of_data, precision * width * steps])


slopes = jax.jit(jax.jacfwd(differences))


def trf(problem, measured):
    """Cost and estimates by the trust-region reflective fit of scipy, without C30 and C10."""
    width = problem.prior_width[2:]
    error = np.nan_to_num(measured.standard_error, nan=1.0)
    found = least_squares(
        differences,
        np.zeros(4),
        jac=lambda *at: np.asarray(slopes(*at)),
        bounds=[(bound - problem.nominal)[2:] / width for bound in problem.bounds],
        args=(
            jnp.asarray(problem.x),
            width,
            problem.prior_precision[2:],
            measured.ppiscs,
            error,
        ),
        ftol=1e-12,
        xtol=1e-10,
        gtol=1e-10,
        max_nfev=2000,
    )
    return found.cost, problem.nominal[2:] + width * found.x


def compare_with_trf(problems, measured):
    """Differences of cost, and of the numbers in standard errors."""
    fits = fit_batch(analytic, problems, measured)
    assert np.all(fits.converged)
    costs, shifts = [], []
    with jax.enable_x64(True):
        for i, (problem, curve) in enumerate(zip(problems, measured, strict=True)):
            cost, estimates = trf(problem, curve)
            costs.append(fits.cost[i] - cost)
            shifts.append((fits.estimates[i, 2:] - estimates) / fits.standard_errors[i, 2:])
    return np.array(costs), np.array(shifts), fits


@pytest.mark.slow
@pytest.mark.parametrize("priors", [True, False])
def test_same_minimum_as_trf(priors):
    """Costs equal to 1e-3: less than 0.05 standard errors from the minimum.

    A step that promises 1e-6 (1 + cost), some 2e-5, is the last.
    """
    costs, shifts, fits = compare_with_trf(*random_cases(8, 0, priors=priors))
    np.testing.assert_allclose(costs, 0, atol=1e-3)
    np.testing.assert_allclose(shifts, 0, atol=0.05)
    assert np.any(fits.at_bound) != priors


@pytest.mark.slow
@pytest.mark.parametrize("priors", [True, False])
@pytest.mark.parametrize("relative", [1e-2, 1e-3])
def test_same_minimum_as_trf_on_many(priors, relative):
    costs, _, _ = compare_with_trf(*random_cases(150, 1, priors=priors, relative=relative))
    np.testing.assert_allclose(costs, 0, atol=1e-3)


@pytest.mark.parametrize("damping", [LEAST_DAMPING, 3.0])
def test_steps_in_a_box(damping):
    """Against scipy's solver of linear least squares in a box, which is exact."""
    rng = np.random.default_rng(0)
    step_of = jax.jit(_bounded_step)
    for _ in range(200):
        jacobian, residual = rng.standard_normal((30, 5)), 5 * rng.standard_normal(30)
        jacobian[:, 1] += 3 * jacobian[:, 0]
        below = -rng.uniform(0, 1, 5) * (rng.uniform(size=5) < 0.7)
        above = rng.uniform(0, 1, 5)
        rows = np.vstack([jacobian, np.sqrt(damping) * np.eye(5)])
        right = np.append(-residual, np.zeros(5))
        expected = lsq_linear(rows, right, (below, above + 1e-12), method="bvls").x
        with jax.enable_x64(True):
            q, r = np.linalg.qr(jacobian)
            step, promised, _ = map(np.asarray, step_of(r, q.T @ residual, damping, below, above))
        np.testing.assert_allclose(step, expected, atol=1e-8)
        saved = (residual @ residual - np.sum((residual + jacobian @ step) ** 2)) / 2
        assert float(promised) == pytest.approx(saved, rel=1e-8)


def test_one_problem_for_all_and_any_grouping():
    """As one by one in two groups; and as `fit` finds them, statistics included."""
    measured = [noisy(seed) for seed in range(9)]
    problem = gaussian()
    together = fit_batch(analytic, problem, measured[:7])
    in_two = fit_batch(analytic, [problem] * 9, measured, at_once=8)
    np.testing.assert_allclose(in_two.estimates[:7], together.estimates, rtol=1e-6)
    assert in_two.cost[8] == pytest.approx(
        fit_batch(analytic, problem, measured[1:]).cost[7], rel=1e-6
    )
    assert together.names == tuple(STD)
    np.testing.assert_array_equal(together.without_effect, np.tile([1, 1, 0, 0, 0, 0], (7, 1)))
    np.testing.assert_array_equal(together.estimates[:, :2], np.tile(NOMINAL[3:5], (7, 1)))
    single = fit(analytic, problem, measured[3])
    assert together.cost[3] == pytest.approx(single.cost, abs=1e-4)
    assert together.p_value[3] == pytest.approx(single.p_value, abs=1e-4)
    np.testing.assert_allclose(together.covariance[3], single.covariance, rtol=1e-3, atol=1e-12)


@pytest.mark.slow
def test_poisson():
    """Counts at a dose of 1e5, as `fit` fits them."""
    exact = np.asarray(analytic(jnp.asarray(NOMINAL)), float)
    counts = np.random.default_rng(0).poisson(1e5 * exact)
    measured = Measured(counts / 1e5, dose_per_angstrom2=1e5)
    many, one = fit_batch(analytic, gaussian(), [measured] * 2), fit(analytic, gaussian(), measured)
    assert np.all(many.converged)
    assert many.cost[0] == pytest.approx(one.cost, abs=1e-4)


@pytest.mark.slow
def test_starts_find_the_deeper_of_two_minima():
    """A model whose curve is right at 0.12 Å, and nearly so at 0.08 Å, where fits start."""

    def double_well(x):
        wrong = (x[8] - 0.12) * (x[8] - 0.08) * 1e3 + 0.1 * (x[8] < 0.1)
        return 1 + wrong * jnp.arange(1, 4)

    nominal = NOMINAL.copy()
    nominal[8] = 0.081
    problem = Problem(nominal, {"rmsd_angstrom": Free(0.05, 0.15), "c30_mm": Free(-1, 1)})
    measured = [Measured([1.0, 1.0, 1.0], 0.1)]
    one, many = fit_batch(double_well, problem, measured), None
    assert one.estimates[0, 1] < 0.1
    many = fit_batch(double_well, problem, measured, starts=4)
    assert many.estimates[0, 1] == pytest.approx(0.12, abs=1e-5)
    assert many.cost[0] < one.cost[0]
    assert many.estimates[0, 0] == nominal[3]


def test_out_of_iterations():
    fits = fit_batch(analytic, gaussian(), [noisy(i) for i in range(8)], max_iterations=1)
    assert not np.any(fits.converged)
    np.testing.assert_array_equal(fits.iterations, 1)


@pytest.mark.parametrize(
    ("problems", "measured", "message"),
    [
        (gaussian(), [], "there are no curves"),
        ([gaussian()], [noisy(0), noisy(1)], "1 for 2 curves"),
        (
            [gaussian(), gaussian({"inner_mrad": 1.0})],
            [noisy(0), noisy(1)],
            "must all have the same free numbers",
        ),
        (gaussian(), [noisy(0), Measured(np.ones(3))], "curves cannot be mixed"),
        (gaussian(), [noisy(0), Measured(np.ones(50), 1.0)], "curve 1: ppiscs: measured at up to"),
    ],
)
def test_what_does_not_fit_together(problems, measured, message):
    with pytest.raises(InputError, match=message):
        fit_batch(analytic, problems, measured)


def test_bad_options():
    with pytest.raises(InputError) as caught:
        fit_batch(
            analytic, gaussian(), [], starts=0, max_iterations=0.5, precision="half", at_once=-1
        )
    assert len(caught.value.problems) == 4
