"""ONNX files give the network's numbers in another program's runtime."""

import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.surrogate.densenet import DenseNet
from ppiscs_jax.surrogate.onnx import save_onnx
from tests.surrogate.double import predict_float64
from tests.surrogate.test_densenet import X


@pytest.mark.slow
@pytest.mark.parametrize("densely", [True, False])
@pytest.mark.parametrize("activation", ["swish", "relu"])
def test_onnxruntime_agrees(tmp_path, activation, densely):
    """Single precision against double: rounding of a few layers, 1e-5."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    network = DenseNet(growth=16, layers=5, activation=activation, densely=densely)
    params = network.initial(2)
    save_onnx(tmp_path / "model.onnx", network, params)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for rows in (1, 2):
        (y,) = session.run(None, {"x": X[:rows].astype(np.float32)})
        assert y.shape == (rows, 87)
        np.testing.assert_allclose(y, predict_float64(network, params, X[:rows]), rtol=1e-5)


def test_path_is_checked_first(tmp_path):
    with pytest.raises(InputError, match=r"must end in one of \.onnx"):
        save_onnx(tmp_path / "model.txt", DenseNet(), {})
