import dataclasses
import json

import h5py
import numpy as np
import pytest

import ppiscs_jax
from ppiscs_jax import Curve, InputError, Settings
from ppiscs_jax.dataset.curves import SUFFIXES, load_curves, save_curves
from tests.curve_samples import made_up_curves


@pytest.mark.parametrize("n_atoms", [1, 87])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_round_trip_is_exact(tmp_path, suffix, n_atoms):
    saved = made_up_curves(n_atoms)
    path = tmp_path / f"curves{suffix}"
    save_curves(path, saved)
    loaded = load_curves(path)
    assert list(tmp_path.iterdir()) == [path]
    assert len(loaded) == len(saved)
    for a, b in zip(saved, loaded, strict=True):
        np.testing.assert_array_equal(a.n_atoms, b.n_atoms)
        np.testing.assert_array_equal(a.ppiscs, b.ppiscs)
        np.testing.assert_array_equal(a.standard_error, b.standard_error)
        assert a.settings == b.settings
        assert (a.seed, a.waves, a.batches) == (b.seed, b.waves, b.batches)
        assert a.mistilt_mrad == b.mistilt_mrad


def test_csv_says_what_it_holds(tmp_path):
    path = tmp_path / "curves.csv"
    save_curves(path, made_up_curves())
    text = path.read_text(encoding="utf-8")
    header = [line for line in text.splitlines() if line.startswith("# ")]
    for name in ("format", "package_version", "jax_version", "seed", "waves", "batches", "units"):
        assert any(line.startswith(f"# {name}: ") for line in header)
    assert (
        "\nn_atoms,ppiscs_angstrom2[60-200 mrad],standard_error_angstrom2[60-200 mrad],"
        "ppiscs_angstrom2[0.1-250 mrad],standard_error_angstrom2[0.1-250 mrad]\n" in text
    )


def test_hdf5_carries_units_and_versions(tmp_path):
    path = tmp_path / "curves.h5"
    save_curves(path, made_up_curves())
    with h5py.File(path) as file:
        assert file["ppiscs_angstrom2"].attrs["unit"] == "Å²"
        assert file["n_atoms"].attrs["unit"] == "atoms per column"
        assert file.attrs["seed"] == 7
        assert file.attrs["package_version"] == ppiscs_jax.__version__


def test_curves_of_different_simulations_are_refused(tmp_path):
    first, second = made_up_curves()
    with pytest.raises(InputError, match="share all but collection angles"):
        save_curves(tmp_path / "x.csv", [first, dataclasses.replace(second, seed=8)])
    with pytest.raises(InputError, match="none to save"):
        save_curves(tmp_path / "x.csv", [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"n,value\n1,2\n", b"# a\n", b"{}", b"[1]", b"\xff\xfe"])
def test_other_files_are_refused(tmp_path, suffix, content):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a file of"):
        load_curves(path)


def test_other_format_versions_are_refused(tmp_path):
    path = tmp_path / "curves.json"
    save_curves(path, made_up_curves())
    content = json.loads(path.read_text(encoding="utf-8"))
    content["metadata"]["format"] = "ppiscs-jax curves 99"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="curves 99"):
        load_curves(path)


def test_missing_file_and_unknown_suffix(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_curves(tmp_path / "none.csv")
    with pytest.raises(InputError, match="must end in one of"):
        load_curves(tmp_path / "none.txt")
    with pytest.raises(InputError, match="must end in one of"):
        save_curves(tmp_path / "none.txt", made_up_curves())


def test_unknown_errors_and_numpy_integers_survive_json(tmp_path):
    """One configuration has no standard error: NaN in memory, null in valid JSON."""
    curve = Curve(
        n_atoms=np.array([1]),
        ppiscs=np.array([0.01]),
        standard_error=np.array([np.nan]),
        settings=Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085),
        seed=np.int64(3),
        waves=np.int64(8),
        batches=1,
    )
    path = tmp_path / "one.json"
    save_curves(path, [curve])
    assert "NaN" not in path.read_text()
    (loaded,) = load_curves(path)
    assert np.isnan(loaded.standard_error).all()
    assert loaded.seed == 3
