"""The table of a data set is its kernels at the nodes, and smooth in between."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.io.kernels import save_kernels
from ppiscs_jax.simulation.kernel import ScatteringKernel
from ppiscs_jax.surrogate import table as surrogate_table
from ppiscs_jax.surrogate.sample import DETECTORS, sample, split_cells
from ppiscs_jax.surrogate.table import load_table, neighbours

RINGS = np.array([0.0, 17.5, 20.5, 24.5, 28.5, 32.5, 35.5])
ANGLES = np.concatenate([np.arange(0.0, 50.0), np.arange(50.0, 251.0, 2.0)])
RMSD = (0.08, 0.1, 0.12, 0.14)


def beyond(tilt2, angles, voltage, rmsd, n):
    """Fraction beyond angles at one squared tilt: what is unscattered, and a smooth rest."""
    direct = np.exp(-0.05 * n) * (angles**2 < tilt2)
    smooth = (1 - np.exp(-0.05 * n)) * np.exp(-angles / (60 + 0.1 * voltage + 100 * rmsd))
    return direct + smooth * (1 + 2e-4 * tilt2)


def made_up(element, zone, voltage, rmsd, n_atoms, angles=ANGLES):
    """A kernel of `beyond`, its batches a little apart."""
    means = np.zeros((4, len(RINGS) - 1, n_atoms, len(angles)))
    for r in range(len(RINGS) - 1):
        low, high = RINGS[r : r + 2] ** 2
        # Inside a ring the table takes tilts to fill it evenly: here to a thousandth.
        tilts = low + (np.arange(1000) + 0.5) / 1000 * (high - low)
        for n in range(n_atoms):
            curve = beyond(tilts[:, None], angles, voltage, rmsd, n + 1).mean(axis=0)
            means[:, r, n] = curve - curve[-1]
    means *= 1 + 1e-5 * np.arange(-1.5, 2)[:, None, None, None]
    return ScatteringKernel(
        element=element,
        zone_axis=zone,
        voltage_kv=voltage,
        rmsd_angstrom=rmsd,
        mistilt_mrad=(0.0, 0.0),
        ring_edges_mrad=RINGS,
        angle_edges_mrad=angles,
        batch_means=means[..., :-1] - means[..., 1:],
        lost=np.zeros(means.shape[1:3]),
        seed=1,
        waves=64,
    )


@pytest.fixture(scope="module")
def kernels():
    return {
        f"{element}{zone}{voltage}{rmsd}": made_up(element, zone, voltage, rmsd, n)
        for element, zone, n in (("Au", "110", 9), ("Al", "100", 6))
        for voltage in (100.0, 300.0)
        for rmsd in RMSD
    }


@pytest.fixture(scope="module")
def table(kernels, tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "kernels.h5"
    save_kernels(path, kernels)
    return load_table([path])


def group_of(table, element_number):
    return int(np.flatnonzero(np.asarray(table.atomic_numbers) == element_number)[0])


@pytest.mark.parametrize("aperture", [17.5, 24.5, 35.5])
@pytest.mark.parametrize("detector", [(0, 15), (10, 40), (25, 60), (60, 200), (0, 250)])
def test_nodes_are_the_kernels(kernels, table, aperture, detector):
    """At nodes only rounding remains: float32, and what the file format rounds (1e-5)."""
    values = table.beyond_angles(group_of(table, 79), 1, 0.1, aperture, jnp.array(detector, float))
    curve = kernels["Au110300.00.1"].curve(aperture, *detector)
    np.testing.assert_allclose(values[0] - values[1], curve.ppiscs, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("aperture", [18.0, 22.7, 31.0, 34.9])
@pytest.mark.parametrize("above", [0.5, 3.0, 30.0])
def test_between_nodes(table, aperture, above):
    """Against the made-up scattering itself, right above the aperture as well.

    The unscattered beam is a hundred times stronger than what is detected here at n = 1. Taken
    out by linear continuation of what surrounds it, it leaves 1e-4 of itself at a kink of the
    aperture's integral: 2 % half a mrad above the aperture, 4e-3 further out. Interpolated, it
    would leave tens of percent.
    """
    angles = np.array([aperture + above, aperture + above + 20.3])
    rmsd, n = 0.107, np.arange(1, 7)
    values = table.beyond_angles(group_of(table, 13), 0, rmsd, aperture, jnp.array(angles))
    tilts = (np.arange(4000) + 0.5) / 4000 * aperture**2
    area = 4.0495**2 / 4
    truth = area * np.array(
        [beyond(tilts[:, None], angles, 100.0, rmsd, m).mean(axis=0) for m in n]
    )
    np.testing.assert_allclose(
        (values[0] - values[1])[:6], truth[:, 0] - truth[:, 1], rtol=0.02 if above < 1 else 4e-3
    )


@pytest.mark.slow
def test_gradients(table):
    """Against central differences in rmsd, aperture and angle, float32."""

    def value(p):
        beyond = table.beyond_angles(0, 0, p[0], p[1], jnp.array([p[2], 180.0]))
        return beyond[0, 4] - beyond[1, 4]

    point, steps = jnp.array([0.11, 22.0, 61.0]), (2e-3, 0.1, 0.3)
    slopes = jax.grad(value)(point)
    for i, step in enumerate(steps):
        change = jnp.zeros(3).at[i].set(step)
        numeric = (value(point + change) - value(point - change)) / (2 * step)
        assert slopes[i] == pytest.approx(float(numeric), rel=2e-2)


def test_neighbours():
    """Exact for cubics, and at both ends; all nodes where they are few."""
    nodes = jnp.array([0.0, 1.0, 2.5, 4.0, 7.0])
    for x in (0.0, 0.4, 3.3, 6.9, 7.0):
        at, weights = neighbours(nodes, x)
        assert len(at) == 4
        assert float(weights @ (nodes[at] ** 3 - nodes[at])) == pytest.approx(x**3 - x, abs=1e-4)
    assert neighbours(nodes[:2], 0.5)[1].tolist() == pytest.approx([0.5, 0.5])


def test_examples(table):
    """Ranges of Table 1; 210 contiguous detectors; additive; zero where nothing exists."""
    cells, _ = split_cells(table, 0.0, seed=0)
    x, y, exists = sample(table, cells, jax.random.key(3), 32)
    assert x.shape == (32, 210, 9)
    assert y.shape == (32, 210, 9)
    inner, outer = np.asarray(x[..., 6]), np.asarray(x[..., 7])
    assert np.all(outer - inner >= 10 - 1e-3)
    assert np.all(inner >= np.maximum(18.0, x[..., 5]) - 1e-3)
    assert outer.max() <= 250 + 1e-3
    assert np.all((x[..., 8] >= RMSD[0]) & (x[..., 8] <= RMSD[-1]))
    # The last of the detectors that start at the first edge is the sum of the consecutive ones.
    starts = np.cumsum([0, *range(DETECTORS, 1, -1)])
    np.testing.assert_allclose(y[:, DETECTORS - 1], y[:, starts].sum(axis=1), rtol=1e-4)
    aluminium = np.asarray(x[:, 0, 0] == 13)
    assert aluminium.any()
    assert not y[aluminium][..., 6:].any()
    assert not exists[aluminium][..., 6:].any()
    assert np.all(y[~aluminium] > 0)
    assert exists[~aluminium].all()


def test_keys_decide(table):
    cells, _ = split_cells(table, 0.0, seed=0)
    first, again, other = (sample(table, cells, jax.random.key(k), 4) for k in (0, 0, 1))
    np.testing.assert_array_equal(first.y, again.y)
    assert not np.array_equal(first.x, other.x)


@pytest.mark.slow
def test_split_by_simulation(table):
    """No cell on both sides, none lost; examples come from their own side only."""
    train, test = split_cells(table, 0.25, seed=1)
    assert {tuple(c) for c in train} | {tuple(c) for c in test} == {
        (g, v) for g in range(2) for v in range(2)
    }
    assert len(train) == 3
    x = sample(table, test, jax.random.key(0), 16).x
    group, voltage = test[0]
    assert np.all(x[..., 0] == table.atomic_numbers[group])
    assert np.all(x[..., 2] == table.voltages_kv[voltage])


def test_holes_are_named(kernels, tmp_path):
    missing = {n: k for n, k in kernels.items() if n != "Al100300.00.12"}
    save_kernels(tmp_path / "holes.h5", missing)
    with pytest.raises(InputError, match=r"Al \[100\]: not simulated at 300 kV, 0.12 Å"):
        load_table([tmp_path / "holes.h5"])


def test_wider_bins_are_interpolated(kernels, table, tmp_path):
    """Where others are narrower; at shared edges nothing changes. All begin and end alike."""
    narrow = np.union1d(ANGLES, np.arange(80.0, 130.0, 0.5))
    again = {r: made_up("Al", "100", 100.0, r, 6, narrow) for r in RMSD}
    save_kernels(tmp_path / "mixed.h5", kernels | {f"Al100100.0{r}": again[r] for r in RMSD})
    mixed = load_table([tmp_path / "mixed.h5"])
    np.testing.assert_array_equal(mixed.angles_mrad, narrow.astype(np.float32))
    shared = np.isin(narrow, ANGLES)
    largest = float(table.beyond.max())
    np.testing.assert_allclose(mixed.beyond[..., shared, :], table.beyond, atol=2e-5 * largest)
    gold, aluminium = group_of(mixed, 79), group_of(mixed, 13)
    for group, voltage, symbol, zone in ((gold, 0, "Au", "110"), (aluminium, 0, "Al", "100")):
        own = made_up(symbol, zone, 100.0, 0.1, 6, narrow).curve(24.5, 90.5, 120.5)
        values = mixed.beyond_angles(group, voltage, 0.1, 24.5, jnp.array([90.5, 120.5]))
        np.testing.assert_allclose((values[0] - values[1])[:6], own.ppiscs, rtol=1e-3)

    for edges in (ANGLES[5:], ANGLES[:-5]):
        other = made_up("Al", "100", 100.0, 0.1, 6, edges)
        save_kernels(tmp_path / "other.h5", kernels | {"Al100100.00.1": other})
        with pytest.raises(InputError, match="begin or end at different collection angles"):
            load_table([tmp_path / "other.h5"])


def test_settings_of_two_kernels_are_refused(kernels, tmp_path):
    """Which of the two counts would depend on the order of the files."""
    save_kernels(tmp_path / "all.h5", kernels)
    kernel = next(iter(kernels.values()))
    save_kernels(tmp_path / "again.h5", {"another_name": kernel})
    with pytest.raises(InputError, match="another_name: of settings that another kernel has too"):
        load_table([tmp_path / "all.h5", tmp_path / "again.h5"])


def test_too_large_tables_are_refused(kernels, tmp_path, monkeypatch):
    """Before memory is taken: kernels with many bins make all others as large."""
    save_kernels(tmp_path / "kernels.h5", kernels)
    monkeypatch.setattr(surrogate_table, "MOST_NUMBERS", 1000)
    with pytest.raises(InputError, match="numbers in one table; at most 1000 are taken"):
        load_table([tmp_path / "kernels.h5"])


def test_kernels_of_mistilted_crystals_are_refused(kernels, tmp_path):
    """A table has no axis of mistilt."""
    name, kernel = next(iter(kernels.items()))
    tilted = dataclasses.replace(kernel, mistilt_mrad=(1.0, 0.0))
    save_kernels(tmp_path / "tilted.h5", {name: tilted})
    with pytest.raises(InputError, match="mistilted crystal"):
        load_table([tmp_path / "tilted.h5"])
