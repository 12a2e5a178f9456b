"""Probability of error of atom counting, against sums over counts, and the counting itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import poisson

from ppiscs_jax import InputError
from ppiscs_jax.inverse.error_probability import (
    error_probability,
    gaussian_log_error_probability,
    joint_error_probability,
    uncertain_error_probability,
)

ATOMS = np.arange(1, 61)
SATURATING = 2.5 * (1 - np.exp(-ATOMS / 40)) * ATOMS**0.2
"""Like a PPISCS curve: it rises, ever less steeply."""

WAVY = SATURATING + 0.1 * np.sin(ATOMS)
"""Rises and falls: it must not matter."""

ANY_CURVE = arrays(float, st.integers(1, 8), elements=st.floats(0, 5).map(lambda v: round(v, 1)))
"""Not monotone, and with values that are the same, or 0."""


def probabilities(rates, counts):
    """Poisson probabilities of consecutive counts, (counts, n): ratios λ/s multiplied up.

    Normalised by their sum, so that no gamma function is involved.
    """
    later = counts[1:, None]
    ratios = np.log(np.maximum(rates, 1e-300) / later)
    logs = np.concatenate([np.zeros((1, len(rates))), np.cumsum(ratios, axis=0)])
    values = np.exp(logs - logs.max(axis=0))
    return values / values.sum(axis=0)


_log_gaussian = jax.jit(gaussian_log_error_probability)


def log_gaussian(curve, dose, priors=None):
    single = [None if a is None else jnp.asarray(a, jnp.float32) for a in (curve, priors)]
    return float(_log_gaussian(single[0], dose, single[1]))


def all_counts(rates):
    """Counts that some rate gives: twelve standard deviations around them all."""
    low, high = np.min(rates), np.max(rates)
    return np.arange(max(0, int(low - 12 * low**0.5)), int(high + 12 * high**0.5) + 30)


def summed(likelihoods, priors=None):
    """P_e as the sum over counts of all that the most probable hypothesis leaves over."""
    n = likelihoods.shape[1]
    weights = np.full(n, 1 / n) if priors is None else np.asarray(priors) / np.sum(priors)
    return np.sum(np.sort(weights * likelihoods, axis=1)[:, :-1])


@settings(max_examples=60, deadline=None)
@given(ANY_CURVE, st.floats(0, 300), st.data())
def test_exact_for_any_curve_and_priors(curve, dose, data):
    """Both are sums of probabilities, rounded at 1e-16 a term, of at most 2000 terms."""
    priors = data.draw(arrays(float, len(curve), elements=st.floats(1e-3, 1)))
    expected = summed(probabilities(dose * curve, all_counts(dose * curve)), priors)
    assert error_probability(curve, dose, priors) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("counts", [1e3, 1e5, 1e7])
def test_exact_at_many_counts(counts):
    """Near hypotheses, and far ones whose P_e is small: right in proportion.

    Thresholds are known to 1e-16 × counts × (counts / difference), in units of the standard
    deviation ≤ 1e-10 even at the nearest and most.
    """
    for apart in (0.5, 10):
        rates = counts + apart * np.sqrt(counts) * np.arange(4)
        expected = summed(probabilities(rates, all_counts(rates)))
        assert error_probability(rates / 50, 50.0) == pytest.approx(expected, rel=1e-9)


def test_two_hypotheses():
    """The closed form: the threshold is D (V₂ − V₁) / log(V₂ / V₁), here 29.5 counts."""
    v1, v2, dose = 0.02, 0.04, 1021.5
    threshold = dose * (v2 - v1) / np.log(v2 / v1)
    assert threshold == pytest.approx(29.5, abs=0.1)
    expected = (poisson.sf(29, dose * v1) + poisson.cdf(29, dose * v2)) / 2
    assert error_probability([v1, v2], dose) == pytest.approx(expected, rel=1e-12)
    assert uncertain_error_probability([[v1, v2]], dose) == pytest.approx(expected, rel=1e-12)


def test_limits():
    """No dose and equal curves leave a guess by the priors; one hypothesis leaves no doubt."""
    assert error_probability(SATURATING, 0.0) == pytest.approx(1 - 1 / 60)
    assert error_probability([0.3, 0.3, 0.3], 100.0, [1, 2, 1]) == pytest.approx(0.5)
    assert error_probability([0.3], 100.0) == 0


def test_thresholds_of_a_rising_curve():
    """Where the curve rises, neighbours are all that matter. Doses and curves broadcast.

    Then n + 1 is chosen from n at D (V_{n+1} − V_n) / log(V_{n+1} / V_n) counts on.
    """
    curves = np.stack([SATURATING, 0.1 * ATOMS])
    doses = np.array([[1e1], [1e3], [1e5], [1e7]])
    exact = error_probability(curves, doses)
    assert exact.shape == (4, 2)
    rises = np.diff(curves) / np.diff(np.log(curves))
    last = np.ceil(doses[..., None] * rises) - 1
    rates = doses[..., None] * curves
    wrong = poisson.sf(last, rates[..., :-1]) + poisson.cdf(last, rates[..., 1:])
    np.testing.assert_allclose(exact, wrong.sum(axis=-1) / curves.shape[1], rtol=1e-9, atol=1e-200)
    assert exact[2, 1] == pytest.approx(float(error_probability(curves[1], 1e5)), rel=1e-12)


def test_counting_itself():
    """Columns counted 400,000 times by maximum likelihood: P_e within 4 standard errors."""
    rng, dose, draws = np.random.default_rng(1), 300.0, 400_000
    truth = rng.integers(len(WAVY), size=draws)
    counts = rng.poisson(dose * WAVY[truth])
    table = np.argmax(probabilities(dose * WAVY, np.arange(counts.max() + 1)), axis=1)
    wrong = np.mean(table[counts] != truth)
    expected = error_probability(WAVY, dose)
    assert abs(wrong - expected) < 4 * np.sqrt(expected * (1 - expected) / draws)


@settings(max_examples=100, deadline=None)
@given(ANY_CURVE, st.floats(0, 1e4), st.floats(1, 10))
def test_more_dose_is_never_worse(curve, dose, factor):
    """Counts of a lower dose are those of a higher one, thinned: they cannot tell more."""
    assert error_probability(curve, dose * factor) <= error_probability(curve, dose) + 1e-12


@pytest.mark.parametrize("curve", [SATURATING, WAVY, SATURATING[:12]], ids=["60", "wavy", "12"])
@pytest.mark.parametrize("dose", [1e2, 1e3, 1e4, 1e5])
def test_gaussian_form(curve, dose):
    """Within 0.3 %, and 1e-4 of the logarithm, which is −114 in one of these.

    Roots of λ counts are Gaussian up to terms in 1/λ, and λ is 6 or more here.
    """
    exact = np.log(error_probability(curve, dose))
    assert log_gaussian(curve, dose) == pytest.approx(exact, abs=3e-3, rel=1e-4)


def test_gaussian_form_with_priors():
    """A peak of thicknesses around 30 atoms, and the same in any unit."""
    priors = np.exp(-(((ATOMS - 30) / 8) ** 2) / 2)
    exact = np.log(error_probability(SATURATING, 1e4, priors))
    for scale in (1.0, 7.0):
        assert log_gaussian(SATURATING, 1e4, scale * priors) == pytest.approx(exact, abs=3e-3)


def test_slopes_of_the_gaussian_form():
    """Against differences of the exact one over ± 5 %, wide enough to average whole counts."""
    curve = jnp.asarray(SATURATING, jnp.float32)
    of_curve, of_dose = jax.jit(jax.grad(gaussian_log_error_probability, (0, 1)))(curve, 1e4)

    def exact(curve, dose):
        return np.log(error_probability(curve, dose))

    expected = (exact(SATURATING, 1.05e4) - exact(SATURATING, 0.95e4)) / 1e3
    assert of_dose == pytest.approx(expected, rel=0.01)
    direction = SATURATING * np.sin(ATOMS / 20)
    up, down = (exact(SATURATING + s * direction, 1e4) for s in (0.05, -0.05))
    assert of_curve @ direction == pytest.approx((up - down) / 0.1, rel=0.01)


def test_slopes_exist_where_hypotheses_meet():
    slope = jax.jit(jax.value_and_grad(gaussian_log_error_probability))
    for curve in ([0.2, 0.2, 0.5], [0.0, 0.0, 0.0]):
        value, slopes = slope(jnp.array(curve), 1e3)
        assert np.all(np.isfinite([value, *slopes]))
    # All the same: two of three are wrong.
    assert value == pytest.approx(np.log(2 / 3), abs=1e-5)


SHARES = np.array([[0.2], [0.3], [0.5]])
"""Three detectors that see the same in proportion: their sum tells all that they tell."""


@pytest.mark.parametrize(("detectors", "dose"), [(3, 2.0), (2, 100.0), (3, 1e4)])
def test_proportional_detectors(detectors, dose):
    """Enumerated at 2 and 100 e⁻/Å² (to 1e-12), drawn at 10⁴ (within 4 standard errors)."""
    curve, shares = WAVY[:20], SHARES[:detectors]
    expected = error_probability(shares.sum() * curve, dose)
    found = joint_error_probability(shares * curve, dose, jax.random.key(2))
    assert (found.standard_error == 0) == (dose < 1e3)
    assert found.value == pytest.approx(expected, abs=1e-12 + 4 * found.standard_error)
    single = log_gaussian(shares.sum() * curve, dose)
    assert log_gaussian(shares * curve, dose) == pytest.approx(single, abs=1e-4)


def test_two_detectors():
    """One that rises, one that falls: against the sum over both counts, and by draws.

    The Gaussian form is within 2 %: one of the detectors sees 3 to 12 counts.
    """
    curves = np.stack([0.1 * ATOMS[:10], 0.4 - 0.03 * ATOMS[:10]])
    few = 30.0
    one, two = (probabilities(few * c, all_counts(few * c)) for c in curves)
    expected = summed((one[:, None] * two).reshape(-1, 10))
    found = joint_error_probability(curves, few, jax.random.key(0))
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert log_gaussian(curves, few) == pytest.approx(np.log(expected), abs=0.02)
    alone = error_probability(curves, few)
    assert expected < alone.min()


def test_draws_repeat_and_their_error_is_right():
    """Thirty keys scatter by the standard error told: χ² / 29 within 0.4 to 1.9 (99.5 %)."""
    curves = np.stack([WAVY, WAVY[::-1]])
    found = [
        joint_error_probability(curves, 300.0, jax.random.key(i), samples=40) for i in range(30)
    ]
    again = joint_error_probability(curves, 300.0, jax.random.key(29), samples=40)
    assert again == found[-1]
    values, errors = np.array(found).T
    assert 0.4 < np.var(values, ddof=1) / np.mean(errors**2) < 1.9


@pytest.mark.parametrize("dose", [3.0, 300.0, 3e4])
def test_uncertain_microscope(dose):
    """Against the sum over all counts, with the mean over draws before the maximum.

    A microscope that is known only by chance tells less than the known ones on average.
    """
    rng = np.random.default_rng(3)
    draws = WAVY[:15] * (1 + 0.03 * rng.normal(size=(10, 1)))
    counts = all_counts(dose * draws)
    likelihoods = np.mean([probabilities(dose * d, counts) for d in draws], axis=0)
    found = uncertain_error_probability(draws, dose)
    assert found == pytest.approx(summed(likelihoods), abs=1e-10)
    assert found >= np.mean(error_probability(draws, dose)) - 1e-12


@pytest.mark.parametrize("dose", [10.0, 1e4, 1e6])
def test_certain_microscope(dose):
    priors = 1 + np.cos(ATOMS) ** 2
    found = uncertain_error_probability(np.tile(WAVY, (3, 1)), dose, priors)
    assert found == pytest.approx(float(error_probability(WAVY, dose, priors)), abs=1e-12)


@pytest.mark.parametrize(
    ("curves", "dose", "priors", "message"),
    [
        ([0.1, np.nan], 1e4, None, "nan Å²: must be 0"),
        ([0.1, -0.2], 1e4, None, "1 of 2 values are not cross-sections, the first -0.2 Å²"),
        ([], 1e4, None, "not empty"),
        (0.1, 1e4, None, "shape"),
        ("ab", 1e4, None, "no numbers"),
        ([0.1, 0.2], -1.0, None, "dose_per_angstrom2 = -1 e⁻/Å²: must be 0 to 1e"),
        ([0.1, 0.2], np.nan, None, "dose_per_angstrom2 = nan"),
        ([[0.1, 0.2]] * 3, [1e3, 1e4], None, r"shape \(2,\): must go with \(3,\)"),
        ([0.1, 0.2], 1e4, [1.0], "priors of shape"),
        ([0.1, 0.2], 1e4, [1.0, 0.0], "must all be above 0"),
        ([0.1, np.inf], -1.0, [1.0, -1.0], "curves.*dose.*priors"),
    ],
)
def test_bad_input(curves, dose, priors, message):
    with pytest.raises(InputError, match=message):
        error_probability(curves, dose, priors)


def test_bad_input_of_several():
    with pytest.raises(InputError, match=r"must be \(detectors, n\)"):
        joint_error_probability([0.1, 0.2], 1e4, jax.random.key(0))
    with pytest.raises(InputError, match="samples = 1"):
        joint_error_probability([[0.1, 0.2]], 1e4, jax.random.key(0), samples=1)
    with pytest.raises(InputError, match="must be one number"):
        uncertain_error_probability([[0.1, 0.2]], [1e3, 1e4])
