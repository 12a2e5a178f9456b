"""Columns are found where they are, and calibrations that cannot be right are refused."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ppiscs_jax.counting.columns import (
    at_edge,
    check_crystal,
    check_positions,
    crystal_spacings,
    estimate_spacing,
    find_columns,
    read_positions,
)
from ppiscs_jax.crystal import ZONE_AXES
from ppiscs_jax.errors import InputError
from ppiscs_jax.settings import Settings
from tests.counting.samples import PIXEL, image_of, lattice

SETTINGS = Settings("Pt", "110", 300.0, 21.0, 46.0, 190.0, 0.08)


@pytest.mark.parametrize("zone", ZONE_AXES)
def test_all_columns_are_found(zone):
    """With Poisson noise, from one to five atoms: each once, within a pixel's diagonal."""
    positions = lattice(zone)
    values = 0.03 * np.random.default_rng(1).integers(1, 6, len(positions))
    width = 0.25 * crystal_spacings("Pt", zone)[0]
    image = image_of(positions, values, dose=2e4, width=width)
    spacing = estimate_spacing(image)
    assert spacing == pytest.approx(crystal_spacings("Pt", zone)[0], abs=2 * PIXEL)
    found = find_columns(image)
    distance, nearest = cKDTree(found).query(positions)
    assert len(found) == len(positions) == len(set(nearest))
    assert distance.max() < 1.5 * PIXEL


def test_edges():
    """Exactly those columns that have fewer neighbours than in the crystal, here six."""
    positions = lattice()
    a = 3.9242
    neighbours = cKDTree(positions).query_ball_point(positions, 0.75 * a, return_length=True) - 1
    np.testing.assert_array_equal(at_edge(positions), neighbours < 6)


def test_wrong_calibration_and_zone_axis():
    positions = lattice()
    check_crystal(positions, SETTINGS)
    with pytest.raises(InputError, match=r"0.1 times the 2.4 Å of Pt \[110\]"):
        check_crystal(positions / 10, SETTINGS)
    # Where the spacing happens to fit, the pattern does not.
    square = lattice("100") * crystal_spacings("Pt", "110")[0] / crystal_spacings("Pt", "100")[0]
    with pytest.raises(InputError, match=r"zone_axis = 110 does not match the columns"):
        check_crystal(square, SETTINGS)


def test_positions_must_fit_the_image():
    positions = lattice()
    image = image_of(positions, np.full(len(positions), 0.03))
    check_positions(image, positions)
    with pytest.raises(InputError, match="4 columns; must be 5"):
        check_positions(image, positions[:4])
    with pytest.raises(InputError, match="outside of the image"):
        check_positions(image, positions + 10)
    with pytest.raises(InputError, match="two columns"):
        check_positions(image, np.concatenate([positions, positions[:1]]))


def test_positions_from_csv(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("n,y_angstrom,x_angstrom\n1,2,3\n2,4,5\n")
    np.testing.assert_array_equal(read_positions(path), [[3, 2], [5, 4]])
    path.write_text("1,2\n3,4\n")
    np.testing.assert_array_equal(read_positions(path), [[1, 2], [3, 4]])
    for text, message in (("a,b\n1,2\n", "x_angstrom"), ("1,2\n3,x\n", "row 2"), ("", "no posit")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_positions(path)
