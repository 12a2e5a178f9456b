"""Counting from cross-sections that were measured elsewhere."""

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, count_cross_sections, predict

SETTINGS = Settings("Pt", "110", 300.0, 21.0, 46.0, 190.0, 0.08)
ATOMS = np.array([1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9])
VALUES = np.asarray(predict(SETTINGS).ppiscs, float)[ATOMS - 1]
ERROR = 0.003 * VALUES


@pytest.mark.parametrize("method", ["library", "hybrid", "joint"])
def test_exact_values(method):
    counts = count_cross_sections(
        VALUES, SETTINGS, standard_error_angstrom2=ERROR, method=method, std={"gain": 0.02}
    )
    np.testing.assert_array_equal(counts.counts, ATOMS)


def test_errors_may_be_unknown():
    counts = count_cross_sections(VALUES.tolist(), SETTINGS, method="library")
    np.testing.assert_array_equal(counts.counts, ATOMS)


def test_statistics_without_settings():
    """Two classes far apart, in any unit."""
    values = np.repeat([100.0, 200.0], 10) + np.linspace(-3, 3, 20)
    counts = count_cross_sections(values, components=2)
    np.testing.assert_array_equal(counts.counts, np.repeat([1, 2], 10))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"values_angstrom2": [1.0, np.nan]}, "values_angstrom2: 2 values; must be one or more"),
        ({"values_angstrom2": []}, "values_angstrom2: 0 values; must be one or more"),
        ({"values_angstrom2": [[1.0]]}, "values_angstrom2"),
        ({"standard_error_angstrom2": ERROR[:3]}, "standard_error_angstrom2"),
        ({"standard_error_angstrom2": -ERROR}, r"standard_error_angstrom2 = -.* Å²: must be 0"),
        ({"method": "guess"}, "method"),
        ({"std": {"defocus": 1.0}}, "std"),
        ({"settings": None, "method": "hybrid"}, "the method hybrid needs settings"),
    ],
)
def test_bad_input(options, said):
    with pytest.raises(InputError, match=said):
        count_cross_sections(**{"values_angstrom2": VALUES, "settings": SETTINGS} | options)
