"""Bad measurements, problems and forward models of fits."""

import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem
from tests.inverse.test_fit import NOMINAL, analytic, gaussian, noisy

VALUES = np.linspace(0.01, 1, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ppiscs": [0.1, -0.2, 0.3]}, r"at 2 atoms = -0.2 Å²: must be 0 or more"),
        ({"ppiscs": [0.1, -0.6], "standard_error": 0.1}, "within 5 standard errors"),
        ({"ppiscs": [0.1, np.inf]}, "at 2 atoms = inf Å²"),
        ({"ppiscs": [np.nan, np.nan, 0.0]}, "nothing but gaps and zeros"),
        ({"ppiscs": "text"}, "must be numbers"),
        ({"ppiscs": VALUES, "standard_error": [0.1, 0.2]}, r"standard_error of shape \(2,\)"),
        ({"ppiscs": VALUES, "standard_error": 0.0}, "standard_error = 0, .* must be above 0"),
        (
            {"ppiscs": VALUES, "standard_error": 1e-300},
            "= 1e-300.* and above 1e-12",
        ),
        ({"ppiscs": VALUES, "dose_per_angstrom2": np.nan}, "dose_per_angstrom2 = nan"),
        ({"ppiscs": VALUES, "standard_error": 1, "dose_per_angstrom2": 1}, "determines the noise"),
        ({"ppiscs": VALUES[:3], "n_atoms": [1, 2, 2]}, "n_atoms: 2 more than once"),
        ({"ppiscs": VALUES[:3], "n_atoms": [1, 2]}, "must be one for each of 3 values"),
        ({"ppiscs": VALUES[:3], "n_atoms": [0, 1, 2]}, "must be whole numbers, 1 to 1000"),
        ({"ppiscs": VALUES[:3], "n_atoms": [1, 2, 2.5]}, "must be whole numbers"),
    ],
)
def test_bad_measurements(arguments, message):
    with pytest.raises(InputError, match=message):
        Measured(**arguments)


def test_noise_may_go_below_zero():
    """By less than five standard errors."""
    np.testing.assert_array_equal(Measured([-0.2, 0.3], 0.1).ppiscs, [-0.2, 0.3])


@pytest.mark.parametrize(
    ("x", "free", "message"),
    [
        (NOMINAL, {"rmsd_angstrom": Free(0.1, 0.12)}, "nominal rmsd_angstrom = 0.09 Å: must be"),
        (
            NOMINAL,
            {"rmsd_angstrom": Free(0.1, 0.05)},
            "bounds 0.1 to 0.05 Å: lower must be below upper",
        ),
        (NOMINAL, {"rmsd_angstrom": Free(0.05, 0.5)}, "upper bound = 0.5 Å: must be 0 to 0.3 Å"),
        (NOMINAL, {"rmsd_angstrom": Free(0.05, 0.1, 0.0)}, "prior_std = 0 Å: must be above 0"),
        (NOMINAL, {"rmsd_angstrom": (0.05, 0.1)}, r"must be Free\(low, high, prior_std\)"),
        (NOMINAL, {"rmsd": Free(0.05, 0.1)}, "free = 'rmsd': must be one of voltage_kv"),
        (NOMINAL, {"element": Free(10, 80)}, "free = 'element': must be one of"),
        (NOMINAL, {}, "must name at least one parameter"),
        (
            NOMINAL,
            {"inner_mrad": Free(40, 150), "outer_mrad": Free(140, 200)},
            "inner_mrad up to 150 mrad and outer_mrad from 140 mrad",
        ),
        (NOMINAL[:8], {"rmsd_angstrom": Free(0.05, 0.1)}, r"vector of shape \(8,\)"),
    ],
)
def test_bad_problems(x, free, message):
    with pytest.raises(InputError, match=message):
        Problem(x, free)


def test_all_problems_at_once():
    with pytest.raises(InputError) as caught:
        Problem(NOMINAL, {"rmsd": Free(0, 1), "inner_mrad": Free(300, "x")}, gain=-1)
    assert len(caught.value.problems) == 4
    with pytest.raises(InputError) as caught:
        fit(analytic, gaussian(), noisy(0), method="newton", cost="absolute", max_evaluations=0)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("forward", "measured", "message"),
    [
        (analytic, Measured(np.ones(50), 0.1), "at up to 50 atoms; .* gives 1 to 40"),
        (analytic, Measured(np.ones(5)), "prior_std: needs standard_error or dose"),
        (lambda x: analytic(x)[0], Measured(np.ones(5), 0.1), r"gives arrays of shape \(\)"),
        (
            lambda x: jnp.where(x[8] > 0.1, jnp.nan, analytic(x)),
            Measured(np.ones(5), 0.1),
            "rmsd_angstrom: the forward model gives nothing at its bound 0.102 Å",
        ),
        (lambda x: -analytic(x), Measured(np.ones(5), 0.1), "no positive cross-section"),
        (lambda x: jnp.sqrt(x[8] - x[8]) + analytic(x), noisy(0), "derivatives .* not finite"),
    ],
)
def test_what_does_not_fit_together(forward, measured, message):
    with pytest.raises(InputError, match=message):
        fit(forward, gaussian(), measured)
