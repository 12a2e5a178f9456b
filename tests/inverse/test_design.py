"""Designs of experiments, through a small forward model that has a best detector inside."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from ppiscs_jax import InputError, Settings
from ppiscs_jax.inverse.design import best_design, error_probability_map
from ppiscs_jax.inverse.error_probability import error_probability

MOST = 40
GOLD = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
DOSE = 1e4


def forward(x):
    """Saturates at small inner angles, and at low voltages; gives little at large ones.

    No curve below 50 kV, and none past 30 atoms along [100].
    """
    atoms = jnp.arange(1, MOST + 1)
    wide = 8e3 / x[2]

    def beyond(angle):
        return 1 / (1 + (angle / wide) ** 2 + (x[5] / 60) ** 2)

    scattered = 0.2 * (300 / x[2]) * beyond(x[6])
    curve = 8 * (beyond(x[6]) - beyond(x[7])) * (1 - jnp.exp(-atoms * scattered))
    there = (x[2] >= 50) & ((x[1] == 0) | (atoms <= 30))
    return jnp.where(there, curve, jnp.nan)


compiled = jax.jit(forward)


def exact(x, n_atoms=(1, MOST), dose=DOSE):
    curve = np.asarray(compiled(x), float)
    return float(error_probability(curve[n_atoms[0] - 1 : n_atoms[1]], dose))


def changed(**numbers):
    vector = GOLD.to_vector()
    order = ("voltage_kv", "c30_mm", "c10_angstrom", "convergence_mrad", "inner_mrad", "outer_mrad")
    for name, value in numbers.items():
        vector[2 + order.index(name)] = value
    return vector


def test_map():
    """Every point is the exact P_e of its settings; NaN where there is no detector."""
    inner, outer = [30.0, 80.0, 150.0], [100.0, 150.0]
    axes = {"outer_mrad": outer, "inner_mrad": inner}
    found = error_probability_map(forward, GOLD, axes, DOSE, (3, 20))
    assert found.shape == (2, 3)
    assert np.isnan(found[:, 2]).all()
    for (i, o), (j, t) in product(enumerate(outer), enumerate(inner[:2])):
        expected = exact(changed(inner_mrad=t, outer_mrad=o), (3, 20))
        # Compiled and not, curves round by 1e-6, which moves P_e by as much.
        assert found[i, j] == pytest.approx(expected, rel=1e-4)


def test_map_over_what_cannot_be_designed():
    """Element and zone axis by their codes, and what the forward model does not give."""
    axes = {"zone_axis": [0, 1], "element": [79, 78], "voltage_kv": [40.0, 300.0]}
    found = error_probability_map(forward, GOLD.to_vector(), axes, DOSE, (1, MOST))
    assert found.shape == (2, 2, 2)
    assert np.isfinite(found).sum() == 2
    assert found[0, :, 1] == pytest.approx(exact(GOLD.to_vector()), rel=1e-4)
    thinner = error_probability_map(forward, GOLD, {"zone_axis": [0, 1]}, DOSE, (1, 30))
    assert thinner[0] == thinner[1]


@pytest.mark.slow
def test_one_angle_against_a_search():
    """Brent's search in the exact P_e, the curve's inner minimum being the only one.

    P_e is flat there: 1e-4 of it is less than the step of whole counts.
    """
    design = best_design(forward, GOLD, {"inner_mrad": (20, 180)}, DOSE, (1, MOST))
    search = minimize_scalar(
        lambda t: exact(changed(inner_mrad=t)), bounds=(20, 180), method="bounded"
    )
    assert 25 < search.x < 100
    assert design.error_probability == pytest.approx(search.fun, rel=1e-4)
    assert design.x[6] == pytest.approx(search.x, abs=1.0)
    assert design.error_probability < design.grid_error_probability
    assert design.error_probability == pytest.approx(exact(design.x), rel=1e-4)
    assert design.converged.any()
    assert design.settings.inner_mrad == design.x[6]
    others = [0, 1, 2, 3, 4, 5, 7, 8]
    np.testing.assert_array_equal(design.x[others], GOLD.to_vector()[others])


BOXES = [
    {"vary": {"inner_mrad": (20, 150), "outer_mrad": (60, 250)}},
    {"vary": {"inner_mrad": (20, 150), "outer_mrad": (60, 250)}, "least_width_mrad": 120},
    {"vary": {"convergence_mrad": (15, 35), "inner_mrad": (20, 60)}, "beyond_aperture_mrad": 20},
    {"vary": {"convergence_mrad": (15, 35), "inner_mrad": (20, 60)}, "voltages_kv": [60, 80, 200]},
    {"vary": {"voltage_kv": (60, 300), "inner_mrad": (30, 100), "outer_mrad": (40, 110)}},
    {"vary": {"voltage_kv": (60, 300), "convergence_mrad": (15, 35)}, "grid": 3, "descents": 1},
    {"vary": {"outer_mrad": (100, 250)}},
    {"vary": {}, "voltages_kv": [300, 80]},
]


@pytest.mark.parametrize("dose", [1e2, 1e5])
@pytest.mark.parametrize("given", BOXES)
def test_never_worse_than_the_grid_nor_outside_the_box(given, dose):
    design = best_design(forward, GOLD, dose_per_angstrom2=dose, n_atoms=(2, 35), **given)
    assert design.error_probability <= design.grid_error_probability
    assert design.error_probability <= np.min(design.end_error_probabilities)
    every = np.stack([design.x, design.grid_x, *design.starts, *design.ends])
    voltage, _, _, aperture, inner, outer = every[:, 2:8].T
    assert np.all(outer - inner >= given.get("least_width_mrad", 10) - 1e-4)
    assert np.all(inner - aperture >= given.get("beyond_aperture_mrad", -np.inf) - 1e-4)
    assert set(voltage) <= set(given.get("voltages_kv", voltage))
    names = {"voltage_kv": voltage, "convergence_mrad": aperture, "inner_mrad": inner}
    for name, values in {**names, "outer_mrad": outer}.items():
        fixed = getattr(GOLD, name)
        low, high = given["vary"].get(name, (fixed, fixed))
        if name != "voltage_kv" or "voltages_kv" not in given:
            assert np.all((values >= low) & (values <= high))


def test_grid_reaches_the_corners_of_the_box():
    """The best of a forward model with its best at a corner: 250 mrad is not a hair beyond."""
    design = best_design(forward, GOLD, {"outer_mrad": (100, 250)}, DOSE, (1, MOST))
    assert design.x[7] == 250.0
    assert design.settings.outer_mrad == 250.0


def test_voltages_that_the_microscope_has():
    """The best of the best at each voltage."""
    vary = {"inner_mrad": (20, 150)}
    voltages = [60, 120, 300]
    each = [best_design(forward, changed(voltage_kv=v), vary, DOSE, (1, MOST)) for v in voltages]
    chosen = best_design(forward, GOLD, vary, DOSE, (1, MOST), voltages_kv=voltages)
    best = min(each, key=lambda d: d.error_probability)
    assert chosen.error_probability == pytest.approx(best.error_probability, rel=1e-6)
    assert chosen.x[2] == best.x[2]


@pytest.mark.slow
def test_priors_change_the_design():
    """Thin columns only: the same as asking for these thicknesses alone."""
    vary = {"inner_mrad": (20, 150)}
    thin = best_design(forward, GOLD, vary, DOSE, (1, 10))
    priors = np.where(np.arange(1, MOST + 1) <= 10, 1.0, 1e-12)
    by_priors = best_design(forward, GOLD, vary, DOSE, (1, MOST), priors=priors.tolist())
    assert by_priors.error_probability == pytest.approx(thin.error_probability, rel=1e-3)
    thick = best_design(forward, GOLD, vary, DOSE, (1, MOST))
    assert abs(thick.x[6] - thin.x[6]) > 5


def test_bad_input_of_designs():
    """All at once."""
    vary = {
        "rmsd_angstrom": (0.1, 0.2),
        "inner_mrad": (90, 40),
        "outer_mrad": (100, 300),
        "voltage_kv": (60, "x"),
    }
    with pytest.raises(InputError) as error:
        best_design(
            forward,
            [1, 0, 300, 0, 0, 20, 60, 200, 0.1],
            vary,
            -1.0,
            (1, MOST),
            voltages_kv=[5.0],
            least_width_mrad=0.0,
            beyond_aperture_mrad=-1.0,
            grid=1,
            descents=0,
        )
    message = str(error.value)
    for part in (
        "vary = 'rmsd_angstrom'",
        "vary['inner_mrad'] = (90, 40): the lowest must be below",
        "vary['outer_mrad'] = 300 mrad",
        "vary['voltage_kv']",
        "dose_per_angstrom2 = -1",
        "voltages_kv = 5 kV",
        "not both",
        "least_width_mrad = 0 mrad",
        "beyond_aperture_mrad = -1 mrad",
        "grid = 1",
        "descents = 0",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_atoms": (1, MOST + 1)}, "n_atoms = 41 atoms: must be 1 to 40 atoms"),
        ({"n_atoms": (0, 5)}, "n_atoms = 0 atoms"),
        ({"n_atoms": (5, 5)}, "must be two numbers"),
        ({"n_atoms": 5}, "must be two numbers"),
        ({"n_atoms": (1.5, 5)}, "whole number"),
        ({"dose_per_angstrom2": [1e3, 1e4]}, "must be one number"),
        ({"priors": [1.0, 2.0]}, "priors of shape"),
        ({"vary": {}}, "vary: is empty"),
        ({"voltages_kv": []}, "voltages_kv: give some"),
        ({"voltages_kv": 300.0}, "voltages_kv of shape"),
        ({"vary": {"inner_mrad": (150, 190)}, "least_width_mrad": 60.0}, "no room for least_width"),
        ({"vary": {"inner_mrad": (5, 30)}, "beyond_aperture_mrad": 15.0}, "no room for beyond"),
        ({"vary": {"voltage_kv": (40, 300)}}, "does not give 1 to 40 atoms at 1 of 6 points"),
        ({"grid": 1000, "vary": {"inner_mrad": (5, 30), "voltage_kv": (60, 300)}}, "200000"),
        ({"x": GOLD.to_vector()[:8]}, "vector"),
    ],
)
def test_bad_input_one_by_one(changes, message):
    usual = {"x": GOLD, "vary": {"inner_mrad": (40, 150)}, "dose_per_angstrom2": DOSE}
    with pytest.raises(InputError, match=message):
        best_design(forward, **{**usual, "n_atoms": (1, MOST), **changes})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"tilt": [1.0]}, "axes = 'tilt'"),
        ({"inner_mrad": [-5.0, 50.0]}, "inner_mrad = -5 mrad: must be 0 to 250"),
        ({"inner_mrad": 50.0}, "inner_mrad of shape"),
        ({"element": [80]}, "element = 80"),
        ({"zone_axis": [1]}, "no curve of 1 to 40 atoms at any point"),
        ({"inner_mrad": [200, 220]}, "at any point"),
    ],
)
def test_bad_maps(axes, message):
    with pytest.raises(InputError, match=message):
        error_probability_map(forward, GOLD, axes, DOSE, (1, MOST))
