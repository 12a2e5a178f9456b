"""A network of the paper's kind, used as a surrogate."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, reading_npz, replacing
from ppiscs_jax.surrogate.densenet import DenseNet, Params
from ppiscs_jax.surrogate.published import load_published
from ppiscs_jax.surrogate.ranges import TrainedRange

TRAINED = TrainedRange(
    specimens=tuple(
        (ELEMENTS[element].atomic_number, ZONE_AXES[zone].code)
        for element in ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "Pb")
        for zone in ("110", "100")
    ),
    limits={
        "voltage_kv": (60, 300),
        "c30_mm": (-1e-3, 1e-3),
        "c10_angstrom": (-100, 100),
        "convergence_mrad": (17.5, 35.5),
        "inner_mrad": (17.5, 240),
        "outer_mrad": (27.5, 250),
        "rmsd_angstrom": (0.075, 0.15),
    },
)
"""Table 1 of the paper. Its voltages are 60, 80, 100, 120, 200 and 300 kV."""

FORMAT = "ppiscs-jax network 1"

THICKEST_100 = 61
"""Largest thickness of [100] that the paper simulated."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NetworkModel:
    """A network and its weights. A pytree; jit, vmap and grad apply to `curve`."""

    params: Params
    network: DenseNet = field(metadata={"static": True})

    @jax.jit
    def curve(self, x: Float[Array, " 9"]) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms; NaN for what was not trained."""
        curve = jnp.asarray(self.network.apply({"params": self.params}, jnp.asarray(x, "f4")))
        too_thick = jnp.arange(curve.shape[-1]) >= THICKEST_100
        known = TRAINED.holds(x) & ~(too_thick & (x[1] == ZONE_AXES["100"].code))
        return jnp.where(known, curve, jnp.nan)

    @property
    def trained_range(self) -> TrainedRange:
        """The paper's."""
        return TRAINED


def read_network(path: str | Path) -> NetworkModel:
    """A network from a .mat file of the published format.

    Raises:
        InputError, FileNotFoundError: as `load_published`.
    """
    network, params = load_published(path)
    return NetworkModel(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params), network)


def save_network(path: str | Path, network: DenseNet, params: Params, about: str) -> None:
    """Write a densely connected swish network to a .npz file, whole or not at all.

    Weights are rounded to half precision; `about` is text that goes with them.

    Raises:
        InputError: the network is another one, or the path cannot be written.
    """
    if problem := output_problem(path, (".npz",)):
        raise InputError(problem)
    if not network.densely or network.activation != "swish":
        raise InputError("network: only densely connected swish networks are kept in .npz files")
    arrays: dict[str, Any] = {
        f"{part}_{i}": np.asarray(params[name][part], np.float16)
        for i, name in enumerate(sorted(params))
        for part in PARTS
    }
    with replacing(path) as temporary:
        np.savez_compressed(
            temporary,
            format=np.array(FORMAT),
            about=np.array(about),
            shift=np.array(network.shift),
            scale=np.array(network.scale),
            **arrays,
        )


def load_network(path: str | Path) -> NetworkModel:
    """A network from a file of `save_network`.

    Raises:
        InputError: the file holds no such network, or is damaged.
        FileNotFoundError: there is no such file.
    """
    with reading_npz(path, FORMAT, "a network") as arrays:
        layers = sum(name.startswith("kernel_") for name in arrays.files)
        params = {
            f"layer_{i:02d}": {p: jnp.asarray(arrays[f"{p}_{i}"], jnp.float32) for p in PARTS}
            for i in range(layers)
        }
        (growth,), (outputs,) = (arrays[f"bias_{i}"].shape for i in (0, layers - 1))
        numbers = (tuple(arrays[name].tolist()) for name in ("shift", "scale"))
        shift, scale = numbers
    return NetworkModel(params, DenseNet(growth, layers, outputs, shift=shift, scale=scale))


PARTS = ("kernel", "bias")
