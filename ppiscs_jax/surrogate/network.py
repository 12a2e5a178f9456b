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
from pydantic import TypeAdapter

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.errors import InputError, shown
from ppiscs_jax.files import output_problem, save_npz
from ppiscs_jax.io.npz import reading_npz
from ppiscs_jax.io.schema import must_fit
from ppiscs_jax.reading import parse_json
from ppiscs_jax.settings import (
    LARGEST_MRAD,
    MOST_ATOMS,
    SPECIMEN,
    VECTOR_ORDER,
    Column,
    column,
)
from ppiscs_jax.surrogate.densenet import DenseNet, Params, assembled, layers_schema
from ppiscs_jax.surrogate.error_model import ErrorModel, error_modes
from ppiscs_jax.surrogate.published import load_published
from ppiscs_jax.surrogate.ranges import TrainedRange
from ppiscs_jax.surrogate.sample import (
    C10_ANGSTROM,
    C30_MM,
    LEAST_INNER_MRAD,
    LEAST_WIDTH_MRAD,
)
from ppiscs_jax.surrogate.table import KernelTable

FORMAT = "ppiscs-jax network 1"
PARTS = ("kernel", "bias")
ABERRATIONS = (Column.C30_MM, Column.C10_ANGSTROM)


@dataclass(frozen=True)
class Training:
    """Training data of a network.

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
        """Training data that `surrogate.sample` draws from a table."""
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
        """From JSON.

        Raises:
            ValueError: it does not say what a network was trained on.
        """
        # Files written before specimens could differ have no rmsd of their own.
        training = TypeAdapter(cls).validate_python(parse_json(text))
        training.check()
        return training

    def check(self) -> None:
        """Refuse what no network was trained on.

        Raises:
            ValueError: saying what.
        """
        numbers = {e.atomic_number for e in ELEMENTS.values()}
        codes = {z.code for z in ZONE_AXES.values()}
        for number, code, thickest in self.specimens:
            if number not in numbers or code not in codes or not 1 <= thickest <= MOST_ATOMS:
                raise ValueError(f"training: no specimen {(number, code, thickest)}")
        if not 1 <= len(self.specimens) <= len(numbers) * len(codes):
            raise ValueError(f"training: {len(self.specimens)} specimens")
        names = [name for name, *_ in self.limits]
        if len(set(names)) < len(names) or not set(names) <= set(VECTOR_ORDER[2:]):
            raise ValueError(f"training: limits of {shown(names)}")
        if len(self.rmsd_angstrom) not in (0, len(self.specimens)):
            raise ValueError("training: not one range of rmsd for each specimen")
        for low, high in [*((low, high) for _, low, high in self.limits), *self.rmsd_angstrom]:
            if not -1e9 <= low <= high <= 1e9:
                raise ValueError(f"training: from {low:g} to {high:g}")


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
        ("inner_mrad", LEAST_INNER_MRAD, LARGEST_MRAD - LEAST_WIDTH_MRAD),
        ("outer_mrad", LEAST_INNER_MRAD + LEAST_WIDTH_MRAD, LARGEST_MRAD),
        ("rmsd_angstrom", 0.075, 0.15),
    ),
)
"""Table 1 of the paper, as far as its detectors of 10 mrad at least allow; its voltages are 60, 80,
100, 120, 200 and 300 kV. What the published network was trained on."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class NetworkModel:
    """A network and its weights. A pytree; jit, vmap and grad apply to `curve`.

    Attributes:
        params, network: weights, and what they are of.
        training: what it was trained on.
        error: how far it is off, where that is known.
    """

    kind: ClassVar[str] = "network"
    gathers: ClassVar[bool] = False

    def __repr__(self) -> str:
        size = f"{self.network.layers} layers, growth {self.network.growth}"
        return f"NetworkModel({size}; {self.trained_range.names()})"

    params: Params
    network: DenseNet = field(metadata={"static": True})
    training: Training = field(default=TABLE_1, metadata={"static": True})
    error: ErrorModel | None = field(default=None, metadata={"static": True})

    @jax.jit
    def curve(self, x: Float[Array, " 9"]) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms; NaN for what was not trained.

        C30 and C10 are taken as 0, whatever x says: PPISCS does not depend on them, and what a
        network has learned of them is part of its error. `network.apply` depends on them.
        """
        x = jnp.asarray(x)
        inputs = x.astype(jnp.float32).at[jnp.array(ABERRATIONS)].set(0)
        curve = jnp.asarray(self.network.apply({"params": self.params}, inputs))
        specimens = jnp.asarray(self.training.specimens)
        same = jnp.all(specimens[:, :2] == x[SPECIMEN], axis=1)
        exists = jnp.arange(curve.shape[-1]) < jnp.max(jnp.where(same, specimens[:, 2], 0))
        return jnp.where(self.trained_range.holds(x) & exists, curve, jnp.nan)

    @jax.jit
    def standard_error(
        self, x: Float[Array, " 9"], curve: Float[Array, " n"] | None = None
    ) -> Float[Array, " n"]:
        """Standard error of `curve` [Å²]; NaN where it is not known, as of published networks.

        Errors at different thicknesses are strongly correlated: see `error_modes`. Where the curve
        is known already, it need not be computed again.
        """
        curve = self.curve(x) if curve is None else curve
        if self.error is None:
            return jnp.full_like(curve, jnp.nan)
        return self.error.standard_error(jnp.asarray(x), curve)

    def error_modes(
        self, x: Float[Array, " 9"], standard_error: Float[Array, " n"] | None = None
    ) -> Float[Array, "modes n"]:
        """Modes of the error of `curve` [Å²], as `AdditiveModel.error_modes`.

        No modes where the error is not known.
        """
        if self.error is None:
            return jnp.zeros((0, self.network.outputs))
        return error_modes(self.standard_error(x) if standard_error is None else standard_error)

    @cached_property
    def trained_range(self) -> TrainedRange:
        """Outside of it, predictions are NaN. C30 and C10 have no range: they do not count."""
        return TrainedRange(
            specimens=tuple((z, code) for z, code, _ in self.training.specimens),
            limits={
                name: (low, high)
                for name, low, high in self.training.limits
                if column(name) not in ABERRATIONS
            },
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
    path: str | Path,
    network: DenseNet,
    params: Params,
    training: Training,
    about: str,
    error: ErrorModel | None = None,
) -> None:
    """Write a densely connected swish network to a .npz file, whole or not at all.

    Weights are rounded to half precision; `about` is text that goes with them, `error` says how
    far the network is off, where that is known.

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
    arrays |= {"shift": np.array(network.shift), "scale": np.array(network.scale)}
    must_fit(layers_schema(len(params)), arrays, "network")
    training.check()
    if error is not None:
        arrays["error"] = np.array(json.dumps(dataclasses.asdict(error)))
    save_npz(
        path,
        format=np.array(FORMAT),
        about=np.array(about),
        training=np.array(training.text()),
        **arrays,
    )


def load_network(path: str | Path) -> NetworkModel:
    """A network from a file of `save_network`.

    Raises:
        InputError: the file holds no such network, or is damaged.
        FileNotFoundError: there is no such file.
    """
    with reading_npz(path, FORMAT, "a network") as arrays:
        layers = sum(name.startswith("kernel_") for name in arrays.names)
        read = arrays.read(layers_schema(layers))
        kernels, biases = (
            [read[f"{part}_{i}"].astype(np.float32) for i in range(layers)] for part in PARTS
        )
        network, params = assembled(path, kernels, biases, read["shift"], read["scale"])
        training = Training.from_text(arrays.text("training"))
        # Files written before errors were known have none.
        error = ErrorModel.from_text(arrays.text("error")) if "error" in arrays.names else None
    return NetworkModel(jax.tree.map(jnp.asarray, params), network, training, error)
