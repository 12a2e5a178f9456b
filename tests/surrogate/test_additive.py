"""The additive model is its data set, additive, positive, and free of aberrations."""

import itertools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.crystal import element, repeat_angstrom, zone_axis
from ppiscs_jax.surrogate import additive_fit
from ppiscs_jax.surrogate.additive import along_angle
from ppiscs_jax.surrogate.additive_file import load_additive, save_additive
from ppiscs_jax.surrogate.additive_fit import falling, fit_additive, not_negative
from ppiscs_jax.surrogate.evaluate import HeldOut, evaluate, load_held_out, save_held_out, score
from tests.table_samples import made_up_table

X = np.array([79.0, 1, 300, 0, 0, 22, 60, 200, 0.1])


@pytest.fixture(scope="module")
def table():
    return made_up_table()


@pytest.fixture(scope="module")
def model(table):
    return fit_additive(table)


curve = jax.jit(lambda model, x: model.curve(x))
beyond = jax.jit(lambda model, x, angles: model.beyond(x, angles))


def changed(**numbers):
    """X with entries replaced, by their indices: i0 to i8."""
    x = X.copy()
    for name, value in numbers.items():
        x[int(name[1:])] = value
    return x


@pytest.mark.parametrize("rmsd", [0.075, 0.1, 0.15])
@pytest.mark.parametrize("aperture", [17.5, 26.0, 35.5])
def test_nodes(table, model, rmsd, aperture):
    """At nodes the splines go through the table; curves linear in n are splines in n^0.8 almost.

    Five coefficients for twelve atoms: within 0.5 % of the maximum.
    """
    expected = table.beyond_angles(1, 1, rmsd, aperture, jnp.array([60.0, 200.0]))
    expected = expected[0] - expected[1]
    ours = curve(model, changed(i5=aperture, i8=rmsd))
    np.testing.assert_allclose(ours, expected, atol=5e-3 * float(expected.max()))


def test_between_nodes(table, model):
    """Smooth in all directions: near the table's cubics, whose nodes are the same."""
    random = np.random.default_rng(0)
    for _ in range(10):
        aperture, rmsd = random.uniform(17.5, 35.5), random.uniform(0.075, 0.15)
        inner = random.uniform(aperture, 150)
        outer = inner + random.uniform(20, 100)
        expected = table.beyond_angles(1, 1, rmsd, aperture, jnp.array([inner, outer]))
        expected = expected[0] - expected[1]
        ours = curve(model, changed(i5=aperture, i6=inner, i7=outer, i8=rmsd))
        np.testing.assert_allclose(ours, expected, atol=8e-3 * float(expected.max()))


def test_rings_of_laue_zones_keep_their_place():
    """On the axis of angles, at any voltage; the aperture's edge and both ends do, too.

    Places increase with the angle, so that what falls with the one falls with the other.
    """
    place, angles = jax.jit(along_angle), np.linspace(0, 250, 5001)
    zones, apertures = ("110", "100", "111"), (17.5, 35.5)
    for symbol, zone, aperture in itertools.product(("Al", "Ni", "Pb"), zones, apertures):
        repeat = repeat_angstrom(element(symbol), zone_axis(zone))
        for kv in (60.0, 90.0, 140.0, 300.0):
            ring, at_120_kv = 1e3 * np.sqrt(2 * wavelength_angstrom(np.array([kv, 120.0])) / repeat)
            places = np.asarray(
                place(np.append(angles, [0, aperture, 250, ring]), kv, aperture, repeat)
            )
            assert np.all(np.diff(places[:-4]) > 0)
            np.testing.assert_allclose(places[-4:-1], [0, 26, 250], rtol=1e-5)
            if ring > aperture + 50:  # nearer, places are those of Bragg discs
                np.testing.assert_allclose(places[-1], at_120_kv, rtol=1e-5)


def test_rings_fade_with_rmsd(table, monkeypatch):
    """Like exp(−(u / 0.06 Å)²): an inner knot follows at least twice as well as one cubic."""
    u = np.linspace(0.05, 0.15, 6)
    angles = np.asarray(table.angles_mrad)
    ring = np.exp(-((u[:, None] / 0.06) ** 2)) * (angles < 150)
    beyond = np.exp(-angles / 60) - np.exp(-250 / 60) + 0.05 * ring
    n = np.arange(1.0, 13.0)
    shape = (2, 2, 6, *table.beyond.shape[3:])
    apertures = np.asarray(table.ring_edges_mrad)[1:, None, None] ** 2
    faded = replace(
        table,
        beyond=jnp.asarray(np.broadcast_to(beyond[:, None, :, None] * n * apertures, shape)),
        unscattered=jnp.zeros((*shape[:4], 12)),
        rmsd_angstrom=jnp.asarray(np.stack([u, u])),
    )

    expected = (beyond[:, angles == 120] - beyond[:, angles == 180]) * n

    def largest_error():
        model = fit_additive(faded)
        found = [curve(model, changed(i6=120, i7=180, i8=r)) for r in u]
        return np.abs(np.array(found) - expected).max()

    bent = largest_error()
    monkeypatch.setattr(additive_fit, "BENDS_FROM_MRAD", 1e3)
    assert bent < 0.5 * largest_error()


