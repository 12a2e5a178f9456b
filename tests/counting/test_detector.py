"""Sensitivity of a detector from its image, and counts with it."""

import json

import jax
import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, count, load_surrogate, predict, radial_sensitivity
from ppiscs_jax.cli.main import main
from ppiscs_jax.counting.detector import detector_levels
from ppiscs_jax.surrogate.sensitivity import SensitiveSurrogate
from tests.counting.samples import PIXEL, image_of, lattice

SETTINGS = Settings("Pt", "110", 300.0, 21.0, 46.0, 190.0, rmsd_angstrom=0.08)
INNER, OUTER = SETTINGS.inner_mrad, SETTINGS.outer_mrad


def falling(angle_mrad):
    """A sensitivity that halves from the inner to the outer angle, mean over the area 1."""
    fall = 1 - 0.5 * (angle_mrad - INNER) / (OUTER - INNER)
    theta = np.linspace(INNER, OUTER, 20_001)
    return fall / np.average(1 - 0.5 * (theta - INNER) / (OUTER - INNER), weights=theta)


def scan_of(pixels=300, mrad_a_pixel=1.4, centre=(140.0, 155.0), noise=0.0):
    radius = mrad_a_pixel * np.hypot(*(np.indices((pixels, pixels)).T - centre).T)
    on = (radius > INNER) & (radius < OUTER)
    random = np.random.default_rng(0)
    return 10.0 + 500.0 * np.where(on, falling(radius), 0) + noise * random.normal(size=on.shape)


def test_sensitivity_of_a_scan():
    """Bins average S over their area; the edge of the hole is known to a fraction of a pixel."""
    edges, sensitivity = radial_sensitivity(scan_of(noise=5.0), INNER, OUTER)
    assert edges[0] == INNER
    assert edges[-1] == OUTER
    middles = 0.5 * (edges[1:] + edges[:-1])
    # The outermost bins hold pixels across an edge.
    assert np.allclose(sensitivity[1:-1], falling(middles)[1:-1], rtol=0.01)
    assert np.average(sensitivity, weights=middles) == pytest.approx(1.0, abs=0.02)
    assert detector_levels(scan_of()) == pytest.approx((10.0, 510.0), rel=0.01)


def test_a_step_is_the_sum_of_two_detectors():
    x = SETTINGS.to_vector()
    model = load_surrogate()
    both = SensitiveSurrogate.of(model, SETTINGS, [INNER, 100.0, OUTER], [1.0, 0.5])
    low, high = (Settings("Pt", "110", 300.0, 21.0, *d, 0.08) for d in ((INNER, 100), (100, OUTER)))
    expected = predict(low).ppiscs + 0.5 * predict(high).ppiscs
    curve = predict(SETTINGS, surrogate=both)
    assert np.allclose(curve.ppiscs, expected, rtol=1e-4)
    assert np.allclose(curve.sensitivity, [[73.0, 145.0], [1.0, 0.5]])
    relative = curve.standard_error / curve.ppiscs
    whole = predict(SETTINGS)
    assert np.allclose(relative, whole.standard_error / whole.ppiscs, rtol=1e-4)
    assert np.all(np.isfinite(jax.jit(jax.jacfwd(both.curve))(x.astype("float32"))[:80]))


@pytest.mark.parametrize(
    ("edges", "values", "message"),
    [
        ([46.0, 100.0], [1.0], "edges_mrad: must rise from inner_mrad = 46 mrad"),
        ([46.0, 190.0, 100.0], [1.0, 1.0], "edges_mrad: must rise"),
        ([46.0, 100.0, 190.0], [1.0], "sensitivity"),
        ([46.0, 100.0, 190.0], [1.0, np.nan], "sensitivity"),
        ([46.0, 100.0, 190.0], [0.0, 0.0], "sensitivity: must be from 0 to 10"),
    ],
)
def test_bad_sensitivities(edges, values, message):
    with pytest.raises(InputError, match=message):
        SensitiveSurrogate.of(load_surrogate(), SETTINGS, edges, values)


