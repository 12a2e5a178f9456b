"""Ablation of the network (Fig. 3): growth rate, layers, connections, activation, loss terms.

Trains every network on the same examples and tests it on cells (element, zone axis, voltage) that
none was trained on. Networks that are finished are not trained again. Writes ablation.csv,
result.json and ablation.png.

    python -m experiments.ablation.run [--config FILE] [--out FOLDER]
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from pydantic import Field, PositiveInt

from experiments.ablation.networks import Case, Change, Training, drawn, measure
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
from ppiscs_jax.surrogate.recipe import Architecture
from ppiscs_jax.surrogate.sample import split_cells
from ppiscs_jax.surrogate.table import load_table

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
    changes: list[Change] = Field(default_factory=list)
    seeds_of_repeated: Annotated[int, Field(ge=1)] = 1
    training: Training

    def cases(self) -> list[Case]:
        """All networks, each once."""
        kinds = list(product(self.connections, self.activations))
        all_growths = [
            self.case(connection, activation, growth, self.layers_of_growths)
            for (connection, activation), growth in product(kinds, self.growths)
        ]
        all_layers = [self.case("densely", "swish", self.growth_of_layers, n) for n in self.layers]
        reference = self.case("densely", "swish", self.growth_of_layers, self.layers_of_growths)
        repeated = [
            self.case(*kind, self.growth_of_layers, self.layers_of_growths, seed=seed)
            for kind, seed in product(kinds, range(self.seeds_of_repeated))
        ]
        changed = [reference.model_copy(update={"change": change}) for change in self.changes]
        return list(dict.fromkeys([*all_growths, *all_layers, *repeated, *changed]))

    @staticmethod
    def case(connection: str, activation: Any, growth: int, layers: int, seed: int = 0) -> Case:
        """One of the networks."""
        network = Architecture(
            growth=growth,
            layers=layers,
            activation=activation,
            densely=connection == "densely",
        )
        return Case(network=network, seed=seed)


def draw(config: Config, rows: Sequence[dict[str, Any]]) -> Figure:
    """Fig. 3: error against the number of parameters, growth rates and layers; and changes."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    growths, layers, changes = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    usual = [row for row in rows if row["change"] == "none" and row["seed"] == 0]
    kinds = product(config.connections, config.activations)
    for (connection, activation), colour in zip(kinds, COLOURS, strict=False):
        kind = (connection, activation, config.layers_of_growths)
        chosen = [
            row
            for row in usual
            if (row["connections"], row["activation"], row["layers"]) == kind
            and row["growth"] in config.growths
        ]
        style = "-" if connection == "densely" else "--"
        label = f"{connection} connected, {activation.replace('relu', 'ReLU')}"
        draw_line(growths, chosen, "growth", colour=colour, style=style, label=label)
    repeated = [row for row in rows if row["change"] == "none" and row["seed"] > 0]
    x, y = ([row[key] for row in repeated] for key in ("parameters", "test_l1n"))
    growths.plot(x, y, ".", color="0.5", markersize=3, zorder=0)
    chosen = [
        row
        for row in usual
        if (row["connections"], row["activation"], row["growth"])
        == ("densely", "swish", config.growth_of_layers)
    ]
    draw_line(layers, sorted(chosen, key=lambda row: row["layers"]), "layers")
    draw_changes(changes, rows, config)
    growths.set_title(f"(a) growth rates G, {config.layers_of_growths} layers", fontsize=9)
    layers.set_title(f"(b) numbers of layers, G = {config.growth_of_layers}", fontsize=9)
    layers.sharey(growths)
    changes.set_title("(c) changes of the training", fontsize=9)
    growths.set_ylabel("L1n of cells not trained on")
    figure.legend(frameon=False, fontsize=8, loc="outside upper center", ncols=4)
    for axes in (growths, layers):
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        plain_logs(axes.yaxis, (1, 2, 3, 5))
        axes.set_xlabel("Parameters")
        tidy(axes)
    return figure


def draw_line(
    axes: Axes,
    rows: Sequence[dict[str, Any]],
    named: str,
    colour: str = COLOURS[0],
    style: str = "-",
    label: str | None = None,
) -> None:
    """Points with what they differ in beside them."""
    x, y = ([row[key] for row in rows] for key in ("parameters", "test_l1n"))
    axes.plot(x, y, style, marker="o", markersize=4, color=colour, label=label)
    for row in rows:
        axes.annotate(
            str(row[named]),
            (row["parameters"], row["test_l1n"]),
            textcoords="offset points",
            xytext=(4, 4),
            fontsize=7,
            color=colour,
        )


def draw_changes(axes: Axes, rows: Sequence[dict[str, Any]], config: Config) -> None:
    """Errors of the reference, by seeds, and with each of the changes."""
    reference = (config.growth_of_layers, config.layers_of_growths, "densely", "swish")
    like = [
        row
        for row in rows
        if (row["growth"], row["layers"], row["connections"], row["activation"]) == reference
    ]
    names = ["none", *config.changes]
    for place, name in enumerate(names):
        errors = [row["test_l1n"] for row in like if row["change"] == name]
        axes.plot(errors, np.full(len(errors), place), "o", markersize=4, color=COLOURS[0])
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    plain_logs(axes.xaxis, (1, 3))
    axes.set_xlabel("L1n of cells not trained on")
    tidy(axes)


def plain_logs(axis: Axis, multiples: Sequence[int]) -> None:
    """Ticks of a logarithmic axis at multiples of powers of ten, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=multiples))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def run(config: Config, out: Path) -> None:
    """Train all, and show."""
    table = load_table(kernel_files(ROOT / config.data))
    training = config.training
    if not len(split_cells(table, training.held_out, training.seed)[1]):
        raise InputError(
            f"training.held_out = {training.held_out:g}: holds out none of the data's "
            f"{table.beyond.shape[0] * table.beyond.shape[1]} cells; must be larger"
        )
    examples, tests = drawn(table, training)
    del table
    folder = out / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in config.cases():
        path = folder / f"{case.name}.json"
        asked = training.model_dump(mode="json")
        there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if there.get("training") != asked:
            there = {"training": asked, "row": measure(case, training, examples, tests)}
            save_json(path, there)
            jax.clear_caches()  # compiled programs of dozens of networks would add up
        rows.append(there["row"])
        print(case.name, f"{rows[-1]['test_l1n']:.3e}", flush=True)
    show_rows(rows)
    save_csv(out / "ablation.csv", rows)
    content = {"config": config.model_dump(mode="json"), "provenance": provenance("flax", "optax")}
    save_json(out / "result.json", content | {"steps": training.steps, "rows": rows})
    save_figure(out / "ablation.png", draw(config, rows))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
