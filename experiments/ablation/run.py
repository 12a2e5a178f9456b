"""Ablation of the network's architecture: growth rate, layers, connections, activation (Fig. 3).

Trains every network as [training] says and tests it on cells (element, zone axis, voltage) that
none was trained on. Each training goes on where it was stopped. Writes ablation.csv, result.json
and ablation.png.

    python -m experiments.ablation.run [--config FILE] [--out FOLDER]
"""

import sys
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from pydantic import Field, PositiveInt

from experiments.common import (
    ROOT,
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    show_rows,
    tidy,
)
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.config import Model
from ppiscs_jax.errors import InputError
from ppiscs_jax.plots.curves import COLOURS
from ppiscs_jax.surrogate.densenet import number_of_parameters
from ppiscs_jax.surrogate.recipe import Architecture, Recipe
from ppiscs_jax.surrogate.sample import split_cells
from ppiscs_jax.surrogate.table import KernelTable, load_table
from ppiscs_jax.surrogate.train import test, train

Some = Annotated[list[PositiveInt], Field(min_length=1)]


class Config(Model):
    """What the config may say."""

    data: str
    growths: Some
    layers_of_growths: Annotated[int, Field(ge=2)]
    connections: Annotated[list[Literal["densely", "fully"]], Field(min_length=1)]
    activations: Annotated[list[Literal["swish", "relu"]], Field(min_length=1)]
    layers: Annotated[list[Annotated[int, Field(ge=2)]], Field(min_length=1)]
    growth_of_layers: PositiveInt
    training: Recipe

    def networks(self) -> list[Architecture]:
        """All architectures, each once."""
        found = [
            Architecture(
                growth=growth,
                layers=self.layers_of_growths,
                activation=activation,
                densely=connection == "densely",
            )
            for connection, activation, growth in product(
                self.connections, self.activations, self.growths
            )
        ]
        deeper = (Architecture(growth=self.growth_of_layers, layers=n) for n in self.layers)
        return found + [network for network in deeper if network not in found]


def name_of(network: Architecture) -> str:
    """Of a training's folder."""
    kind = "densely" if network.densely else "fully"
    return f"{kind}_{network.activation}_G{network.growth}_n{network.layers}"


def measure(recipe: Recipe, table: KernelTable, cells: Any, folder: Path) -> dict[str, Any]:
    """Train a network, and test it on cells held out; its row."""
    network = recipe.network
    params = train(recipe, table, folder)
    terms = test(recipe, params, table, cells)
    return {
        "connections": "densely" if network.densely else "fully",
        "activation": network.activation,
        "growth": network.growth,
        "layers": network.layers,
        "parameters": number_of_parameters(params),
        "test_l1n": float(terms.l1n),
        "test_l1log": float(terms.l1log),
        "test_constraint": float(terms.constraint),
    }


def draw(config: Config, rows: list[dict[str, Any]]) -> Figure:
    """Fig. 3: error against the number of parameters, growth rates and layers."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    growths, layers = figure.subplots(1, 2, sharey=True)
    kinds = product(config.connections, config.activations)
    for (connection, activation), colour in zip(kinds, COLOURS, strict=False):
        kind = (connection, activation, config.layers_of_growths)
        chosen = [
            row
            for row in rows
            if (row["connections"], row["activation"], row["layers"]) == kind
            and row["growth"] in config.growths
        ]
        style = "-" if connection == "densely" else "--"
        label = f"{connection} connected, {activation}"
        draw_line(growths, chosen, "growth", colour=colour, style=style, label=label)
    chosen = [
        row
        for row in rows
        if (row["connections"], row["activation"], row["growth"])
        == ("densely", "swish", config.growth_of_layers)
    ]
    draw_line(layers, sorted(chosen, key=lambda row: row["layers"]), "layers")
    growths.set_title(f"(a) growth rates G, {config.layers_of_growths} layers", fontsize=9)
    layers.set_title(f"(b) numbers of layers, G = {config.growth_of_layers}", fontsize=9)
    growths.set_ylabel("L1n of cells not trained on")
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=4)
    for axes in (growths, layers):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("Parameters")
        tidy(axes)
    return figure


def draw_line(axes, rows, told, colour=COLOURS[0], style="-", label=None) -> None:
    """Points with what they differ in beside them."""
    x, y = ([row[key] for row in rows] for key in ("parameters", "test_l1n"))
    axes.plot(x, y, style, marker="o", markersize=4, color=colour, label=label)
    for row in rows:
        axes.annotate(
            str(row[told]),
            (row["parameters"], row["test_l1n"]),
            textcoords="offset points",
            xytext=(4, 4),
            fontsize=7,
            color=colour,
        )


def run(config: Config, out: Path) -> None:
    """Train all, and show."""
    table = load_table(kernel_files(ROOT / config.data))
    _, cells = split_cells(table, config.training.held_out, config.training.seed)
    if not len(cells):
        raise InputError(
            f"training.held_out = {config.training.held_out:g}: holds out none of the data's "
            f"{table.beyond.shape[0] * table.beyond.shape[1]} cells; must be larger"
        )
    rows = []
    for network in config.networks():
        recipe = config.training.model_copy(update={"network": network})
        rows.append(measure(recipe, table, cells, out / "trainings" / name_of(network)))
        jax.clear_caches()  # compiled programs of dozens of networks would add up
        print(name_of(network), f"{rows[-1]['test_l1n']:.3e}", flush=True)
    show_rows(rows)
    save_csv(out / "ablation.csv", rows)
    content = {"config": config.model_dump(mode="json"), "provenance": provenance("flax", "optax")}
    save_json(out / "result.json", content | {"rows": rows})
    save_figure(out / "ablation.png", draw(config, rows))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
