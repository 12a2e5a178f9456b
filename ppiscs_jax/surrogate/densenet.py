"""The densely connected network of Lobato, De Backer & Van Aert (2023), §2.2, and variants."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ppiscs_jax.errors import InputError, MissingExtraError
from ppiscs_jax.io.schema import Numbers, Schema
from ppiscs_jax.settings import MOST_ATOMS

try:
    import flax.linen as nn
except ModuleNotFoundError as error:
    raise MissingExtraError(error) from error

INPUT_SHIFT = (50.0, 0.5, 143.0, 0.0, 0.0, 26.0, 99.0, 177.0, 0.11)
INPUT_SCALE = (27.0, 0.5, 91.0, 6e-4, 58.0, 5.0, 52.0, 52.0, 0.023)
"""The nine inputs of `Settings.to_vector` are shifted and divided by these, as published."""

Params = Any
"""Weights of a network, as Flax keeps them."""


class DenseNet(nn.Module):
    """PPISCS [Å²] against thickness from nine numbers.

    An input layer, `layers` − 2 hidden layers and an output layer. Hidden layers are each
    appended to their input where the network is densely connected, and replace it where it is
    fully connected. Softplus keeps the output positive.

    Attributes:
        growth: units G of the input and hidden layers.
        layers: n_lay, counted with input and output layer.
        outputs: number of thicknesses.
        activation: of the hidden layers, "swish" or "relu".
        densely: whether layers are densely connected; else fully.
        shift, scale: of the inputs.
    """

    growth: int = 160
    layers: int = 13
    outputs: int = 87
    activation: Literal["swish", "relu"] = "swish"
    densely: bool = True
    shift: tuple[float, ...] = INPUT_SHIFT
    scale: tuple[float, ...] = INPUT_SCALE

    @nn.compact
    def __call__(self, x: Float[Array, "*batch 9"]) -> Float[Array, "*batch n"]:
        """The network's output for inputs in the units of `Settings.to_vector`."""

        def layer(units: int, index: int) -> nn.Dense:
            # He et al. (2015), uniform.
            return nn.Dense(
                units,
                kernel_init=nn.initializers.he_uniform(),
                param_dtype=x.dtype,
                name=f"layer_{index:02d}",
            )

        y = (x - jnp.asarray(self.shift, x.dtype)) / jnp.asarray(self.scale, x.dtype)
        y = self.activated(layer(self.growth, 0)(y), 0)
        for index in range(1, self.layers - 1):
            new = self.activated(layer(self.growth, index)(y), index)
            y = jnp.concatenate([y, new], axis=-1) if self.densely else new
        return nn.softplus(layer(self.outputs, self.layers - 1)(y))

    def activated(self, y: Float[Array, "*batch units"], layer: int) -> Array:
        """What follows the linear part of a layer: its activation."""
        return {"swish": nn.swish, "relu": nn.relu}[self.activation](y)

    def initial(self, seed: int) -> Params:
        """Random weights."""
        return self.init(jax.random.key(seed), jnp.zeros((1, len(self.shift))))["params"]

    @property
    def as_published(self) -> bool:
        """Whether the network can be saved: densely connected, swish."""
        return self.densely and self.activation == "swish"


MOST_LAYERS = 100
MOST_UNITS = 10_000
MOST_WEIGHTS = 10_000_000
"""Limits of a network; the published one has 13 layers, 1920 inputs and 1.7 million weights."""

LARGEST_WEIGHT = 1e4
"""Larger ones overflow half precision, in which files keep weights."""


def layers_schema(layers: int) -> Schema:
    """Schema of the arrays of a densely connected network.

    Raises:
        ValueError: there are too few or too many layers.
    """
    if not 2 <= layers <= MOST_LAYERS:
        raise ValueError(f"{layers} layers; 2 to {MOST_LAYERS} are allowed")
    inputs = [str(len(INPUT_SHIFT)), *(f"inputs of layer {i}" for i in range(1, layers))]
    units = [*["growth"] * (layers - 1), "outputs"]
    ends = "1", -LARGEST_WEIGHT, LARGEST_WEIGHT
    arrays = {"shift": Numbers((inputs[0],), low=-1e6, high=1e6)}
    arrays["scale"] = Numbers((inputs[0],), low=1e-12, high=1e6)
    for i in range(layers):
        arrays[f"kernel_{i}"] = Numbers((inputs[i], units[i]), *ends)
        arrays[f"bias_{i}"] = Numbers((units[i],), *ends)
    longest = dict.fromkeys(inputs, MOST_UNITS) | {"growth": MOST_UNITS, "outputs": MOST_ATOMS}
    return Schema(arrays, longest, MOST_WEIGHTS)


def assembled(
    path: str | Path,
    kernels: Sequence[np.ndarray],
    biases: Sequence[np.ndarray],
    shift: np.ndarray,
    scale: np.ndarray,
) -> tuple[DenseNet, Params]:
    """A densely connected swish network from the arrays of its layers, input layer first.

    Raises:
        InputError: naming the path, if the arrays do not make one.
    """
    layers = len(kernels)
    try:
        named = {"shift": shift, "scale": scale}
        for i, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            named |= {f"kernel_{i}": kernel, f"bias_{i}": bias}
        sizes = layers_schema(layers).check(named)
        growth = sizes["growth"]
        for i in range(1, layers):
            if len(kernels[i]) != i * growth:
                raise ValueError(f"kernel_{i} has {len(kernels[i])} inputs, not {i * growth}")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: its layers do not make a densely connected network ({error})"
        ) from error
    shifts, scales = (tuple(values.astype(float).tolist()) for values in (shift, scale))
    network = DenseNet(growth, layers, sizes["outputs"], shift=shifts, scale=scales)
    return network, {
        f"layer_{i:02d}": {"kernel": k, "bias": b}
        for i, (k, b) in enumerate(zip(kernels, biases, strict=True))
    }


def number_of_parameters(params: Params) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
