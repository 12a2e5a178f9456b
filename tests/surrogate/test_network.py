"""Networks in files of this package, and the one that it ships."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError, load_surrogate, predict
from ppiscs_jax.surrogate.densenet import DenseNet, number_of_parameters
from ppiscs_jax.surrogate.evaluate import HeldOut, save_held_out
from ppiscs_jax.surrogate.network import TABLE_1, Training, load_network, save_network
from ppiscs_jax.surrogate.predict import OutsideTrainedRangeWarning
from tests.table_samples import made_up_table

GOLD = np.array([79.0, 0, 300, 0, 0, 20, 60, 200, 0.085])
SMALL = DenseNet(growth=6, layers=4, outputs=87)


def test_round_trip(tmp_path):
    """Rounded to half precision, of eleven bits: each weight within 2^-11 of itself."""
    params = SMALL.initial(0)
    path = tmp_path / "small.npz"
    save_network(path, SMALL, params, TABLE_1, "made up")
    model = load_network(path)
    assert model.network == SMALL
    assert model.training == TABLE_1
    for read, written in zip(jax.tree.leaves(model.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(read, written, rtol=2.0**-11, atol=1e-7)
    np.testing.assert_array_equal(
        predict(GOLD, surrogate=load_surrogate(str(path))), predict(GOLD, surrogate=model)
    )


def test_what_is_not_kept(tmp_path):
    for other in (DenseNet(growth=6, densely=False), DenseNet(growth=6, activation="relu")):
        with pytest.raises(InputError, match="only densely connected swish"):
            save_network(tmp_path / "other.npz", other, other.initial(0), TABLE_1, "")
    with pytest.raises(InputError, match=r"must end in one of \.npz"):
        save_network(tmp_path / "other.mat", SMALL, SMALL.initial(0), TABLE_1, "")


def test_it_knows_what_it_was_trained_on(tmp_path):
    """Al [110] and Au [100] up to 12 atoms, at 100–300 kV: NaN and a warning for all else."""
    path = tmp_path / "small.npz"
    save_network(path, SMALL, SMALL.initial(0), Training.on(made_up_table()), "")
    model = load_network(path)
    inside = np.array([79.0, 1, 200, 0, 0, 25, 60, 200, 0.1])
    curve = predict(inside, surrogate=model, outside="raise")
    assert np.flatnonzero(np.isfinite(curve)).tolist() == [*range(12)]
    for index, value, said in [
        (1, 0, "element and zone_axis"),
        (2, 80, "voltage_kv"),
        (6, 24, "at least 10 mrad wide, from convergence_mrad on"),
        (7, 69, "at least 10 mrad wide, from convergence_mrad on"),
    ]:
        outside = np.where(np.arange(9) == index, value, inside)
        with pytest.raises(InputError, match=said):
            predict(outside, surrogate=model, outside="raise")
        with pytest.warns(OutsideTrainedRangeWarning):
            assert np.all(np.isnan(predict(outside, surrogate=model)))
    # Aberrations have no range: PPISCS does not depend on them, and predictions take them as 0.
    aberrated = np.where(np.isin(np.arange(9), (3, 4)), 150, inside)
    np.testing.assert_array_equal(predict(aberrated, surrogate=model), curve)


def test_files_that_are_no_network(tmp_path):
    held_out = HeldOut(*(np.zeros((1, 1, n)) for n in (9, 3, 3)))
    save_held_out(tmp_path / "held_out.npz", held_out)
    with pytest.raises(InputError, match="its format is ppiscs-jax checks 1, not"):
        load_network(tmp_path / "held_out.npz")
    save_network(tmp_path / "whole.npz", SMALL, SMALL.initial(0), TABLE_1, "")
    whole = (tmp_path / "whole.npz").read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(b ^ 0xFF for b in whole[middle : middle + 40])
    np.save(tmp_path / "alone.npy", np.zeros(3))
    for damaged in (
        whole[:2000],
        flipped + whole[middle + 40 :],
        b"",
        b"hello",
        (tmp_path / "alone.npy").read_bytes(),
    ):
        (tmp_path / "part.npz").write_bytes(damaged)
        for read in (load_network, lambda path: load_surrogate(str(path))):
            with pytest.raises(InputError, match="not a file of"):
                read(tmp_path / "part.npz")
    for read in (load_network, lambda path: load_surrogate(str(path))):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none.npz")


def test_the_shipped_one():
    """Of the paper's size, trained on what its file says, near the additive model: 1 % here."""
    model = load_surrogate("densenet")
    assert number_of_parameters(model.params) == 1_860_087
    assert np.mean(abs(predict(GOLD, surrogate=model) / predict(GOLD) - 1)) < 0.01
    silver = np.where(np.arange(9) == 1, 1, GOLD)
    assert np.flatnonzero(np.isnan(predict(silver, surrogate=model))).tolist() == [*range(61, 87)]


@pytest.mark.slow
def test_gradients_of_the_shipped_one():
    """Autodiff against central differences, in double precision, for every input but Z and zone."""
    with jax.enable_x64(True):
        model = load_surrogate("densenet")
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.params)

        def value(x):
            return model.network.apply({"params": params}, x).sum()

        x, value = jnp.asarray(GOLD), jax.jit(value)
        slopes = jax.grad(value)(x)
        for i, step in [(2, 0.1), (3, 1e-6), (4, 0.1), (5, 1e-2), (6, 1e-2), (7, 1e-2), (8, 1e-5)]:
            change = jnp.zeros(9).at[i].set(step)
            numeric = (value(x + change) - value(x - change)) / (2 * step)
            assert slopes[i] != 0
            assert slopes[i] == pytest.approx(float(numeric), rel=1e-5, abs=1e-9)


def test_wrong_shapes(tmp_path):
    """Layers that do not fit together, though each is whole."""
    path = tmp_path / "small.npz"
    save_network(path, SMALL, SMALL.initial(0), TABLE_1, "")
    arrays = dict(np.load(path))
    for name, value in (("kernel_2", np.zeros((5, 6))), ("scale", np.ones(8))):
        np.savez(tmp_path / "wrong.npz", **(arrays | {name: value}))
        with pytest.raises(InputError, match=f"{name} has"):
            load_network(tmp_path / "wrong.npz")


def test_about():
    """What made the weights is in the file, as text."""
    from importlib.resources import files

    path = files("ppiscs_jax.surrogate") / "weights" / "densenet.npz"
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        about = json.loads(str(arrays["about"]))
    assert {"recipe", "data", "device"} <= set(about)
    assert set(about["provenance"]) == {"commit", "versions", "backend"}
    assert about["recipe"]["network"] == {
        "growth": 160,
        "layers": 13,
        "activation": "swish",
        "densely": True,
    }