def test_sharp_rings_are_resolved(table, monkeypatch):
    """Where data have narrow bins: a ring 2 mrad wide, to 5 % of itself at every edge of a bin."""
    coarse = np.asarray(table.angles_mrad)
    angles = np.union1d(coarse, np.arange(80.0, 120.0, 0.5))
    ring = 0.01 * np.clip((99 - angles) / 2, 0, 1)[:, None] * np.arange(1.0, 13.0)
    smooth = np.array(
        [np.interp(angles, coarse, row) for row in np.asarray(table.beyond[1, 0, 0, 0]).T]
    )
    beyond = smooth.T + ring * 17.5**2
    sharp = replace(
        table,
        beyond=jnp.asarray(np.broadcast_to(beyond, (2, 2, 4, 5, *beyond.shape))),
        angles_mrad=jnp.asarray(angles),
    )

    def largest_error():
        model = fit_additive(sharp)
        starts = np.arange(95.0, 102.0, 0.5)
        x = changed(i2=100.0, i5=17.5)
        found = np.asarray(model.beyond(x, starts))[:, -1]
        expected = beyond[np.searchsorted(angles, starts), -1] / 17.5**2
        return np.abs(found - expected).max() / 0.12

    error = largest_error()
    assert error < 0.05
    monkeypatch.setattr(additive_fit, "SHARP_MRAD", (0.0, 0.0))
    assert largest_error() > 3 * error


def test_additive_positive_and_blind_to_aberrations(model):
    """Detectors are sums of their parts (float32), positive; C30 and C10 change nothing at all."""
    random = np.random.default_rng(1)
    for _ in range(20):
        low, middle, high = np.sort(random.uniform(0, 250, 3))
        voltage, aperture = random.uniform(100, 300), random.uniform(17.5, 35.5)
        one, two, both = (
            np.asarray(curve(model, changed(i2=voltage, i5=aperture, i6=a, i7=b)))
            for a, b in ((low, middle), (middle, high), (low, high))
        )
        np.testing.assert_allclose(one + two, both, rtol=1e-6, atol=1e-6 * both.max())
        assert min(one.min(), two.min()) > 0
    np.testing.assert_array_equal(curve(model, changed(i3=1e-3, i4=-100)), curve(model, X))


def test_all_detectors_and_sensitivities(model):
    """`beyond` gives detectors as differences; a step of sensitivity is a detector."""
    angles = jnp.array([30.0, 60.0, 110.0, 200.0])
    all_beyond = beyond(model, X, angles)
    np.testing.assert_allclose(all_beyond[1] - all_beyond[3], curve(model, X), rtol=1e-5)
    step = model.sensitivity_curve(X, angles, jnp.array([0.0, 1.0, 1.0]))
    np.testing.assert_allclose(step, curve(model, X), rtol=1e-5)


def test_gradients(model):
    """Against central differences in every continuous input; zero for C30 and C10.

    Steps of 0.2 % in float32: rounding of 1e-7 over 4e-3 is far below the tolerance. At 300 kV
    the axis ends: a little below it, then. The made-up data do not depend on the aperture: the
    model is made to.
    """
    growing = 1 + 0.05 * jnp.arange(model.aperture.size)
    model = replace(model, scattered=model.scattered * growing[:, None, None, None])
    x = jnp.asarray(changed(i2=290), jnp.float32)

    @jax.jit
    def total(x):
        return model.curve(x).sum()

    slope = np.asarray(jax.grad(total)(x))
    for i in (2, 5, 6, 7, 8):
        low, high = x.at[i].multiply(0.998), x.at[i].multiply(1.002)
        difference = float((total(high) - total(low)) / (high[i] - low[i]))
        assert abs(difference) > 1e-4
        assert slope[i] == pytest.approx(difference, rel=5e-3), i
    assert slope[3] == 0
    assert slope[4] == 0


@pytest.mark.parametrize(
    "x",
    [
        changed(i0=26),
        changed(i1=0),
        changed(i2=99),
        changed(i2=301),
        changed(i5=17.0),
        changed(i7=251.0),
        changed(i8=0.16),
    ],
)
def test_outside_it_is_nan(model, x):
    assert np.all(np.isnan(curve(model, x)))


