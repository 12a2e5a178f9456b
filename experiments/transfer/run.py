"""Transfer: a new zone axis learned from the shipped network with a tenth of the data.

Learning curves of the shipped weights and of random ones, each on all kernels of a specimen and
on a few, all tested on all kernels. Each training goes on where it was stopped. Writes
learning.csv, result.json and transfer.png.

    python -m experiments.transfer.run [--config FILE] [--out FOLDER]
"""

import json
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field, PositiveFloat
from rich.table import Table

from experiments.common import (
    ROOT,
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    tidy,
    wide_console,
)
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.config import Model
from ppiscs_jax.errors import InputError
from ppiscs_jax.plots.curves import COLOURS
from ppiscs_jax.surrogate.network import NetworkModel
from ppiscs_jax.surrogate.predict import load_surrogate
from ppiscs_jax.surrogate.recipe import Architecture, Recipe
from ppiscs_jax.surrogate.sample import split_cells
from ppiscs_jax.surrogate.table import KernelTable, load_table
from ppiscs_jax.surrogate.train import METRICS_FILE, test, train

Nodes = Annotated[list[PositiveFloat], Field(min_length=1)]


class Config(Model):
    """What the config may say."""

    surrogate: str
    data: str
    tenth_voltages_kv: Nodes
    tenth_rmsd_angstrom: Nodes
    training: Recipe


def padded(table: KernelTable, outputs: int) -> KernelTable:
    """The table with as many thicknesses as a network has; those added do not exist.

    Raises:
        InputError: the network has fewer.
    """
    more = outputs - table.beyond.shape[-1]
    if more < 0:
        raise InputError(f"surrogate: its {outputs} thicknesses are fewer than the data's")

    def pad(array):
        return np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, more)])

    return replace(table, beyond=pad(table.beyond), unscattered=pad(table.unscattered))


def part(table: KernelTable, voltages: list[float], rmsd: list[float]) -> KernelTable:
    """Some of a table's nodes; raises InputError for others."""
    at = []
    for name, wanted, nodes in (
        ("tenth_voltages_kv", voltages, np.asarray(table.voltages_kv)),
        ("tenth_rmsd_angstrom", rmsd, np.asarray(table.rmsd_angstrom[0])),
    ):
        near = np.array([np.argmin(np.abs(nodes - value)) for value in wanted])
        if not np.allclose(nodes[near], wanted):
            raise InputError(f"{name} = {wanted}: must be among {nodes.tolist()}")
        at.append(near)
    some = np.ix_(range(len(table.thickest)), *at)
    return replace(
        table,
        beyond=np.asarray(table.beyond)[some],
        unscattered=np.asarray(table.unscattered)[some],
        voltages_kv=np.asarray(table.voltages_kv)[at[0]],
        rmsd_angstrom=np.asarray(table.rmsd_angstrom)[:, at[1]],
    )


def learning(folder: Path) -> list[tuple[int, float]]:
    """Steps and L1n of the tests in a training's metrics, the last of each step."""
    lines = (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return sorted({e["step"]: e["test"]["l1n"] for e in entries if "test" in e}.items())


def draw(curves: dict[tuple[str, str], list[tuple[int, float]]]) -> Figure:
    """Error against steps."""
    figure = Figure(figsize=(5.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for (start, data), points in curves.items():
        colour = COLOURS[0] if start == "shipped weights" else COLOURS[1]
        style = "-" if data == "all" else "--"
        steps, errors = zip(*points, strict=True)
        axes.plot(steps, errors, style, color=colour, label=f"{start}, {data} kernels")
    axes.set_yscale("log")
    axes.set_xlabel("Steps")
    axes.set_ylabel("L1n on all kernels")
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=2)
    tidy(axes)
    return figure


def run(config: Config, out: Path) -> None:
    """Train four times, and show."""
    model = load_surrogate(config.surrogate)
    if not isinstance(model, NetworkModel):
        raise InputError(f"surrogate = {config.surrogate!r}: must be a network")
    network = model.network
    whole = padded(load_table(kernel_files(ROOT / config.data)), network.outputs)
    few = part(whole, config.tenth_voltages_kv, config.tenth_rmsd_angstrom)
    kernels = {"all": whole.beyond[..., 0, 0, 0].size, "few": few.beyond[..., 0, 0, 0].size}
    recipe = config.training.model_copy(
        update={"network": Architecture(growth=network.growth, layers=network.layers)}
    )
    if recipe.network.network(network.outputs) != network:
        raise InputError(
            "surrogate: its inputs are shifted and scaled in other ways than published"
        )
    curves = {}
    starts = {"shipped weights": model.params, "random weights": None}
    for (start, params), (data, table) in product(
        starts.items(), {"all": whole, "few": few}.items()
    ):
        name = data if data == "all" else f"{kernels['few']} of {kernels['all']}"
        folder = out / "trainings" / f"{start.split()[0]}_{data}"
        train(recipe, table, folder, start=params, tested=whole)
        curves[start, name] = learning(folder)
        print(f"{start}, {name} kernels: L1n {curves[start, name][-1][1]:.2e}", flush=True)
    cells, _ = split_cells(whole, 0.0, recipe.seed)
    untrained = float(test(recipe, model.params, whole, cells).l1n)
    rows: list[dict[str, Any]] = [
        {"start": start, "kernels": data, "step": step, "test_l1n": error}
        for (start, data), points in curves.items()
        for step, error in points
    ]
    shown = Table("start", "kernels", "first test", "last test")
    for (start, data), points in curves.items():
        shown.add_row(start, data, *(f"{points[i][1]:.2e}" for i in (0, -1)))
    wide_console().print(shown)
    print(f"shipped weights as they are: {untrained:.2e}")
    save_csv(out / "learning.csv", rows)
    content = {"config": config.model_dump(mode="json"), "provenance": provenance("flax", "optax")}
    save_json(out / "result.json", content | {"untrained_l1n": untrained, "rows": rows})
    save_figure(out / "transfer.png", draw(curves))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
