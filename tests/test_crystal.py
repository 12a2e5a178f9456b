import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES, element, rmsd_from_temperature, zone_axis


@pytest.mark.parametrize(
    ("given", "name"),
    [("100", "100"), ("001", "100"), ("010", "100"), ("[110]", "110"), ("<011>", "110"),
     (" 111 ", "111"), (110, "110")],
)  # fmt: skip
def test_equivalent_zone_axes(given, name):
    assert zone_axis(given).name == name


@pytest.mark.parametrize("zone", ZONE_AXES.values(), ids=ZONE_AXES)
def test_one_atom_per_column_and_repeat_makes_the_fcc_density(zone):
    """Four atoms in a³: one atom per column area times repeat gives a³ / 4."""
    assert zone.column_area * zone.repeat == pytest.approx(0.25, rel=1e-14)


@pytest.mark.parametrize("zone", ZONE_AXES.values(), ids=ZONE_AXES)
def test_sites_are_an_fcc_lattice(zone):
    """All twelve nearest neighbours of every atom stand at a / √2."""
    height = zone.slice_thickness
    sites = [
        ((x + i) * zone.cell[0], (y + j) * zone.cell[1], (layer + k * len(zone.layers)) * height)
        for layer, plane in enumerate(zone.layers)
        for x, y in plane
        for i in (-2, -1, 0, 1, 2)
        for j in (-2, -1, 0, 1, 2)
        for k in (-2, -1, 0, 1, 2)
    ]
    sites = np.array(sites)
    for x, y in zone.layers[0]:
        origin = np.array([x * zone.cell[0], y * zone.cell[1], 0.0])
        distance = np.sort(np.linalg.norm(sites - origin, axis=1))
        np.testing.assert_allclose(distance[1:13], np.sqrt(0.5), rtol=1e-12)
        assert distance[13] > 0.99


def test_thickest():
    assert ZONE_AXES["110"].thickest(ELEMENTS["Au"]) == 87
    assert ZONE_AXES["100"].thickest(ELEMENTS["Au"]) == 61
    # 250 Å / (√3 · 4.0782 Å) = 35.4
    assert ZONE_AXES["111"].thickest(ELEMENTS["Au"]) == 35


def test_gold_at_room_temperature():
    """Gao & Peng's B(293 K) of gold, 0.62 Å², which is an rmsd of √(0.62 / 8π²) = 0.089 Å."""
    rmsd = rmsd_from_temperature("Au", 293.0)
    assert 8 * np.pi**2 * rmsd**2 == pytest.approx(0.62, abs=0.01)


@pytest.mark.parametrize("symbol", ELEMENTS)
def test_vibrations_grow_with_temperature_and_join_at_80_k(symbol):
    """The two fits of B(T) meet at 80 K to 2 % in B, so 1 % in rmsd."""
    limit = min(1000.0, ELEMENTS[symbol].melting_k)
    temperatures = np.linspace(90.0, limit, 50)
    rmsd = [rmsd_from_temperature(symbol, t) for t in temperatures]
    assert np.all(np.diff(rmsd) > 0)
    low, high = rmsd_from_temperature(symbol, 80.0), rmsd_from_temperature(symbol, 80.001)
    assert low == pytest.approx(high, rel=0.01)


@pytest.mark.parametrize("temperature", [0.0, -5.0, float("nan"), 934.0])
def test_temperature_out_of_range(temperature):
    with pytest.raises(InputError, match=r"temperature_k = .* K: must be 1 to 933.5 K for Al"):
        rmsd_from_temperature("Al", temperature)


def test_unknown_names():
    with pytest.raises(InputError, match="element = 'Fe': must be one of Al, "):
        element("Fe")
    with pytest.raises(InputError, match="zone_axis = '112': must be one of 110, 100, 111"):
        zone_axis("112")
