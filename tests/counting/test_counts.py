"""Counts of known numbers of atoms, from cross-sections of a curve in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax.counting.counts import (
    Counts,
    count_by_hybrid,
    count_by_library,
    count_by_statistics,
    gain_starts,
)
from ppiscs_jax.counting.joint import count_jointly
from ppiscs_jax.counting.methods import STD, uncertain
from ppiscs_jax.errors import InputError
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.settings import Settings
from ppiscs_jax.surrogate.predict import load_surrogate, predict

SETTINGS = Settings("Pt", "110", 300.0, 21.0, 46.0, 190.0, 0.08)


def forward(x):
    """A curve that bends as those of PPISCS do, inversely proportional to the inner angle."""
    n = jnp.arange(1, 31)
    return 0.03 * (46.0 / x[6]) * n**0.9


CURVE = np.asarray(forward(SETTINGS.to_vector()), float)


def known(gain: float = 1.0, inner: float = 46.0, seed: int = 0, count: int = 150):
    """Numbers of atoms, cross-sections, and their standard errors, a tenth of the spacing."""
    generator = np.random.default_rng(seed)
    atoms = generator.integers(1, 13, count)
    x = SETTINGS.to_vector()
    x[6] = inner
    values = gain * np.asarray(forward(x), float)[atoms - 1]
    error = np.full(count, 0.002)
    return atoms, generator.normal(values, error), error


def test_library():
    """Spacings are at least 0.02 Å², ten standard errors: nothing is wrong."""
    atoms, values, error = known()
    found = count_by_library(values, error, CURVE)
    np.testing.assert_array_equal(found.counts, atoms)
    assert found.probability.min() > 0.999
    nothing = count_by_library(np.array([0.001, 0.03]), np.array([0.002, 0.002]), CURVE)
    np.testing.assert_array_equal(nothing.counts, [0, 1])


def test_probabilities_between_two_values():
    """Halfway between two values of equal errors, each has a probability of one half."""
    middle = np.array([(CURVE[3] + CURVE[4]) / 2])
    found = count_by_library(middle, np.array([0.002]), CURVE)
    np.testing.assert_allclose(found.probabilities[0, 4:6], 0.5, atol=1e-6)
    low, high = found.interval
    assert (low[0], high[0]) == (4, 5)


def test_interval_holds_its_probability():
    probabilities = np.array([[0.02, 0.02, 0.9, 0.03, 0.03]])
    low, high = Counts("library", np.arange(5), probabilities, ()).interval
    assert (low[0], high[0]) == (1, 4)


def test_statistics_and_offset():
    generator = np.random.default_rng(2)
    atoms = generator.integers(1, 7, 300)
    found = count_by_statistics(generator.normal(0.03 * atoms, 0.003), most=10)
    np.testing.assert_array_equal(found.counts, atoms)
    names = [e.name for e in found.solutions]
    assert names[0] == "6 components"
    shifted = count_by_statistics(0.03 * atoms, components=6, offset=2, most=6)
    np.testing.assert_array_equal(shifted.counts, atoms + 2)
    with pytest.raises(InputError, match="components = 0"):
        count_by_statistics(0.03 * atoms, components=0)


def test_hybrid_finds_the_scale():
    """A gain 6 % off shifts twelve atoms by most of one; the mixture's gain has an error below
    0.002 / 0.15 / √150 = 0.1 %, and nothing is wrong."""  # noqa: D205, D209
    atoms, values, error = known(gain=1.06)
    assert np.mean(count_by_library(values, error, CURVE).counts == atoms) < 0.9
    found = count_by_hybrid(values, CURVE)
    np.testing.assert_array_equal(found.counts, atoms)
    assert found.solutions[0].gain == pytest.approx(1.06, abs=0.004)
    assert sum(e.probability for e in found.solutions) == pytest.approx(1)


def test_joint_finds_gain_and_settings():
    """Gain and inner angle have the same effect: their product is known, each is as before."""
    atoms, values, error = known(gain=1.05, inner=45.0)
    free = {"inner_mrad": Free(40, 52, 1.0), "gain": Free(0.7, 1.3, 0.05)}
    found = count_jointly(values, error, forward, Problem(SETTINGS, free))
    np.testing.assert_array_equal(found.counts, atoms)
    estimates = found.solutions[0].estimates
    product = estimates["gain"][0] / estimates["inner_mrad"][0]
    assert product == pytest.approx(1.05 / 45.0, rel=0.005)
    assert 0.3 < estimates["inner_mrad"][1] < 1.0
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-6)


def test_joint_names_false_scales():
    """Five columns of 10, 12 or 14 atoms, on a straight line through the origin.

    They are as well 5, 6, 7 of twice the gain, or 15, 18, 21 of two thirds. Of the numbers up to
    a largest one M, each column has 1 / (M + 1): from 14 to 7 a factor of 15/8, from 14 to 21 of
    15/22, of which 5 columns make 23 and 0.15. With the prior of the gain, 1 ± 0.5, and the sum
    over M, all three keep 1 % or more.
    """
    atoms = np.array([10, 12, 14, 12, 10])

    def line(x):
        return 0.03 * jnp.arange(1.0, 31.0)

    free = {"gain": Free(0.3, 2.5, 0.5)}
    error = np.full(5, 0.0005)
    found = count_jointly(0.03 * atoms, error, line, Problem(SETTINGS, free))
    gains = np.array([e.gain for e in found.solutions])
    weights = np.array([e.probability for e in found.solutions])
    for gain in (2 / 3, 1, 2):
        assert weights[np.abs(gains / gain - 1) < 0.01].sum() > 0.01
    assert weights.sum() == pytest.approx(1)


def test_starts_are_close_enough():
    """Neighbouring starts change the thickest column, of 20 atoms, by a third of one at most."""
    starts = np.sort(gain_starts(0.05, 20))
    assert np.max(np.diff(starts)) * 20 < 1 / 3
    assert starts[0] < 0.86
    assert starts[-1] > 1.14


def test_bad_input():
    with pytest.raises(InputError, match="curve: its value at one atom"):
        count_by_hybrid(np.ones(5), np.array([np.nan, 1.0]))
    with pytest.raises(InputError, match="gain_std = 0"):
        count_by_hybrid(np.ones(5), CURVE, gain_std=0.0)


def test_joint_does_not_take_columns_to_be_spread_evenly():
    """A slab of 18 and 19 atoms says little of the settings, however many columns it has.

    Were numbers of atoms taken to be uniformly distributed, the inner angle would be 41 ± 1 mrad.
    """
    atoms = np.random.default_rng(0).choice([17, 18, 19], 600, p=[0.03, 0.52, 0.45])
    exact = predict(SETTINGS).ppiscs[atoms - 1]
    error = 0.016 * exact
    values = exact + error * np.random.default_rng(1).standard_normal(len(exact))
    counts = count_jointly(values, error, load_surrogate().curve, uncertain(SETTINGS, STD))
    for solution in counts.solutions:
        for name in ("convergence_mrad", "inner_mrad", "rmsd_angstrom"):
            estimate, _ = solution.estimates[name]
            assert abs(estimate - getattr(SETTINGS, name)) < 1.5 * STD[name]
    right = next(s for s in counts.solutions if abs(s.gain - 1) < 0.015)
    assert right.probability > 0.05
