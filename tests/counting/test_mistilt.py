"""A mistilt takes signal from thick columns, and the joint method knows it."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
import scipy

import ppiscs_jax as pp
from ppiscs_jax.counting import methods
from ppiscs_jax.counting.joint import _squared_length, count_jointly
from ppiscs_jax.counting.methods import uncertain
from ppiscs_jax.counting.mistilt import mistilt_loss
from ppiscs_jax.errors import InputError
from ppiscs_jax.surrogate.predict import load_surrogate

SETTINGS = pp.Settings("Au", "110", 300.0, 21.0, 46.0, 190.0, rmsd_angstrom=0.085)

LOSS = 0.05 / 100 * np.minimum(np.arange(1, 88) / 30, 1)
"""About that of gold: 5 % at 10 mrad and 30 atoms [mrad⁻²]."""


def test_prior_of_the_mistilt():
    """Squared lengths of vectors of two normally distributed components."""
    quantiles = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    squares = _squared_length(jnp.asarray(scipy.stats.norm.ppf(quantiles)))
    np.testing.assert_allclose(squares, scipy.stats.chi2(2).ppf(quantiles), rtol=1e-4)


def test_loss_of_thin_columns():
    """It grows from 0 with the thickness, and stays what it is beyond the largest simulated one."""
    loss = mistilt_loss(SETTINGS, 3, 6, waves=16)
    assert loss.shape == (6,)
    assert np.all(np.diff(loss[:3]) > 0)
    np.testing.assert_array_equal(loss[3:], loss[2])
    assert 0 < 100 * loss[2] < 0.03


def test_counts_of_a_mistilted_crystal():
    """8 mrad: thick columns look more than one atom thinner than they are, unless it is known.

    The gain is known to 0.5 %, so that it cannot take the place of the mistilt.
    """
    atoms = np.repeat(np.arange(2, 41, 2), 2)
    curve = pp.predict(SETTINGS)
    values = curve.ppiscs[atoms - 1] * np.exp(-LOSS[atoms - 1] * 8.0**2)
    error = 0.002 * values + 1e-4
    problem = uncertain(SETTINGS, {"gain": 0.005})
    forward = load_surrogate().curve
    upright = count_jointly(values, error, forward, problem)
    known = count_jointly(values, error, forward, problem, mistilt_loss=LOSS, mistilt_std_mrad=5.0)
    assert np.mean(upright.counts != atoms) > 0.25
    assert np.mean(known.counts != atoms) < 0.05
    length, std = known.solutions[0].estimates["mistilt_mrad"]
    assert abs(length - 8.0) < 3 * std < 6.0


def test_simulated_up_to_the_thickest_column(monkeypatch):
    asked = []

    def loss(settings, n_atoms, size, seed):
        asked.append((settings, n_atoms, size))
        return LOSS[:size]

    monkeypatch.setattr(methods, "mistilt_loss", loss)
    values = pp.predict(SETTINGS).ppiscs[[4, 9, 14, 19]]
    counts = pp.count_cross_sections(values, SETTINGS, mistilt_std_mrad=2.0)
    ((settings, n_atoms, size),) = asked
    assert settings == SETTINGS
    assert 20 <= n_atoms <= 25
    assert size == 87
    assert counts.counts.tolist() == [5, 10, 15, 20]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mistilt_std_mrad": 0.0}, "mistilt_std_mrad = 0 mrad: must be 0.1 to 5 mrad"),
        ({"mistilt_std_mrad": 2.0, "method": "hybrid"}, "the method hybrid has no mistilt"),
    ],
)
def test_bad_input(options, said):
    with pytest.raises(InputError, match=said):
        pp.count_cross_sections([0.1, 0.2], SETTINGS, **options)


@pytest.mark.slow
def test_loss_against_simulations():
    """That of a converged simulation of gold, mistilted by 8 mrad along both axes, at 20 atoms."""
    n_atoms = 20
    loss = mistilt_loss(SETTINGS, n_atoms, n_atoms)
    options = {"n_atoms": n_atoms, "relative_error": 0.0015, "seed": 3}
    upright = pp.simulate(SETTINGS, **options).ppiscs
    mistilted = [
        pp.simulate(replace(SETTINGS, mistilt_mrad=axis), **options).ppiscs
        for axis in ((8.0, 0.0), (0.0, 8.0))
    ]
    expected = -np.log(np.mean(mistilted, axis=0) / upright)
    np.testing.assert_allclose(8.0**2 * loss[4:], expected[4:], atol=0.004)
