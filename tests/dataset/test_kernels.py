"""A stored kernel loses less than its standard error, and tells when it is damaged."""

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, scattering_kernel
from ppiscs_jax.dataset.kernels import load_kernel, save_kernel

SETTINGS = Settings("Cu", "100", 100.0, 25.0, 60.0, 150.0, 0.1)
DETECTORS = [(25, 60), (60, 70), (60, 150), (45, 160), (100, 250), (52.5, 121.0)]


@pytest.fixture(scope="module")
def kernel():
    return scattering_kernel(
        SETTINGS, apertures_mrad=[17.5, 20.0, 25.0], n_atoms=22, max_waves=256, relative_error=0.02
    )


@pytest.fixture(scope="module")
def path(kernel, tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "copper.h5"
    save_kernel(path, kernel)
    return path


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("convergence", [17.5, 21.0, 25.0])
def test_values_and_errors_survive(kernel, path, convergence, detector):
    """Values to a quarter of their standard error; the errors themselves on average to 15 %.

    A rounded bin errs by at most 1 % of its own error, and bins of a detector add up. The
    error of 16 batches is itself known to 18 %.
    """
    before = kernel.curve(convergence, *detector)
    after = load_kernel(path).curve(convergence, *detector)
    assert np.all(np.abs(after.ppiscs - before.ppiscs) < 0.25 * before.standard_error)
    ratio = np.mean(after.standard_error / before.standard_error)
    assert ratio == pytest.approx(1, abs=0.15)


def test_everything_else_survives(kernel, path):
    loaded = load_kernel(path)
    assert loaded.settings == kernel.settings
    assert (loaded.seed, loaded.waves) == (kernel.seed, kernel.waves)
    assert loaded.mistilt_mrad == kernel.mistilt_mrad
    np.testing.assert_array_equal(loaded.ring_edges_mrad, kernel.ring_edges_mrad)
    np.testing.assert_allclose(loaded.lost, kernel.lost, rtol=1e-6)


def test_files_are_small(kernel, path):
    """At least ten times smaller than the batches in float32."""
    assert path.stat().st_size < kernel.batch_means.size * 4 / 10


def test_one_atom(tmp_path):
    """The thinnest kernel has nothing to interpolate along thickness."""
    kernel = scattering_kernel(SETTINGS, n_atoms=1, relative_error=0.5)
    save_kernel(tmp_path / "thin.h5", kernel)
    before, after = kernel.curve(), load_kernel(tmp_path / "thin.h5").curve()
    assert abs(after.ppiscs[0] - before.ppiscs[0]) < 0.25 * before.standard_error[0]


def test_damage_is_found(path, tmp_path):
    content = path.read_bytes()
    truncated, flipped = tmp_path / "truncated.h5", tmp_path / "flipped.h5"
    truncated.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"truncated\.h5: damaged"):
        load_kernel(truncated)
    found = 0
    for position in range(len(content) // 3, len(content), len(content) // 7):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        flipped.write_bytes(damaged)
        try:
            same = np.array_equal(load_kernel(flipped).batch_means, load_kernel(path).batch_means)
            assert same  # the bit lay in unused space
        except InputError:
            found += 1
    assert found


def test_not_a_kernel(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_kernel(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(InputError, match="not a file of"):
        load_kernel(tmp_path / "text.h5")
    with pytest.raises(InputError, match="does not exist"):
        save_kernel(tmp_path / "nowhere" / "x.h5", None)
