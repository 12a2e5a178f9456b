"""Single fits: closed forms, both methods, and what the data do not constrain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError, Settings
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem

NOMINAL = np.array([79, 0, 300, -0.0006, 13.61, 20.78, 45.09, 189.56, 0.090])
TRUE = np.array([79, 0, 300, 0.0008, 50.0, 21.0, 46.0, 190.0, 0.092])
STD = {
    "c30_mm": 0.001,
    "c10_angstrom": 80.0,
    "convergence_mrad": 0.25,
    "inner_mrad": 1.0,
    "outer_mrad": 1.0,
    "rmsd_angstrom": 0.003,
}
"""Nominal and true settings and errors of the paper's Fig. 10; its element and zone do not matter
to the models here."""

THICKNESS = 40


def analytic(x):
    """Like PPISCS: falls with both angles, rises with channelling and rmsd, saturates.

    It does not depend on aberrations, and along [100] ends at 30 atoms.
    """
    n = jnp.arange(1, THICKNESS + 1)
    voltage, aperture, inner, outer, rmsd = x[2], x[5], x[6], x[7], x[8]
    wide = (1 / inner**2 - 1 / outer**2) * (300 / voltage) ** 0.7
    focus = 1 + 1.5 * jnp.exp(-(((n - 120 / aperture) / 6) ** 2)) * (0.09 / rmsd)
    depth = 4e4 * rmsd / inner
    curve = 30 * wide * depth * (1 - jnp.exp(-n / depth)) * focus
    return jnp.where((x[1] == 1) & (n > 30), jnp.nan, curve)


def line(x):
    """Linear in rmsd and in α, so that least squares are solved in closed form."""
    n = jnp.arange(1, 11)
    return n * (1 + 10 * (x[8] - 0.09)) + 0.1 * n**2 * (x[5] - 20)


def gaussian(stds=STD, nominal=NOMINAL, reach=4.0):
    """A problem with Gaussian priors of these errors, cut at some of them."""
    names = ("element", "zone_axis", "voltage_kv", *STD)
    values = dict(zip(names, nominal, strict=True))
    return Problem(
        nominal, {n: Free(values[n] - reach * s, values[n] + reach * s, s) for n, s in stds.items()}
    )


def noisy(seed, relative=1e-3, x=TRUE):
    """A curve of `analytic` with Gaussian noise, in parts of its maximum."""
    exact = np.asarray(analytic(jnp.asarray(x)), float)
    error = relative * np.nanmax(exact)
    return Measured(exact + error * np.random.default_rng(seed).standard_normal(len(exact)), error)


def test_paper_case():
    """Fig. 10: α, θ0, rmsd recovered; C30, C10 not invented; θe hardly told.

    Truth within 4 posterior widths of the estimates: 1 of 16,000 is not.
    """
    result = fit(analytic, Problem.within(NOMINAL, STD), noisy(0))
    assert result.success
    assert result.explained
    told = {"convergence_mrad": 21.0, "inner_mrad": 46.0, "rmsd_angstrom": 0.092}
    for name, true in told.items():
        parameter = result.parameters[name]
        # The truth of α is 0.03 mrad from its upper bound, which noise reaches.
        assert parameter.verdict == "identified" or "at its upper bound" in parameter.verdict
        assert abs(parameter.estimate - true) < 4 * parameter.standard_error
        assert parameter.standard_error < 0.5 * parameter.prior_width
    for name, nominal in (("c30_mm", -0.0006), ("c10_angstrom", 13.61)):
        parameter = result.parameters[name]
        assert parameter.verdict == "not identifiable: PPISCS does not depend on it"
        assert parameter.estimate == nominal
        assert parameter.standard_error == pytest.approx(STD[name] / np.sqrt(3))
        assert name in result.message
    assert result.parameters["outer_mrad"].verdict.startswith("unconstrained by the data")
    assert result.settings.inner_mrad == result.parameters["inner_mrad"].estimate


def test_exact_curve_gives_the_truth():
    """Without noise and priors the minimum is 0, at the truth.

    The curve is rounded to float32, by 1e-4 of the errors, and errors of 1e-3 tell the numbers to
    0.5 % or better: they are found to 5e-7.
    """
    exact = np.asarray(analytic(jnp.asarray(TRUE)), float)
    told = {n: STD[n] for n in ("convergence_mrad", "inner_mrad", "rmsd_angstrom")}
    nominal = TRUE.copy()
    nominal[[5, 6, 8]] = NOMINAL[[5, 6, 8]]
    result = fit(analytic, Problem.within(nominal, told), Measured(exact, 1e-3 * exact.max()))
    np.testing.assert_allclose(result.estimates, [21.0, 46.0, 0.092], rtol=1e-6)
    assert result.cost < 1e-4


def test_linear_model_in_closed_form():
    """Posterior of a linear model: H = JᵀJ/σ² + prior, mean = nominal + H⁻¹ Jᵀ(y − f)/σ²."""
    std = np.array([0.5, 0.004])
    problem = gaussian({"convergence_mrad": 0.5, "rmsd_angstrom": 0.004}, reach=20)
    n, sigma = np.arange(1, 11), 0.05
    x = jnp.asarray(NOMINAL, jnp.float32)
    nominal = n * (1 + 10 * (0.090 - 0.09)) + 0.1 * n**2 * (20.78 - 20)
    np.testing.assert_allclose(line(x), nominal, rtol=1e-4)
    y = nominal + 0.3 * np.sin(n)
    slopes = np.stack([0.1 * n**2, 10.0 * n], axis=1)
    information = slopes.T @ slopes / sigma**2 + np.diag(1 / std**2)
    prior_mean = np.array([20.78, 0.090])
    mean = prior_mean + np.linalg.solve(information, slopes.T @ (y - nominal) / sigma**2)
    result = fit(line, problem, Measured(y, sigma))
    np.testing.assert_allclose(result.estimates, mean, rtol=1e-7)
    np.testing.assert_allclose(result.covariance, np.linalg.inv(information), rtol=1e-7)
    residual = (y - nominal - slopes @ (mean - prior_mean)) / sigma
    prior = (mean - prior_mean) / std
    assert result.chi_squared == pytest.approx(residual @ residual + prior @ prior, rel=1e-7)
    assert result.dof == 10
    assert not result.explained
    assert "does not explain" in result.message
    assert result.parameters["rmsd_angstrom"].partner == "convergence_mrad"
    np.testing.assert_allclose(result.residuals, residual * sigma, atol=1e-7)


def test_gain_of_counts_in_closed_form():
    """Poisson with a gain alone: likelihood is greatest at Σ counts / Σ expected, 0 counts too.

    Its curvature there is Σ counts / gain².
    """
    expected = np.asarray(line(jnp.asarray(TRUE)), float)
    dose = np.linspace(0.5, 1.5, 10)
    counts = np.random.default_rng(1).poisson(dose * expected)
    counts[0] = 0
    problem = Problem(TRUE, {"gain": Free(0.01, 100.0)})
    result = fit(line, problem, Measured(counts / dose, dose_per_angstrom2=dose))
    gain = counts.sum() / np.sum(dose * expected)
    assert result.estimates[0] == pytest.approx(gain, rel=1e-5)
    assert result.standard_errors[0] == pytest.approx(gain / np.sqrt(counts.sum()), rel=0.05)


def test_offset_by_absolute_differences_is_the_median():
    """Σ |y − f − offset| is least at the median of y − f; an outlier of 100 does not matter."""
    exact = np.asarray(line(jnp.asarray(TRUE)), float)
    shifts = np.array([0.1, -0.2, 0.3, 0.05, 100.0, 0.12, -0.1, 0.2, np.nan, -0.3])
    problem = Problem(TRUE, {"offset_angstrom2": Free(-1.0, 1.0)})
    result = fit(line, problem, Measured(exact + shifts), method="nelder-mead", cost="absolute")
    median = np.nanmedian(shifts)
    assert result.estimates[0] == pytest.approx(median, abs=2e-4)
    assert result.cost == pytest.approx(np.nansum(np.abs(shifts - median)), rel=1e-5)
    assert np.isnan(result.residuals[8])
    assert result.explained is None


def test_both_methods_find_the_same_minimum():
    problem = gaussian()
    one = fit(analytic, problem, noisy(3))
    other = fit(analytic, problem, noisy(3), method="nelder-mead")
    assert other.success
    assert other.cost == pytest.approx(one.cost, abs=1e-4)
    np.testing.assert_allclose(
        other.estimates, one.estimates, atol=0.05 * one.standard_errors.max(), rtol=1e-3
    )
    assert other.evaluations > 5 * one.evaluations


def test_paper_method_lowers_its_cost_inside_the_bounds():
    problem = Problem.within(NOMINAL, STD)
    measured = Measured(noisy(5).ppiscs)
    result = fit(analytic, problem, measured, method="nelder-mead", cost="absolute")
    before = np.sum(np.abs(measured.ppiscs - np.asarray(analytic(jnp.asarray(NOMINAL)))))
    assert result.cost < 0.2 * before
    low, high = problem.bounds
    assert np.all((result.estimates >= low) & (result.estimates <= high))
    np.testing.assert_array_equal(result.estimates[:2], NOMINAL[3:5])


def test_numbers_at_their_bounds_are_told():
    """The truth is at 46 mrad, the upper bound at 45.5."""
    problem = Problem(NOMINAL, {"inner_mrad": Free(44.0, 45.5)})
    x = NOMINAL.copy()
    x[6] = 46.0
    result = fit(analytic, problem, noisy(0, x=x))
    assert result.parameters["inner_mrad"].at_bound
    assert result.estimates[0] == pytest.approx(45.5, abs=1e-3)
    assert "bound, 45.5 mrad" in result.message
    assert not result.explained


def test_insensitivity_is_seen_not_known():
    """A model of C30 alone: C30 is identified, and rmsd is not identifiable."""

    def aberrated(x):
        return jnp.arange(1, 6) * (1 + 100 * x[3])

    problem = gaussian({"c30_mm": 0.001, "rmsd_angstrom": 0.003})
    y = np.arange(1, 6) * (1 + 100 * 0.0008)
    result = fit(aberrated, problem, Measured(y, 1e-3))
    assert result.parameters["c30_mm"].verdict == "identified"
    assert result.estimates[0] == pytest.approx(0.0008, rel=1e-2)
    assert result.parameters["rmsd_angstrom"].verdict.startswith("not identifiable")
    assert result.parameters["rmsd_angstrom"].estimate == 0.090
    alone = fit(aberrated, gaussian({"rmsd_angstrom": 0.003}), Measured(y, 1e-3))
    assert alone.success
    assert alone.estimates[0] == 0.090


def test_unknown_errors_are_estimated_from_residuals():
    """Errors of 1 % of the maximum, from 40 − 2 residuals known to 1/√76 = 11 %; 4 of those."""
    told = {n: 4 * STD[n] for n in ("inner_mrad", "rmsd_angstrom")}
    measured = noisy(7, relative=0.01)
    known = fit(analytic, Problem.within(NOMINAL, told), measured)
    unknown = fit(analytic, Problem.within(NOMINAL, told), Measured(measured.ppiscs))
    np.testing.assert_allclose(unknown.estimates, known.estimates, rtol=1e-4)
    np.testing.assert_allclose(unknown.standard_errors, known.standard_errors, rtol=0.45)
    assert np.isnan(unknown.p_value)


def test_gaps_and_missing_thicknesses_are_the_same():
    """As NaN, as missing thicknesses in any order, and with thicknesses past the model's end."""
    measured = noisy(2)
    values, error = measured.ppiscs.copy(), measured.standard_error
    values[[3, 10, 39]] = np.nan
    there = np.flatnonzero(~np.isnan(values))[::-1]
    gaps = fit(analytic, gaussian(), Measured(values, error))
    missing = fit(analytic, gaussian(), Measured(values[there], error[0], n_atoms=there + 1))
    longer = fit(analytic, gaussian(), Measured(np.append(values, [np.nan] * 9), error[0]))
    for other in (missing, longer):
        np.testing.assert_array_equal(other.estimates, gaps.estimates)
    assert gaps.dof == 37
    shorter = Settings.from_vector(np.concatenate([[79, 1], NOMINAL[2:]]))
    along_100 = Problem.within(shorter, {"rmsd_angstrom": 0.003})
    assert fit(analytic, along_100, Measured(values[:30], error[:30])).success
    with pytest.raises(InputError, match=r"at up to 39 atoms; .* gives 1 to 30"):
        fit(analytic, along_100, Measured(values, error[0]))


