"""The published architecture, its file format, and its losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ppiscs_jax import InputError
from ppiscs_jax.surrogate.densenet import DenseNet, number_of_parameters
from ppiscs_jax.surrogate.losses import Terms, losses, weighted
from ppiscs_jax.surrogate.published import load_published, save_published
from tests.surrogate.double import predict_float64

X = np.array(
    [[79, 0, 300, 1e-3, -50, 20, 30, 90, 0.085], [13, 1, 60, -1e-3, 70, 30.5, 41, 200, 0.14]]
)


@pytest.mark.slow
def test_size_of_the_paper():
    """9·160 + 160, then Σ (160 i + 1)·160 for i = 1 … 11, then (12·160 + 1)·87."""
    assert number_of_parameters(DenseNet().initial(0)) == 1_860_087


@pytest.mark.parametrize("densely", [True, False])
@pytest.mark.parametrize("activation", ["swish", "relu"])
def test_against_plain_numpy(densely, activation):
    """Layer by layer, in double precision; new units come after their input."""
    network = DenseNet(growth=8, layers=4, outputs=5, activation=activation, densely=densely)
    params = network.initial(3)
    activate = {
        "swish": lambda v: v / (1 + np.exp(-v)),
        "relu": lambda v: np.maximum(v, 0),
    }[activation]
    layers = [
        (np.asarray(params[n]["kernel"], float), np.asarray(params[n]["bias"], float))
        for n in sorted(params)
    ]
    y = (X - network.shift) / network.scale
    y = activate(y @ layers[0][0] + layers[0][1])
    for weights, bias in layers[1:-1]:
        new = activate(y @ weights + bias)
        y = np.hstack([y, new]) if densely else new
    expected = np.logaddexp(0, y @ layers[-1][0] + layers[-1][1])
    np.testing.assert_allclose(predict_float64(network, params, X), expected, rtol=1e-12)
    single = network.apply({"params": params}, jnp.asarray(X, jnp.float32))
    np.testing.assert_allclose(single, expected, rtol=2e-5)


def test_he_uniform():
    """Weights of a layer with 160 inputs within √(6 / 160), and filling that."""
    kernel = np.asarray(DenseNet().initial(0)["layer_01"]["kernel"])
    limit = np.sqrt(6 / 160)
    assert 0.99 * limit < np.abs(kernel).max() <= limit
    assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)


@pytest.mark.slow
def test_published_format_round_trip(tmp_path):
    """What is written is what MATLAB's loader reads: cells of matrices, rows of biases."""
    network = DenseNet(growth=6, layers=4, outputs=7)
    params = network.initial(1)
    save_published(tmp_path / "model.mat", network, params)
    model = loadmat(tmp_path / "model.mat")["model"][0, 0]
    assert set(model.dtype.names) == {"x_sft", "x_sc", "bias", "weights"}
    assert [w.shape for w in model["weights"][0]] == [(9, 6), (6, 6), (12, 6), (18, 7)]
    assert [b.shape for b in model["bias"][0]] == [(1, 6)] * 3 + [(1, 7)]
    loaded, weights = load_published(tmp_path / "model.mat")
    assert loaded == network
    np.testing.assert_array_equal(
        predict_float64(loaded, weights, X), predict_float64(network, params, X)
    )


def test_published_package_agrees(tmp_path):
    """The same numbers as the package rt_ppiscs, where it is installed, both ways."""
    model = pytest.importorskip("rt_ppiscs.model", reason="rt_ppiscs is not installed")
    theirs = model.PPISCS()
    import rt_ppiscs

    path = f"{rt_ppiscs.__path__[0]}/coef_scs_fcc.mat"
    network, params = load_published(path)
    assert network == DenseNet()
    np.testing.assert_allclose(
        predict_float64(network, params, X), theirs.predict(X, crop=False), rtol=1e-9
    )
    ours, random = DenseNet(growth=10, layers=5), DenseNet(growth=10, layers=5).initial(0)
    save_published(tmp_path / "ours.mat", ours, random)
    read = model.PPISCS(tmp_path / "ours.mat").predict(X, crop=False)
    np.testing.assert_allclose(predict_float64(ours, random, X), read, rtol=1e-9)


def test_files_that_are_no_network(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_published(tmp_path / "none.mat")
    (tmp_path / "text.mat").write_text("hello")
    with pytest.raises(InputError, match=r"not a \.mat file of MATLAB 5 to 7\.2"):
        load_published(tmp_path / "text.mat")
    savemat(tmp_path / "other.mat", {"model": np.zeros(3)})
    with pytest.raises(InputError, match="not a file of the published format"):
        load_published(tmp_path / "other.mat")
    network = DenseNet(growth=6, layers=3, densely=False)
    with pytest.raises(InputError, match="densely connected swish"):
        save_published(tmp_path / "x.mat", network, network.initial(0))


def test_losses():
    """By hand, for two examples, one of which lacks the last thickness.

    The network here doubles the detector's width: it is additive, so that the constraint's
    parts add up to its prediction, and the constraint equals the first term.
    """
    x = jnp.asarray(X, jnp.float32)
    y = jnp.array([[100.0, 150.0, 200.0], [400.0, 300.0, 0.0]])
    exists = jnp.array([[True, True, True], [True, True, False]])

    def network(inputs):
        return 2.0 * (inputs[:, 7:8] - inputs[:, 6:7]) * jnp.array([1.0, 1.0, 1.0])

    terms = losses(network, x, y, exists, jax.random.key(0))
    errors = [np.array([20.0, -30.0, -80.0]) / 200, np.array([-82.0, 18.0]) / 400]
    logs = [
        np.log(120 / np.array([100.0, 150.0, 200.0])),
        np.log(318 / np.array([400.0, 300.0])),
    ]
    assert terms.l1n == pytest.approx(np.mean([abs(e).mean() for e in errors]), rel=1e-5)
    assert terms.l2n == pytest.approx(np.mean([(e**2).mean() for e in errors]), rel=1e-5)
    assert terms.l1log == pytest.approx(np.mean([abs(v).mean() for v in logs]), rel=1e-5)
    assert terms.constraint == pytest.approx(float(terms.l1n), rel=1e-5)
    without = losses(network, x, y, exists, jax.random.key(0), constrained=False)
    assert without.constraint == 0
    np.testing.assert_allclose(without[:3], terms[:3], rtol=1e-6)
    total = weighted(terms, Terms(1.0, 2.0, 3.0, 4.0))
    assert total == pytest.approx(
        float(sum(w * t for w, t in zip((1, 2, 3, 4), terms, strict=True)))
    )


def test_constraint_sees_what_is_not_additive():
    """A network that gives 1 whatever the detector: its parts give 2."""
    x, y = jnp.asarray(X, jnp.float32), jnp.ones((2, 4))
    terms = losses(lambda v: jnp.ones((len(v), 4)), x, y, jnp.ones((2, 4), bool), jax.random.key(0))
    assert terms.l1n == 0
    assert terms.constraint == pytest.approx(1.0)