@pytest.mark.parametrize(
    ("scan", "angles", "message"),
    [
        (np.where(np.arange(64) < 32, 1.0, 9.0) * np.ones((64, 1)), (46, 190), "shows no hole"),
        (scan_of(), (46, 290), "bright ring ends at 190 mrad|bright ring ends at 18"),
        (scan_of(pixels=160, centre=(80, 80)), (46, 190), "reaches 15"),
        (np.zeros((64, 64)), (46, 190), "0.00% of its pixels"),
    ],
)
def test_bad_scans(scan, angles, message):
    with pytest.raises(InputError, match=message):
        radial_sensitivity(scan, *angles)


POSITIONS = lattice()
ATOMS = np.random.default_rng(1).integers(4, 20, len(POSITIONS))


def image_by(surrogate):
    """Columns whose cross-sections are a surrogate's."""
    return image_of(POSITIONS, predict(SETTINGS, surrogate=surrogate).ppiscs[ATOMS - 1])


@pytest.mark.parametrize("method", ["library", "joint"])
def test_counts_with_a_sensitivity(method):
    """A detector twice as sensitive inside as outside gives several per cent more signal."""
    edges, values = radial_sensitivity(scan_of(), INNER, OUTER)
    image = image_by(SensitiveSurrogate.of(load_surrogate(), SETTINGS, edges, values))
    given = {"positions_angstrom": POSITIONS, "dose_per_angstrom2": 1e6}
    counted = count(image, SETTINGS, method=method, sensitivity=(edges, values), **given)
    assert np.array_equal(counted.n_atoms, ATOMS)
    if method == "library":
        without = count(image, SETTINGS, method=method, **given)
        assert np.mean(without.n_atoms != ATOMS) > 0.2


def command(tmp_path, capsys, pixels, scan):
    """What `ppiscs count` prints for an image and a detector scan; results are in out."""
    np.save(tmp_path / "image.npy", pixels)
    np.save(tmp_path / "scan.npy", scan)
    arguments = f"""count {tmp_path / "image.npy"} --pixel {PIXEL} --element Pt --zone 110
        --voltage 300 --convergence 21 --detector 46 190 --rmsd 0.08 --method library
        --detector-scan {tmp_path / "scan.npy"} --out {tmp_path / "out"}""".split()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    return capsys.readouterr()


@pytest.mark.slow
def test_levels_from_a_detector_scan(tmp_path, capsys):
    """Half of the scan is on the detector: its levels normalise the image exactly.

    There is no hole, so that nothing is known of angles.
    """
    scan = np.full((64, 64), 10.0)
    scan[:, 32:] = 10.0 + 500.0
    image = image_by(load_surrogate())
    captured = command(tmp_path, capsys, 10.0 + 500.0 * image.pixels, scan)
    assert "vacuum 10, detector 510" in captured.err
    assert "shows no hole" in captured.err
    assert "the detector is taken to be uniform" in captured.err
    assert f"{ATOMS.sum()} atoms" in captured.out


def test_the_command_reads_the_sensitivity(tmp_path, capsys):
    edges, values = radial_sensitivity(scan_of(), INNER, OUTER)
    image = image_by(SensitiveSurrogate.of(load_surrogate(), SETTINGS, edges, values))
    vacuum, detector = detector_levels(scan_of())
    pixels = vacuum + (detector - vacuum) * image.pixels
    captured = command(tmp_path, capsys, pixels, scan_of())
    assert "radial sensitivity 0." in captured.err
    assert f"{ATOMS.sum()} atoms" in captured.out
    content = json.loads((tmp_path / "out" / "counts.json").read_text(encoding="utf-8"))
    kept = content["options"]["sensitivity"]
    assert np.allclose(kept["values"], values, atol=1e-4)  # images are in single precision
    assert len(kept["angles_mrad"]) == len(values)