def test_compiled_once():
    """New values, new problem of the same free numbers: the model is not traced again."""
    traces = []

    def counted(x):
        traces.append(x)
        return analytic(x)

    fit(counted, gaussian(), noisy(0))
    before = len(traces)
    fit(counted, gaussian(nominal=TRUE), noisy(1))
    assert len(traces) == before


def test_precision():
    """Double by default, and not left on; single where the model insists."""
    kinds = []

    def watched(x):
        kinds.append(x.dtype)
        return analytic(x)

    def single_only(x):
        return jax.lax.dynamic_slice(analytic(x), (jnp.argmax(x[:2]) * jnp.int32(0),), (9,)) + (
            jax.lax.add(x[8], jnp.float32(0))
        )

    fit(watched, gaussian(), noisy(0))
    assert set(kinds) == {np.dtype(np.float64)}
    assert jnp.ones(1).dtype == jnp.float32
    measured = Measured(noisy(0).ppiscs[:9] + 0.092, 0.01)
    with pytest.raises(InputError, match="made for single precision only"):
        fit(single_only, gaussian(), measured)
    assert fit(single_only, gaussian(), measured, precision="single").success


@pytest.mark.parametrize(
    ("unit", "factor"), [("nm²", 1e-2), ("kilobarn", 1e5), ("megabarn", 100), ("cm²", 1e-16)]
)
def test_wrong_units(unit, factor):
    wrong = Measured(factor * noisy(0).ppiscs)
    with pytest.raises(InputError, match=f"convert from {unit} to Å²"):
        fit(analytic, Problem.within(NOMINAL, STD), wrong)
    free = {"gain": Free(factor / 3, 3 * factor), "rmsd_angstrom": Free(0.087, 0.093)}
    result = fit(analytic, Problem(NOMINAL, free, gain=factor), wrong)
    assert result.parameters["gain"].estimate == pytest.approx(factor, rel=0.2)


@pytest.mark.slow
def test_simulator_recovers_rmsd():
    """Few waves of a thin crystal, on the random numbers that made the curve: truth within 4 σ.

    Single precision: in double the same key would draw other displacements.
    """
    from ppiscs_jax.simulation.gradient import simulator

    settings = Settings("Au", "110", 300.0, 20.0, 60.0, 150.0, 0.085)
    forward, true = simulator(settings, 8, waves=4), settings.to_vector()
    exact = np.asarray(jax.jit(forward)(true), float)
    nominal = true.copy()
    nominal[8] = 0.090
    error = 0.005 * exact.max()
    measured = Measured(exact + error * np.random.default_rng(0).standard_normal(8), error)
    problem = Problem(nominal, {"rmsd_angstrom": Free(0.07, 0.11, 0.01)})
    result = fit(forward, problem, measured, precision="single")
    assert result.success
    assert result.explained
    assert abs(result.estimates[0] - 0.085) < 4 * result.standard_errors[0]
    assert result.standard_errors[0] < 0.005
