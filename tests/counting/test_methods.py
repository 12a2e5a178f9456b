"""Counting from cross-sections that were measured elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, count, count_cross_sections, predict
from ppiscs_jax.counting.counts import count_by_library
from tests.counting.samples import image_of, lattice

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


@pytest.mark.parametrize("method", ["library", "joint"])
def test_errors_may_be_unknown(method):
    values = VALUES * (1 + 0.005 * np.random.default_rng(0).standard_normal(len(VALUES)))
    counts = count_cross_sections(values.tolist(), SETTINGS, method=method, std={"gain": 0.01})
    np.testing.assert_array_equal(counts.counts, ATOMS)
    assert np.all((counts.probability > 0.5) & (counts.probability <= 1))


def test_as_from_an_image():
    """The same cross-sections and errors give the same counts and probabilities."""
    positions = lattice(radius=5.0)
    values = np.resize(VALUES, len(positions))
    counted = count(
        image_of(positions, values, dose=1e5),
        SETTINGS,
        method="hybrid",
        positions_angstrom=positions,
        dose_per_angstrom2=1e5,
    )
    sections = counted.cross_sections
    counts = count_cross_sections(
        sections.values, SETTINGS, standard_error_angstrom2=sections.standard_error, method="hybrid"
    )
    np.testing.assert_array_equal(counts.probabilities, counted.counts.probabilities)


def test_an_error_of_nothing_is_unknown():
    """A Voronoi cell without electrons has the standard error 0."""
    counts = count_by_library(np.array([0.004, 0.0205]), np.zeros(2), np.array([0.01, 0.02]))
    assert counts.counts.tolist() == [0, 2]
    assert np.isfinite(counts.probabilities).all()


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
        ({"values_angstrom2": [[1.0]]}, "values_angstrom2 of shape"),
        ({"standard_error_angstrom2": ERROR[:3]}, "standard_error_angstrom2 of shape"),
        ({"standard_error_angstrom2": -ERROR}, "standard_error_angstrom2 = -.*must be above 0"),
        ({"standard_error_angstrom2": 0 * ERROR}, "standard_error_angstrom2 = 0 .*must be above"),
        ({"standard_error_angstrom2": np.inf * ERROR}, "= inf .*must be above 0 and finite"),
        ({"method": "guess"}, "method = 'guess'"),
        ({"std": {"defocus": 1.0}}, "std = 'defocus'"),
        ({"settings": None, "method": "hybrid"}, "the method hybrid needs settings"),
        ({"settings": replace(SETTINGS, rmsd_angstrom=0.3)}, "rmsd_angstrom"),
    ],
)
def test_bad_input(options, said):
    with pytest.raises(InputError, match=said):
        count_cross_sections(**{"values_angstrom2": VALUES, "settings": SETTINGS} | options)
