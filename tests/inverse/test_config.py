"""Config files of fits: which problem and which measured curve they make."""

import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.inverse.config import REACH, FitConfig
from ppiscs_jax.inverse.problem import Free
from ppiscs_jax.io.library import Library

NOMINAL = {
    "element": "Au",
    "zone_axis": "110",
    "voltage_kv": 300.0,
    "convergence_mrad": 20.0,
    "inner_mrad": 45.0,
    "outer_mrad": 190.0,
    "rmsd_angstrom": 0.09,
}
LIMITS = {"convergence_mrad": (17.5, 20.5)}
LIBRARY = Library(np.array([0.02, 0.01]), np.array([3, 1]), np.array([2e-4, 1e-4]))


def config(**fields):
    return FitConfig.model_validate({"nominal": NOMINAL, **fields})


def test_problem():
    """Bounds as given, or so many std away and cut to what the forward model knows."""
    given = config(
        std={"convergence_mrad": 0.2, "inner_mrad": 1.0, "gain": 0.01},
        bounds={"inner_mrad": (40.0, 50.0), "offset_angstrom2": (-1e-3, 1e-3)},
        gain=1.1,
        offset_angstrom2=1e-4,
    )
    problem = given.problem(LIMITS)
    assert problem.free == {
        "convergence_mrad": Free(20 - REACH * 0.2, 20.5, 0.2),
        "inner_mrad": Free(40, 50, 1.0),
        "gain": Free(1.1 - REACH * 0.01, 1.1 + REACH * 0.01, 0.01),
        "offset_angstrom2": Free(-1e-3, 1e-3),
    }
    assert (problem.gain, problem.offset_angstrom2) == (1.1, 1e-4)


def test_half_widths():
    """The paper's way has no priors and is cut to nothing."""
    fields = {"std": {"convergence_mrad": 0.75, "inner_mrad": 1.0}}
    expected = {"convergence_mrad": Free(19.25, 20.75), "inner_mrad": Free(44, 46)}
    assert config(**fields).half_widths().free == expected
    assert config(**fields, cost="absolute").problem(LIMITS).free == expected
    given = config(**fields, cost="absolute", bounds={"inner_mrad": (40.0, 50.0)})
    assert given.problem(LIMITS).free == {**expected, "inner_mrad": Free(40, 50)}


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({}, [1e-4, 2e-4]),
        ({"standard_error": 3e-3}, [3e-3, 3e-3]),
        ({"relative_error": 0.1}, [1e-3, 2e-3]),
    ],
)
@pytest.mark.parametrize(
    ("unit", "factor"), [("angstrom2", 1.0), ("nm2", 100.0), ("megabarn", 0.01)]
)
def test_measured(fields, errors, unit, factor):
    """Values and errors at 1, 2, 3 atoms in Å²: 1 nm² = 100 Å², 1 Mb = 0.01 Å²."""
    measured = config(unit=unit, **fields).measured(LIBRARY)
    np.testing.assert_allclose(measured.ppiscs, factor * np.array([0.01, np.nan, 0.02]))
    np.testing.assert_allclose(measured.standard_error, factor * np.insert(errors, 1, np.nan))


def test_dose():
    """A dose is of electrons per Å², whatever the unit of the values."""
    measured = config(unit="nm2", dose_per_angstrom2=1e4).measured(LIBRARY)
    np.testing.assert_allclose(measured.dose_per_angstrom2, [1e4, np.nan, 1e4])
    assert measured.standard_error is None


def test_problems_are_named():
    """Settings and names, all at once."""
    nominal = {**NOMINAL, "voltage_kv": 1.0}
    given = config(nominal=nominal, std={"angle": 1.0}, bounds={"element": (70.0, 80.0)})
    with pytest.raises(InputError) as caught:
        given.problem({})
    assert [p.split(":")[0] for p in caught.value.problems] == [
        "std = 'angle'",
        "bounds = 'element'",
        "voltage_kv = 1 kV",
    ]


def test_errors_of_simulated_curves():
    """A file of a curve brings the modes of its error; those of the config replace them."""
    modes = np.array([[1e-4, 2e-4], [2e-4, -1e-4]])
    library = Library(
        LIBRARY.ppiscs, LIBRARY.n_atoms, LIBRARY.standard_error, None, modes, degrees_of_freedom=15
    )
    measured = config().measured(library)
    assert measured.standard_error is None
    assert measured.degrees_of_freedom == 15
    np.testing.assert_allclose(measured.error_modes[:, [2, 0]], modes)
    assert config(relative_error=0.01).measured(library).error_modes is None
