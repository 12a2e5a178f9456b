"""Batched Nelder–Mead: against scipy's, on functions and on fits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from ppiscs_jax import InputError, Settings, load_surrogate
from ppiscs_jax.inverse.batch import fit_batch
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Problem
from ppiscs_jax.inverse.simplex import FATOL, XATOL, advance, begin
from tests.inverse.test_batch import random_cases
from tests.inverse.test_fit import NOMINAL, STD, TRUE, analytic, gaussian, noisy


def rosenbrock(part):
    """The unit box stands for −2 to 2 in each coordinate."""
    x = 4 * part - 2
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def searched(function, starts, steps, **options):
    """Searches side by side, in double precision, and scipy's one by one."""
    with jax.enable_x64(True):
        work = jax.jit(jax.vmap(lambda at, by: advance(function, begin(at, by), 20_000, **options)))
        found = jax.tree.map(np.asarray, work(starts, steps))
        single = jax.jit(function)
        theirs = [
            minimize(
                lambda part: float(single(part)),
                start,
                method="Nelder-Mead",
                bounds=[(0, 1)] * len(start),
                options={
                    "initial_simplex": np.vstack([start, start + np.diag(step)]),
                    "xatol": XATOL,
                    "fatol": FATOL * float(single(start)),
                    "maxfev": 20_000,
                    "maxiter": 20_000,
                },
            )
            for start, step in zip(starts, steps, strict=True)
        ]
    return found, theirs


@pytest.mark.parametrize("k", [1, 2, 4])
def test_steps_are_those_of_scipy(k):
    """The same rules from the same simplex: the same evaluations, and points to rounding.

    Points within 1e-9 have values within 1e-11: near the minimum slopes are below 0.01.
    """

    def function(part):
        return jnp.sum((part - 1.2) ** 2) if k == 1 else rosenbrock(part)

    starts = np.random.default_rng(k).uniform(0, 1, (4, k))
    found, theirs = searched(function, starts, np.where(starts < 0.5, 0.25, -0.25), restart=0.0)
    assert np.all(found.converged)
    np.testing.assert_array_equal(found.evaluations, [s.nfev for s in theirs])
    np.testing.assert_allclose(found.vertices[:, 0], [s.x for s in theirs], atol=1e-9)
    np.testing.assert_allclose(found.values[:, 0], [s.fun for s in theirs], atol=1e-11)


def test_restart_of_a_collapsed_simplex():
    """McKinnon's function, SIAM J. Optim. 9 (1998) 148: the simplex collapses at (0, 0).

    That is not a stationary point; the minimum is −1/4 at (0, −1/2). The box is −2 to 2 wide.
    """

    def mckinnon(part):
        x, y = 4 * part - 2
        return jnp.where(x <= 0, 360, 6) * x**2 + y + y**2

    root = np.sqrt(33)
    corners = np.array([[1, 1], [(1 + root) / 8, (1 - root) / 8], [0, 0]])
    with jax.enable_x64(True):
        search = begin(jnp.array([0.75, 0.75]), jnp.zeros(2))
        search = search._replace(vertices=jnp.asarray((corners + 2) / 4))
        collapsed = advance(mckinnon, search, 5000, restart=0.0)
        restarted = advance(mckinnon, search, 5000)
    assert collapsed.converged
    assert restarted.converged
    np.testing.assert_allclose(collapsed.vertices[0], [0.5, 0.5], atol=1e-4)
    # Values within FATOL of the 2 or more at the start, so y within √(FATOL × 8) / 4 of a box.
    np.testing.assert_allclose(restarted.vertices[0], [0.5, 0.375], atol=1e-3)


def test_interrupted_searches_go_on_as_if_they_were_not():
    with jax.enable_x64(True):
        work = jax.jit(lambda s, upto: advance(rosenbrock, s, upto))
        first = begin(jnp.array([0.1, 0.9]), jnp.array([0.25, -0.25]))
        whole, parts = work(first, 5000), first
        for upto in range(7, 2000, 7):
            parts = work(parts, upto)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("cost", ["likelihood", "absolute"])
def test_fits_as_by_scipy(cost):
    """Never above scipy's cost by more than its tolerance, 1e-6 of the cost at the start.

    Where a restart goes on, it is below.
    """
    problem = Problem.within(NOMINAL, STD)
    measured = [noisy(seed) for seed in range(3)]
    together = fit_batch(analytic, problem, measured, method="nelder-mead", cost=cost)
    assert np.all(together.converged)
    np.testing.assert_array_equal(together.estimates[:, :2], np.tile(NOMINAL[3:5], (3, 1)))
    np.testing.assert_array_equal(together.without_effect[0], [1, 1, 0, 0, 0, 0])
    for i, curve in enumerate(measured):
        single = fit(analytic, problem, curve, method="nelder-mead", cost=cost)
        assert together.cost[i] <= single.cost * (1 + 1e-6)
        assert single.success


