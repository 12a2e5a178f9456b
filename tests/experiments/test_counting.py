"""The experiments on counting run on their reduced configs; committed results are of their own."""

import csv
import json

import numpy as np
import pytest
import scipy
import tifffile

from experiments.common import ROOT, load_config
from experiments.counting import run as counting
from experiments.noisy_images import run as noisy_images
from experiments.particles import run as particles

EXPERIMENTS = {"counting": counting, "noisy_images": noisy_images, "particles": particles}


def folder(name):
    return ROOT / "experiments" / name


def run_quick(name, tmp_path):
    arguments = ["--config", str(folder(name) / "quick.toml"), "--out", str(tmp_path)]
    assert EXPERIMENTS[name].command(arguments) == 0
    return json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_result_is_of_its_config(name):
    path = folder(name) / "result" / "result.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["config"]
    config = load_config(folder(name) / "config.toml", EXPERIMENTS[name].Config)
    assert stored == json.loads(json.dumps(config.model_dump()))


@pytest.mark.slow
def test_quick_counting(tmp_path):
    """Two particles of 40 columns: at most a few columns are wrong, where the limit is 0.8 %."""
    (row,) = run_quick("counting", tmp_path)["results"]
    assert row["limit"] == pytest.approx(0.008, abs=0.002)
    assert row["wrong"]["joint"] < 0.15
    assert sum(row["pit_deciles"]) == 80


@pytest.mark.slow
def test_quick_noisy_images(tmp_path):
    """Platinum at 10⁵ e⁻/Å²: hardly a column is wrong, and the kept parts give the same rows."""
    rows = run_quick("noisy_images", tmp_path)["rows"]
    assert all(row["wrong_percent"] < 10 for row in rows if row["way"] == "joint")
    assert run_quick("noisy_images", tmp_path)["rows"] == rows


def test_quick_particle(tmp_path):
    """Gold along [100] of 1 and 2 atoms: found where they are, and brighter where there are two."""
    (row,) = run_quick("particles", tmp_path)["particles"]
    assert row["inner_mrad"] != 50.0
    pixels = tifffile.imread(tmp_path / "small.tif")
    with open(tmp_path / "small.csv", encoding="utf-8") as file:
        columns = list(csv.DictReader(file))
    assert sorted({c["count"] for c in columns}) == ["1", "2"]
    places = np.array([[float(c["y_angstrom"]), float(c["x_angstrom"])] for c in columns])
    at = scipy.ndimage.map_coordinates(pixels, places.T * len(pixels) / 10.0, order=1)
    two = np.array([c["count"] == "2" for c in columns])
    assert at[two].min() > at[~two].max()
    assert pixels[0, 0] < 0.1 * at.min()


def test_columns_of_a_particle():
    """Neighbouring atoms of all layers are a/√2 apart, as in the crystal; facets and steps."""
    config = load_config(folder("particles") / "config.toml", particles.Config)
    platinum, copper = (particles.columns(particle).n_atoms for particle in config.particles[:2])
    assert (len(platinum), platinum.sum(), platinum.max()) == (23, 87, 7)
    assert copper.max() == config.particles[1].facet
    for particle in config.particles[:4]:
        settings = particle.nominal
        zone, a = settings.zone_axis_data, settings.element_data.lattice_angstrom
        atoms = particles.columns(particle).atoms(zone.repeat * a, len(zone.layers))
        distance, _ = scipy.spatial.cKDTree(atoms).query(atoms, k=2)
        np.testing.assert_allclose(distance[:, 1].min(), a / np.sqrt(2), rtol=1e-6)