def test_errors_grow_between_voltages(model):
    """At a node there is noise alone; midway between two, interpolation errs as well."""
    relative = [
        float((model.standard_error(x) / model.curve(x))[-1])
        for x in (X, changed(i2=100), changed(i2=170))
    ]
    assert relative[0] == pytest.approx(relative[1])
    assert relative[2] > 2 * relative[0]


def test_thin_groups_are_nan_beyond_their_thickness(table):
    """A group of eight atoms among one of twelve."""
    model = fit_additive(replace(table, thickest=jnp.array([12, 8])))
    ours = np.asarray(curve(model, X))
    assert np.all(np.isfinite(ours[:8]))
    assert np.all(np.isnan(ours[8:]))


def test_groups_of_few_atoms_keep_every_value(table):
    """Curves that change from atom to atom are not smoothed where coefficients suffice."""
    steps = 1 + 0.2 * (-1.0) ** jnp.arange(12)
    beyond = table.beyond.at[1].multiply(steps)
    model = fit_additive(replace(table, beyond=beyond, thickest=jnp.array([12, 5])))
    smooth = fit_additive(replace(table, thickest=jnp.array([12, 5])))
    ratio = np.asarray(curve(model, X) / curve(smooth, X))
    np.testing.assert_allclose(ratio[:5], steps[:5], rtol=1e-3)
    assert np.all(np.isnan(ratio[5:]))


def test_files(model, tmp_path):
    """Written and read: within 0.1 % of detectors 140 mrad wide, still falling with the angle."""
    path = tmp_path / "model.npz"
    save_additive(path, model, "made up")
    read = load_additive(path)
    np.testing.assert_allclose(curve(read, X), curve(model, X), rtol=1e-3)
    assert np.all(np.diff(np.asarray(read.scattered), axis=-2) <= 0)
    with pytest.raises(FileNotFoundError):
        load_additive(tmp_path / "none.npz")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="not a file of an additive model"):
        load_additive(path)
    np.savez(tmp_path / "other.npz", format="another")
    with pytest.raises(InputError, match="its format is another"):
        load_additive(tmp_path / "other.npz")


def test_falling():
    """Rising stretches become their mean, so that sums stay; negative tails become 0."""
    rows = np.array([5.0, 3, 4, 2, -1])[:, None]
    np.testing.assert_allclose(falling(rows)[:, 0], [5, 3.5, 3.5, 2, 0])


def test_scores(tmp_path):
    """By hand: an error of 3 with standard error 0 scores 0.8 · 3 / 10; noise alone scores 0."""
    truth = np.array([5.0, 10.0, np.nan])
    assert score(truth + 3, truth, np.zeros(3)) == pytest.approx(0.24)
    assert score(truth + 1, truth, np.ones(3)) == 0
    x = np.array([[X, changed(i6=190)]])
    ppiscs = np.array([[truth, truth]])
    held_out = HeldOut(x, ppiscs, np.full(ppiscs.shape, 0.5), "by hand")
    assert held_out.wide().tolist() == [[True, False]]
    save_held_out(tmp_path / "held_out.npz", held_out)
    read = load_held_out(tmp_path / "held_out.npz")
    assert read.about == "by hand"
    scores = evaluate(lambda x: np.broadcast_to(truth + 1, (*x.shape[:-1], 3)), read)
    np.testing.assert_allclose(scores, 0.8 * np.sqrt(0.75) / 10, rtol=1e-6)
    (tmp_path / "bad.npz").write_text("text")
    with pytest.raises(InputError, match="not a file of held-out set"):
        load_held_out(tmp_path / "bad.npz")


def test_coefficients_not_below_zero():
    """Plain least squares where that has none; else the best of those that have none.

    Through 1, 0 and 0 a straight line between its two end values, both not below 0: the second
    would be −1/6 and is held at 0, which leaves Σ (1 − x)·y / Σ (1 − x)² = 1 / 1.25 for the first.
    """
    line = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    values = np.array([[1.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    found = not_negative(line, values, 1)
    np.testing.assert_allclose(found, [[0.8, 0.0], [1.0, 3.0]], atol=1e-12)
    np.testing.assert_allclose(not_negative(line, values.T, 0), found.T)


def test_scores_are_of_thicknesses_that_were_predicted():
    """Two of three: errors 0.1 and 0.1 beside a maximum of 2, whichever of the two is shorter."""
    predicted, truth = np.array([[1.1, 2.1]]), np.array([[1.0, 2.0, 9.0]])
    expected = pytest.approx([0.8 * 0.1 / 2])
    assert score(predicted, truth, np.zeros((1, 3))) == expected
    padded = np.append(predicted, [[np.nan]], axis=1)
    assert score(padded, truth, np.zeros((1, 3))) == expected
    assert score(np.append(predicted, [[5.0]], axis=1), truth[:, :2], np.zeros((1, 2))) == expected
    assert np.isnan(score(np.full((1, 3), np.nan), truth, np.zeros((1, 3))))
