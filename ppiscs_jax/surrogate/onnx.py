"""ONNX files of densely and fully connected networks. Needs the extra `onnx`."""

from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing
from ppiscs_jax.surrogate.densenet import DenseNet, Params

OPSET = 17
IR_VERSION = 8
"""Old enough for runtimes of 2022 and later."""


def save_onnx(path: str | Path, network: DenseNet, params: Params) -> None:
    """Write a network as ONNX, whole or not at all.

    The model's input `x` are float32 rows of nine numbers, as in `Settings.to_vector`; its output
    `ppiscs` are rows of cross-sections [Å²] at 1, 2, … atoms.

    Raises:
        InputError: the path cannot be written, or the package onnx is missing.
    """
    if problem := output_problem(path, (".onnx",)):
        raise InputError(problem)
    try:
        import onnx
    except ImportError as error:
        raise InputError("onnx: is not installed; install ppiscs-jax with the extra `onnx`") from (
            error
        )
    model = _model(onnx, network, params)
    onnx.checker.check_model(model)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


def _model(onnx: Any, network: DenseNet, params: Params) -> Any:
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    nodes, constants, names = [], [], count()

    def constant(values: Any) -> str:
        name = f"constant_{next(names)}"
        array = np.asarray(values, np.float32)
        constants.append(onnx.numpy_helper.from_array(array, name))
        return name

    def node(operation: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"{operation.lower()}_{next(names)}"
        nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def layer(values: str, weights: dict[str, Any]) -> str:
        return node("Gemm", values, constant(weights["kernel"]), constant(weights["bias"]))

    def activate(values: str) -> str:
        if network.activation == "relu":
            return node("Relu", values)
        return node("Mul", values, node("Sigmoid", values))

    first, *hidden, last = (params[name] for name in sorted(params))
    y = node("Div", node("Sub", "x", constant(network.shift)), constant(network.scale))
    y = activate(layer(y, first))
    for weights in hidden:
        new = activate(layer(y, weights))
        y = node("Concat", y, new, axis=-1) if network.densely else new
    node("Softplus", layer(y, last), output="ppiscs")
    graph = helper.make_graph(
        nodes,
        "ppiscs",
        [helper.make_tensor_value_info("x", number, ["rows", len(network.shift)])],
        [helper.make_tensor_value_info("ppiscs", number, ["rows", network.outputs])],
        constants,
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
