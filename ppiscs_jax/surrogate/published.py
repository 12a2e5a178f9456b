"""The file format of the published network: a .mat with a struct `model`.

Its fields: `weights` and `bias`, cell arrays with one matrix (inputs × units) and one row a
layer, input layer first; `x_sft` and `x_sc`, what the inputs are shifted and divided by. MATLAB
and the package rt_ppiscs read it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing
from ppiscs_jax.io.matfile import read_mat
from ppiscs_jax.surrogate.densenet import DenseNet, Params, assembled


def load_published(path: str | Path) -> tuple[DenseNet, Params]:
    """A densely connected network from a .mat file.

    Returns:
        The network and its weights, NumPy arrays in double precision.

    Raises:
        InputError: the file does not hold such a network.
        FileNotFoundError: there is no such file.
    """
    model: Any = read_mat(path).get("model")
    try:
        weights, biases, shift, scale = (model[f] for f in ("weights", "bias", "x_sft", "x_sc"))
        biases = [np.ravel(bias) for bias in biases]
        return assembled(path, list(weights), biases, np.ravel(shift), np.ravel(scale))
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a file of the published format ({error})") from error


def save_published(path: str | Path, network: DenseNet, params: Params) -> None:
    """Write a densely connected swish network for MATLAB and rt_ppiscs, whole or not at all.

    Raises:
        InputError: the network is another one, or the path cannot be written.
    """
    from scipy.io import savemat

    if problem := output_problem(path, (".mat",)):
        raise InputError(problem)
    if not network.as_published:
        raise InputError("network: the published format holds densely connected swish networks")
    layers = [params[name] for name in sorted(params)]

    def cells(field: str, rows: bool) -> np.ndarray:
        cell = np.empty((1, len(layers)), dtype=object)
        for i, layer in enumerate(layers):
            values = np.asarray(layer[field], dtype=np.float64)
            cell[0, i] = values[None] if rows else values
        return cell

    model: dict[str, Any] = {
        "bias": cells("bias", rows=True),
        "weights": cells("kernel", rows=False),
        "x_sft": np.array([network.shift]),
        "x_sc": np.array([network.scale]),
    }
    with replacing(path) as temporary:
        savemat(temporary, {"model": model})
