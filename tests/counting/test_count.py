"""From an image to files, by every method, from Python and from the command line."""

import csv
import json
import re

import numpy as np
import pytest
import tifffile
from scipy.spatial import cKDTree

import ppiscs_jax
from ppiscs_jax.cli.main import main
from ppiscs_jax.counting.count import count
from ppiscs_jax.counting.images import AdfImage
from ppiscs_jax.errors import InputError
from ppiscs_jax.settings import Settings
from ppiscs_jax.surrogate.predict import predict
from tests.counting.samples import PIXEL, image_of, lattice

SETTINGS = Settings("Pt", "110", 300.0, 21.0, 46.0, 190.0, 0.08)
POSITIONS = lattice()
ATOMS = np.clip(6 - (np.hypot(*(POSITIONS - POSITIONS.mean(0)).T) / 1.6).astype(int), 1, 6)
VALUES = predict(SETTINGS)[ATOMS - 1].astype(float)
DOSE = 1e6
"""Spacings are 15 % or more, and errors at this dose below 1 %: nothing is wrong."""

IMAGE = image_of(POSITIONS, VALUES, dose=DOSE)


@pytest.mark.parametrize("method", ["library", "hybrid"])
def test_known_atoms(method):
    counted = count(IMAGE, SETTINGS, method=method, dose_per_angstrom2=DOSE)
    places = counted.cross_sections.positions_angstrom
    _, nearest = cKDTree(places).query(POSITIONS)
    assert len(places) == len(POSITIONS)
    np.testing.assert_array_equal(counted.counts.counts[nearest], ATOMS)


def test_arbitrary_units_are_counted_by_statistics():
    arbitrary = AdfImage(1e5 * IMAGE.pixels + 300, PIXEL)
    counted = count(arbitrary, SETTINGS)
    assert counted.counts.method == "statistics"
    assert "ppiscs_arbitrary" in counted.columns()
    with pytest.raises(InputError, match="fractions of the incident beam"):
        count(arbitrary, SETTINGS, method="library")


def test_public_names():
    assert ppiscs_jax.count is count
    assert ppiscs_jax.AdfImage is AdfImage
    with pytest.raises(AttributeError, match="nothing"):
        ppiscs_jax.nothing  # noqa: B018


def test_wrong_calibration_is_told():
    """Ten times too small: whether columns are found or not, the message is on the spacing."""
    with pytest.raises(InputError, match="check pixel_angstrom"):
        count(AdfImage(IMAGE.pixels, PIXEL / 10, normalised=True), SETTINGS, method="library")
    with pytest.raises(InputError, match=r"zone_axis = 100|check pixel_angstrom"):
        count(IMAGE, Settings("Pt", "100", 300.0, 21.0, 46.0, 190.0, 0.08), method="library")


def test_saturated_detector():
    cut = AdfImage(np.minimum(IMAGE.pixels, 0.5 * IMAGE.pixels.max()), PIXEL, normalised=True)
    with pytest.raises(InputError, match="saturated"):
        count(cut, SETTINGS, method="library")


def test_command_line(tmp_path, capsys):
    image, out = tmp_path / "a.tif", tmp_path / "counts"
    tifffile.imwrite(
        image, IMAGE.pixels, imagej=True, resolution=(1 / PIXEL, 1 / PIXEL),
        metadata={"unit": "Angstrom"},
    )  # fmt: skip
    arguments = f"""count {image} --normalised --element Pt --zone 110 --voltage 300
        --convergence 21 --detector 46 190 --rmsd 0.08 --method library --dose {DOSE}
        --out {out}""".split()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    assert f"{ATOMS.sum()} atoms in {len(ATOMS)} columns" in capsys.readouterr().out
    with open(out / "counts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "x_angstrom", "y_angstrom", "ppiscs_angstrom2", "standard_error_angstrom2", "count",
        "probability", "count_low", "count_high", "edge",
    ]  # fmt: skip
    assert sum(int(row["count"]) for row in rows) == ATOMS.sum()
    content = json.loads((out / "counts.json").read_text())
    assert content["total_atoms"] == ATOMS.sum()
    assert content["settings"]["inner_mrad"] == 46.0
    page = (out / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3
    # One file: nothing is loaded from elsewhere.
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--element Pt", "zone_axis: missing"),
        ("--vacuum-level 0", "give both or none"),
        ("--normalised --vacuum-level 0 --detector-level 1", "one of them at most"),
        ("--method guess", "method = 'guess'"),
        ("--method joint", "settings: the method joint needs settings"),
        ("--pixel 1000", "pixel_angstrom = 1000"),
    ],
)
def test_bad_arguments(tmp_path, capsys, arguments, message):
    image = tmp_path / "a.npy"
    np.save(image, IMAGE.pixels)
    pixel = [] if "--pixel" in arguments else ["--pixel", str(PIXEL)]
    with pytest.raises(SystemExit) as end:
        main(["count", str(image), "--out", str(tmp_path / "o"), *pixel, *arguments.split()])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
