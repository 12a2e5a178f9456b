"""Stored kernels lose less than their standard error, and tell when they are damaged."""

import dataclasses
import time
import zlib

import h5py
import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, scattering_kernel
from ppiscs_jax.campaign.inspect import contents
from ppiscs_jax.io.hdf5 import fixed_text, new_hdf5
from ppiscs_jax.io.kernels import (
    FORMAT,
    _write,
    load_kernels,
    pack_kernels,
    read_kernels,
    save_kernels,
    unpack_kernels,
)
from ppiscs_jax.surrogate.table import load_table
from tests.fuzz.samples import made_up_kernel

SETTINGS = Settings("Cu", "100", 100.0, 25.0, 60.0, 150.0, 0.1)
BRIGHT = [(0, 10), (0, 20), (20, 30)]
WIDE = [(25, 60), (33, 60), (60, 150), (45, 160), (100, 250), (52.5, 121.0)]
NARROW = [(60, 70), (120, 130), (200, 210)]


@pytest.fixture(scope="module")
def kernel():
    return scattering_kernel(
        SETTINGS, apertures_mrad=[17.5, 20.0, 25.0], n_atoms=14, max_waves=128, relative_error=0.02
    )


@pytest.fixture(scope="module")
def path(kernel, tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "copper.h5"
    save_kernels(path, {"copper": kernel})
    return path


@pytest.fixture(scope="module")
def pair(kernel, path):
    """The kernel as computed and as loaded."""
    return kernel, load_kernels(path)["copper"]


def both_curves(pair, detectors, apertures=(17.5, 20.0, 25.0)):
    return [
        [k.curve(aperture, *detector) for k in pair]
        for aperture in apertures
        for detector in detectors
    ]


def change(before, after):
    """Difference in standard errors, shape (n,)."""
    return (after.ppiscs - before.ppiscs) / before.standard_error


def rms(values):
    return np.sqrt(np.mean(values**2))


def test_values_survive(pair):
    """Steps of 0.2 err by 0.06 and what the components leave out by 0.08 standard errors of S(θ).

    That is in rms, and at both edges of a detector: √2 · √(0.06² + 0.08²) = 0.14. Errors of S
    at neighbouring edges cancel in the detector's standard error, the more the narrower it is,
    but roundings do not: 0.5 are allowed, 1 for detectors 10 mrad wide, and to the worst of 14
    thicknesses twice as much.
    """
    for before, after in both_curves(pair, [*WIDE, *BRIGHT[1:2]]):
        assert rms(change(before, after)) < 0.5
        assert np.max(abs(change(before, after))) < 1
    for before, after in both_curves(pair, [*NARROW, *BRIGHT]):
        assert rms(change(before, after)) < 1


def test_errors_survive(pair):
    """On average over thickness to 15 %: 16 batches know the error itself to 18 %.

    Right outside the aperture too, where S(θ) is quiet and one bin further in it is not.
    """
    curves = both_curves(pair, BRIGHT + WIDE + NARROW + [(25, 45), (26, 45), (27, 45)])
    # At an aperture between two rings only angles outside the unscattered beam can be had.
    curves += both_curves(pair, [*WIDE, *NARROW, (25, 45)], [21.0])
    for before, after in curves:
        ratio = np.mean(after.standard_error / before.standard_error)
        assert ratio == pytest.approx(1, abs=0.15)


def test_everything_else_survives(pair, tmp_path):
    before, after = pair
    assert after.settings() == before.settings()
    assert (after.seed, after.waves) == (before.seed, before.waves)
    assert len(after.batch_means) == len(before.batch_means)
    np.testing.assert_array_equal(after.ring_edges_mrad, before.ring_edges_mrad)
    np.testing.assert_array_equal(after.angle_edges_mrad, before.angle_edges_mrad)
    np.testing.assert_allclose(after.lost, before.lost, rtol=1e-6)
    tilted = dataclasses.replace(before, mistilt_mrad=(1.5, -0.1))
    save_kernels(tmp_path / "tilted.h5", {"tilted": tilted})
    assert load_kernels(tmp_path / "tilted.h5")["tilted"].mistilt_mrad == (1.5, -0.1)


def test_files_are_small(kernel, path):
    """At least twenty times smaller than the batches in float32."""
    assert path.stat().st_size < kernel.batch_means.size * 4 / 20


def test_one_atom(kernel, tmp_path):
    """The thinnest kernel has a single thickness, hence a single component."""
    thin = dataclasses.replace(
        kernel, batch_means=kernel.batch_means[:, :, :1], lost=kernel.lost[:, :1]
    )
    save_kernels(tmp_path / "thin.h5", {"thin": thin})
    read = load_kernels(tmp_path / "thin.h5")["thin"]
    before, after = (k.curve(None, 60, 150) for k in (thin, read))
    assert abs(change(before, after)[0]) < 0.5


def test_same_kernels_same_bytes(kernel, path, tmp_path):
    """Also in another second of the clock: HDF5 can keep times."""
    time.sleep(max(0.0, path.stat().st_mtime + 1.1 - time.time()))
    save_kernels(tmp_path / "again.h5", {"copper": kernel})
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


@pytest.fixture
def sources(kernel, path, tmp_path):
    """Two files of one kernel each."""
    other = tmp_path / "other.h5"
    save_kernels(
        other, {"other": dataclasses.replace(kernel, batch_means=kernel.batch_means[::-1])}
    )
    return [path, other]


def test_packing_keeps_every_bit(sources, tmp_path):
    """And unpacking gives back the same files; what is there already stays as it is."""
    packed, folder = tmp_path / "packed.h5", tmp_path / "unpacked"
    folder.mkdir()
    pack_kernels(packed, sources)
    together = load_kernels(packed)
    assert list(together) == ["copper", "other"]
    for source in sources:
        for name, alone in load_kernels(source).items():
            np.testing.assert_array_equal(together[name].batch_means, alone.batch_means)
            np.testing.assert_array_equal(together[name].lost, alone.lost)
            assert together[name].settings() == alone.settings()
    (folder / "other.h5").write_text("there")
    assert unpack_kernels(packed, folder) == [folder / "copper.h5"]
    assert (folder / "copper.h5").read_bytes() == sources[0].read_bytes()
    assert (folder / "other.h5").read_text() == "there"


def test_a_name_twice_is_refused(path, tmp_path):
    with pytest.raises(InputError, match=r"copper\.h5: kernel copper is in another source too"):
        pack_kernels(tmp_path / "packed.h5", [path, path])
    assert list(tmp_path.iterdir()) == []


def test_truncated_files(path, tmp_path):
    content = path.read_bytes()
    truncated = tmp_path / "truncated.h5"
    for size in (0, 7, 500, len(content) // 2, len(content) - 1):
        truncated.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"truncated\.h5: damaged"):
            load_kernels(truncated)


def test_flipped_bits(sources, tmp_path):
    """Of 150 bits all over a packed file: found, or without effect, and nearly all are named.

    Headers of a packed file belong to no kernel; those of a kernel, and its data, name it.
    """
    packed, flipped = tmp_path / "packed.h5", tmp_path / "flipped.h5"
    pack_kernels(packed, sources)
    whole = {name: arrays for name, _, arrays in read_kernels(packed)}
    content = packed.read_bytes()
    found = named = 0
    for place in np.random.default_rng(0).integers(8 * len(content), size=150):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        flipped.write_bytes(damaged)
        good = []
        try:
            for name, _, arrays in read_kernels(flipped):
                assert all(np.array_equal(arrays[key], whole[name][key]) for key in arrays)
                good.append(name)
            assert good == ["copper", "other"]
        except InputError as error:
            found += 1
            bad = [name for name in whole if f"damaged, kernel {name} (" in str(error)]
            assert not set(bad) & set(good)
            named += len(bad) == 1
    assert found > 120
    assert named > 0.9 * found


def test_every_damaged_kernel_is_named(sources, tmp_path):
    packed = tmp_path / "packed.h5"
    pack_kernels(packed, sources)
    damaged = bytearray(packed.read_bytes())
    for source in sources:
        name, _, arrays = next(read_kernels(source))
        # Too small to be compressed: its bytes are in the file as they are.
        place = damaged.index(arrays["ring_edges_mrad"].tobytes())
        damaged[place + 3] ^= 1
    packed.write_bytes(damaged)
    with pytest.raises(InputError) as error:
        load_kernels(packed)
    assert len(error.value.problems) == 2
    for name in ("copper", "other"):
        assert f"kernel {name} (does not match its checksum)" in str(error.value)


def test_not_kernels(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_kernels(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(InputError, match="not a file of"):
        load_kernels(tmp_path / "text.h5")
    with pytest.raises(InputError, match="does not exist"):
        save_kernels(tmp_path / "nowhere" / "x.h5", {})
    with pytest.raises(InputError, match="must end in one of"):
        save_kernels(tmp_path / "x.txt", {})


def nonsense(path, change):
    """A made-up kernel changed by someone who computes the right checksum."""
    save_kernels(path, {"good": made_up_kernel()})
    ((name, metadata, arrays),) = read_kernels(path)
    with new_hdf5(path, libver="latest") as file:
        file.attrs["format"] = fixed_text(FORMAT)
        _write(file, change(metadata, arrays) or name, metadata, arrays)
        file.attrs["kernels"] = 1
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m, a: m.update(seed=-1), "seed = -1"),
        (lambda m, a: m.update(settings="{}"), "settings: "),
        (lambda m, a: m.update(settings="[" * 5000), "settings = "),
        (lambda m, a: m.update(settings="[" * 1500), "nested too deeply"),
        (lambda m, a: m.update(settings=m["settings"].replace("300.0", "3e9")), "voltage_kv = 3"),
        (lambda m, a: m.update(mistilt_mrad="[1, 2, 3]"), "mistilt_mrad of shape"),
        (lambda m, a: m.update(batches=7), "do not belong to its metadata"),
        (lambda m, a: a.update(lost=a["lost"] * np.nan), "lost has values that are not numbers"),
        (lambda m, a: a.update(lost=a["lost"][:1]), "has 2 rings, not 1|has 1 rings, not 2"),
        (lambda m, a: a.update(basis=a["basis"] * 3), "basis = "),
        (lambda m, a: a.update(angle_scale=a["angle_scale"] * 0), "angle_scale = 0"),
        (lambda m, a: a.update(ring_edges_mrad=a["ring_edges_mrad"] + 1), "do not belong"),
        (lambda m, a: a.update(angle_edges_mrad=a["angle_edges_mrad"][::-1]), "must increase"),
        (lambda m, a: a.update(mean=a["mean"].astype(np.int32) * 1000), "not a fraction"),
        (lambda m, a: "..", "its name must be up to 100 letters"),
        (lambda m, a: "C:evil", "its name must be up to 100 letters"),
    ],
)
def test_nonsense_with_a_right_checksum_is_refused(tmp_path, change, said):
    """In whatever reads kernels."""
    path = nonsense(tmp_path / "nonsense.h5", change)
    for read in (load_kernels, contents, lambda path: load_table([path])):
        with pytest.raises(InputError, match=said):
            read(path)


