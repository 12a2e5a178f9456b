"""A network of the paper's kind, used as a surrogate."""

import dataclasses
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.dataset.sample import (
    C10_ANGSTROM,
    C30_MM,
    LEAST_INNER_MRAD,
    LEAST_WIDTH_MRAD,
)
from ppiscs_jax.dataset.table import KernelTable
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, reading_npz, save_npz
from ppiscs_jax.surrogate.densenet import DenseNet, Params, assembled
from ppiscs_jax.surrogate.published import load_published
from ppiscs_jax.surrogate.ranges import TrainedRange

FORMAT = "ppiscs-jax network 1"
PARTS = ("kernel", "bias")


@dataclass(frozen=True)
class Training:
    """What a network was trained on.

    Attributes:
        specimens: atomic number, code of the zone axis, and thickest column [atoms] of each.
        limits: smallest and largest value of fields of `Settings`, in their units.
        rmsd_angstrom: smallest and largest rmsd of each specimen [Å], where specimens differ.
    """

    specimens: tuple[tuple[int, int, int], ...]
    limits: tuple[tuple[str, float, float], ...]
    rmsd_angstrom: tuple[tuple[float, float], ...] = ()

    @classmethod
    def on(cls, table: KernelTable) -> "Training":
        """What `dataset.sample` draws from a table."""
        groups = zip(table.atomic_numbers, table.zone_codes, table.thickest, strict=True)
        rmsd = np.asarray(table.rmsd_angstrom, float).round(7)[:, [0, -1]]
        rings, angles = np.asarray(table.ring_edges_mrad), np.asarray(table.angles_mrad)
        ends: dict[str, Any] = {
            "voltage_kv": np.asarray(table.voltages_kv)[[0, -1]],
            "c30_mm": (-C30_MM, C30_MM),
            "c10_angstrom": (-C10_ANGSTROM, C10_ANGSTROM),
            "convergence_mrad": rings[[1, -1]],
            "inner_mrad": (max(rings[1], LEAST_INNER_MRAD), angles[-1] - LEAST_WIDTH_MRAD),
            "outer_mrad": (max(rings[1], LEAST_INNER_MRAD) + LEAST_WIDTH_MRAD, angles[-1]),
            "rmsd_angstrom": (rmsd.min(), rmsd.max()),
        }
        return cls(
            tuple((int(z), int(code), int(n)) for z, code, n in groups),
            tuple((name, float(low), float(high)) for name, (low, high) in ends.items()),
            tuple(map(tuple, rmsd.tolist())),
        )

    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Training":
        """From JSON."""
        read = json.loads(text)
        fields = (f.name for f in dataclasses.fields(cls))
        # Files written before specimens could differ have no rmsd of their own.
        return cls(*(tuple(map(tuple, read.get(name, ()))) for name in fields))


TABLE_1 = Training(
    specimens=tuple(
        (ELEMENTS[element].atomic_number, zone.code, zone.n_atoms_max or 0)
        for element in ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "Pb")
        for zone in (ZONE_AXES["110"], ZONE_AXES["100"])
    ),
    limits=(
        ("voltage_kv", 60, 300),
        ("c30_mm", -C30_MM, C30_MM),
        ("c10_angstrom", -C10_ANGSTROM, C10_ANGSTROM),
        ("convergence_mrad", 17.5, 35.5),
        ("inner_mrad", LEAST_INNER_MRAD, 250 - LEAST_WIDTH_MRAD),
        ("outer_mrad", LEAST_INNER_MRAD + LEAST_WIDTH_MRAD, 250),
        ("rmsd_angstrom", 0.075, 0.15),
    ),
)
"""Table 1 of the paper, as far as its detectors of 10 mrad at least allow; its voltages are 60, 80,
100, 120, 200 and 300 kV. What the published network was trained on."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NetworkModel:
    """A network and its weights. A pytree; jit, vmap and grad apply to `curve`."""

    gathers: ClassVar[bool] = False

    params: Params
    network: DenseNet = field(metadata={"static": True})
    training: Training = field(default=TABLE_1, metadata={"static": True})

    @jax.jit
    def curve(self, x: Float[Array, " 9"]) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms; NaN for what was not trained."""
        x = jnp.asarray(x)
        curve = jnp.asarray(self.network.apply({"params": self.params}, x.astype(jnp.float32)))
        specimens = jnp.asarray(self.training.specimens)
        same = jnp.all(specimens[:, :2] == x[:2], axis=1)
        exists = jnp.arange(curve.shape[-1]) < jnp.max(jnp.where(same, specimens[:, 2], 0))
        return jnp.where(self.trained_range.holds(x) & exists, curve, jnp.nan)

    @cached_property
    def trained_range(self) -> TrainedRange:
        """Outside of it, predictions are NaN."""
        return TrainedRange(
            specimens=tuple((z, code) for z, code, _ in self.training.specimens),
            limits={name: (low, high) for name, low, high in self.training.limits},
            least_width_mrad=LEAST_WIDTH_MRAD,
            rmsd_angstrom=self.training.rmsd_angstrom,
        )


def read_network(path: str | Path) -> NetworkModel:
    """A network from a .mat file of the published format, taken to be trained on Table 1.

    Raises:
        InputError, FileNotFoundError: as `load_published`.
    """
    network, params = load_published(path)
    return NetworkModel(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params), network)


def save_network(
    path: str | Path, network: DenseNet, params: Params, training: Training, about: str
) -> None:
    """Write a densely connected swish network to a .npz file, whole or not at all.

    Weights are rounded to half precision; `about` is text that goes with them.

    Raises:
        InputError: the network is another one, or the path cannot be written.
    """
    if problem := output_problem(path, (".npz",)):
        raise InputError(problem)
    if not network.as_published:
        raise InputError("network: only densely connected swish networks are kept in .npz files")
    arrays: dict[str, Any] = {
        f"{part}_{i}": np.asarray(params[name][part], np.float16)
        for i, name in enumerate(sorted(params))
        for part in PARTS
    }
    save_npz(
        path,
        format=np.array(FORMAT),
        about=np.array(about),
        training=np.array(training.text()),
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
        layers = range(sum(name.startswith("kernel_") for name in arrays.files))
        kernels, biases = (
            [np.asarray(arrays[f"{part}_{i}"], np.float32) for i in layers] for part in PARTS
        )
        shift, scale = (tuple(arrays[name].tolist()) for name in ("shift", "scale"))
        network, params = assembled(path, kernels, biases, shift, scale)
        training = Training.from_text(str(arrays["training"]))
    return NetworkModel(jax.tree.map(jnp.asarray, params), network, training)