@pytest.mark.slow
def test_both_methods_agree_and_groups_do_not_matter():
    """With priors costs are smooth, so both end within 1e-3: 0.05 standard errors."""
    problems, measured = random_cases(7, 0, priors=True)
    simplex = fit_batch(analytic, problems, measured, method="nelder-mead")
    in_groups = fit_batch(analytic, problems, measured, method="nelder-mead", at_once=2)
    squares = fit_batch(analytic, problems, measured)
    np.testing.assert_allclose(simplex.cost, squares.cost, atol=1e-3)
    np.testing.assert_allclose(simplex.covariance, squares.covariance, rtol=0.05, atol=1e-12)
    np.testing.assert_allclose(in_groups.estimates, simplex.estimates, rtol=1e-6)


@pytest.mark.slow
def test_nothing_to_move_and_no_time():
    """A curve that depends on nothing free; and one evaluation each."""
    blind = Problem.within(NOMINAL, {"c30_mm": 0.001})
    fits = fit_batch(analytic, blind, [noisy(0, x=NOMINAL)] * 2, method="nelder-mead")
    assert np.all(fits.converged)
    np.testing.assert_array_equal(fits.estimates, NOMINAL[3])
    short = fit_batch(analytic, gaussian(), [noisy(0)], method="nelder-mead", max_iterations=1)
    assert not short.converged[0]
    np.testing.assert_array_equal(short.estimates[0], gaussian().nominal)


def test_bad_options():
    with pytest.raises(InputError) as caught:
        fit_batch(analytic, gaussian(), [noisy(0)], method="simplex", cost="square")
    assert len(caught.value.problems) == 2
    with pytest.raises(InputError, match="is not a sum of squares"):
        fit_batch(analytic, Problem.within(TRUE, STD), [noisy(0)], cost="absolute")
    with pytest.raises(InputError, match=r"derivatives .* not finite"):
        fit_batch(
            lambda x: jnp.sqrt(x[8] - x[8]) + analytic(x),
            gaussian(),
            [noisy(0)],
            method="nelder-mead",
        )


def silver_cases(model, n, seed=0):
    """Noisy curves of a surrogate at random settings around the paper's Fig. 10."""
    settings = Settings("Ag", "100", 300.0, 20.78, 45.09, 189.56, 0.090)
    half = {n: STD[n] for n in ("convergence_mrad", "inner_mrad", "outer_mrad", "rmsd_angstrom")}
    problem = Problem.within(settings, half)
    rng = np.random.default_rng(seed)
    truths = np.tile(problem.x, (n, 1))
    truths[:, 5:9] += rng.uniform(-1, 1, (n, 4)) * list(half.values())
    exact = np.asarray(jax.jit(jax.vmap(model.curve))(truths), float)
    error = 3e-3 * np.nanmax(exact, axis=1)
    noise = error[:, None] * rng.standard_normal(exact.shape)
    return problem, [Measured(c, e) for c, e in zip(exact + noise, error, strict=True)]


@pytest.mark.slow
def test_as_low_as_scipy_through_the_surrogate():
    """500 random cases: in 99 % the cost is scipy's or lower, but for 1e-6 of it."""
    model = load_surrogate()
    problem, measured = silver_cases(model, 500)
    together = fit_batch(model.curve, problem, measured, method="nelder-mead")
    theirs = [fit(model.curve, problem, m, method="nelder-mead").cost for m in measured]
    assert np.mean(together.cost <= np.array(theirs) * (1 + 1e-6)) >= 0.99


@pytest.mark.slow
def test_through_a_network():
    """The network that ships: the simplex ends within a tenth of a standard error of least squares.

    An estimate off by s standard errors costs s² / 2 more. Between bounds, the simplex can stop
    above the minimum, but never below it.
    """
    model = load_surrogate("densenet")
    problem, measured = silver_cases(model, 8)
    simplex = fit_batch(model.curve, problem, measured, method="nelder-mead")
    squares = fit_batch(model.curve, problem, measured)
    assert np.all(simplex.converged)
    above = simplex.cost - squares.cost
    assert np.median(above) < 0.1**2 / 2
    assert np.all((above > -1e-3) & (above < 0.3**2 / 2))