def test_kernels_that_cannot_be_read_are_not_written(tmp_path):
    with pytest.raises(InputError, match=r"kernel '\.\./x': its name must be"):
        save_kernels(tmp_path / "x.h5", {"../x": made_up_kernel()})
    broken = dataclasses.replace(made_up_kernel(), lost=np.full((2, 3), 7.0))
    with pytest.raises(InputError, match="kernel 'x': lost = 7"):
        save_kernels(tmp_path / "x.h5", {"x": broken})
    assert not list(tmp_path.iterdir())


def test_text_of_variable_length_is_not_read(tmp_path):
    """HDF5 may never come back from it."""
    save_kernels(tmp_path / "x.h5", {"good": made_up_kernel()})
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        del file["good"].attrs["settings"]
        file["good"].attrs["settings"] = "text"
    with pytest.raises(InputError, match="attribute settings is neither"):
        load_kernels(tmp_path / "x.h5")


def test_compressed_data_are_expanded_no_further_than_they_should(tmp_path):
    """Kilobytes that would become gigabytes."""
    save_kernels(tmp_path / "x.h5", {"good": made_up_kernel()})
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        shape = file["good/batches"].shape
        del file["good/batches"]
        made = file["good"].create_dataset(
            "batches", shape, "u1", chunks=shape, compression=9, shuffle=True
        )
        made.id.write_direct_chunk((0,) * 4, zlib.compress(bytes(10**6), 9))
    with pytest.raises(InputError, match="does not hold as much as it says"):
        load_kernels(tmp_path / "x.h5")
