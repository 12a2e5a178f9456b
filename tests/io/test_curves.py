import dataclasses
import json
import zlib

import h5py
import numpy as np
import pytest

import ppiscs_jax
from ppiscs_jax import Curve, InputError, Settings
from ppiscs_jax.io.curves import SUFFIXES, load_curves, save_curves
from ppiscs_jax.io.hdf5 import plain
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
        np.testing.assert_array_equal(a.error_modes, b.error_modes)
        assert a.settings == b.settings
        assert (a.seed, a.waves, a.batches) == (b.seed, b.waves, b.batches)


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
        assert plain(file["ppiscs_angstrom2"].attrs["unit"]) == "Å²"
        assert plain(file["n_atoms"].attrs["unit"]) == "atoms per column"
        assert file.attrs["seed"] == 7
        assert plain(file.attrs["package_version"]) == ppiscs_jax.__version__


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


def changed_file(path, change):
    """The file of curves with its metadata and arrays changed, for whoever knows the format."""
    save_curves(path, made_up_curves(3))
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content["metadata"], content["arrays"])
        path.write_text(json.dumps(content), encoding="utf-8")
        return
    with h5py.File(path, "r+") as file:
        metadata = {n: plain(v) for n, v in file.attrs.items()} | {"format": "ppiscs-jax curves 1"}
        metadata["mistilt_mrad"] = list(metadata["mistilt_mrad"])
        arrays = {name: file[name][...].tolist() for name in file}
        change(metadata, arrays)
        for name in file.attrs:
            del file.attrs[name]
        file.attrs.update({n: v for n, v in metadata.items() if n != "sha256"})
        for name, values in arrays.items():
            del file[name]
            file[name] = values


def test_older_hdf5_files_are_read(tmp_path):
    """Format 1: text of variable length, no checksum."""
    path = tmp_path / "old.h5"
    changed_file(path, lambda metadata, arrays: None)
    with h5py.File(path) as file:
        assert h5py.check_string_dtype(file.attrs.get_id("element").dtype).length is None
        assert "sha256" not in file.attrs
    for a, b in zip(load_curves(path), made_up_curves(3), strict=True):
        np.testing.assert_array_equal(a.ppiscs, b.ppiscs)
        assert a.settings == b.settings


def test_one_flipped_bit_is_found(tmp_path):
    """A tenth of the bits: values, texts, HDF5's own tables. No damage passes, none hangs."""
    save_curves(tmp_path / "whole.h5", made_up_curves(3))
    content = (tmp_path / "whole.h5").read_bytes()
    whole = made_up_curves(3)
    for place in np.random.default_rng(1).integers(8 * len(content), size=200):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "flipped.h5").write_bytes(damaged)
        try:
            for a, b in zip(load_curves(tmp_path / "flipped.h5"), whole, strict=True):
                np.testing.assert_array_equal(a.ppiscs, b.ppiscs)
                np.testing.assert_array_equal(a.standard_error, b.standard_error)
                assert a.settings == b.settings
        except InputError:
            continue


@pytest.mark.parametrize("suffix", [".json", ".h5"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", -1, "seed = -1"),
        ("waves", 1.5, "waves = 1.5"),
        ("batches", "many", "batches = 'many'"),
        ("element", "Fe", "element = 'Fe': must be one of"),
        ("voltage_kv", 1e9, "voltage_kv = 1000000000 kV: must be"),
        ("mistilt_mrad", [1.0], "mistilt_mrad"),
        ("mistilt_mrad", [1e9, 0.0], "mistilt_mrad"),
        ("n_atoms", [1, 3, 2], "n_atoms must increase"),
        ("n_atoms", [1, 2, 3000], "n_atoms = 3000 atoms per column: must be 1 to 1000"),
        ("n_atoms", [1, 2], "ppiscs_angstrom2 has 3 n, not 2"),
        ("ppiscs_angstrom2", [[1e99, 1.0, 2.0]] * 2, "ppiscs_angstrom2 = 1e[+]99 Å²: must be"),
        ("ppiscs_angstrom2", [1.0, 2.0, 3.0], "ppiscs_angstrom2 has 1 axes, not 2"),
        ("standard_error_angstrom2", [[-1.0, 1.0, 2.0]] * 2, "standard_error_angstrom2 = -1"),
        ("detectors_mrad", [[60.0, 200.0]], "has 2 detectors, not 1"),
        ("detectors_mrad", [[200.0, 60.0]] * 2, "inner_mrad = 200 mrad: must be below"),
    ],
)
def test_nonsense_is_refused(tmp_path, suffix, name, value, said):
    path = tmp_path / f"curves{suffix}"

    def change(metadata, arrays):
        (metadata if name in metadata else arrays)[name] = value

    changed_file(path, change)
    with pytest.raises(InputError, match=said):
        load_curves(path)


def test_what_cannot_be_read_is_not_written(tmp_path):
    first, _ = made_up_curves(3)
    bad = dataclasses.replace(first, ppiscs=first.ppiscs * np.inf)
    with pytest.raises(InputError, match="ppiscs_angstrom2"):
        save_curves(tmp_path / "curves.h5", [bad])
    with pytest.raises(InputError, match="seed = -3"):
        save_curves(tmp_path / "curves.h5", [dataclasses.replace(first, seed=-3)])
    assert not list(tmp_path.iterdir())


def test_links_and_filters_are_not_followed(tmp_path):
    """Arrays in other files, and data that would expand to more than they should be."""
    path = tmp_path / "curves.h5"
    save_curves(tmp_path / "other.h5", made_up_curves(3))
    for replace, said in (
        (lambda file: h5py.ExternalLink("other.h5", "/n_atoms"), "n_atoms is elsewhere"),
        (lambda file: h5py.SoftLink("/detectors_mrad"), "n_atoms is elsewhere"),
    ):
        save_curves(path, made_up_curves(3))
        with h5py.File(path, "r+") as file:
            del file["n_atoms"]
            file["n_atoms"] = replace(file)
        with pytest.raises(InputError, match=said):
            load_curves(path)
    save_curves(path, made_up_curves(3))
    with h5py.File(path, "r+") as file:
        del file["n_atoms"]
        dataset = file.create_dataset("n_atoms", (3,), "i8", chunks=(3,), compression=9)
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(10**7), 0))
    with pytest.raises(InputError, match="n_atoms takes more than it holds"):
        load_curves(path)


def test_error_modes_that_do_not_belong(tmp_path):
    """Modes that are not those of the standard errors are refused; curves without are read."""
    first, _ = made_up_curves(3)
    path = tmp_path / "gold.json"
    save_curves(path, [dataclasses.replace(first, error_modes=None)])
    assert load_curves(path)[0].error_modes is None
    save_curves(path, [dataclasses.replace(first, error_modes=2 * first.error_modes)])
    with pytest.raises(InputError, match="do not add up to the standard errors"):
        load_curves(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_radial_sensitivities_survive(tmp_path, suffix):
    """A curve of a detector that is not an ideal annulus says which one it was."""
    first, second = made_up_curves()
    sensitivity = np.array([[0.0, 60.5, 250.0], [0.0, 0.95, 1.0]])
    curves = [dataclasses.replace(c, sensitivity=sensitivity) for c in (first, second)]
    path = tmp_path / f"curves{suffix}"
    save_curves(path, curves)
    for curve in load_curves(path):
        np.testing.assert_array_equal(curve.sensitivity, sensitivity)
    with pytest.raises(InputError, match="radial sensitivity, or none"):
        save_curves(path, [first, curves[1]])
