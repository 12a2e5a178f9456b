"""What training examples cover: Table 1's ranges, the smallest and the largest curve (Fig. 2).

Writes ranges.csv, curves.csv, result.json and data_ranges.png.

    python -m experiments.data_ranges.run [--config FILE] [--out FOLDER]
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from pydantic import PositiveInt, model_validator

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
from ppiscs_jax import Settings
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.config import Model
from ppiscs_jax.plots.curves import COLOURS
from ppiscs_jax.settings import VECTOR_ORDER
from ppiscs_jax.surrogate.sample import sample, split_cells
from ppiscs_jax.surrogate.table import KernelTable, load_table

TABLE_1 = {
    "voltage_kv": (60, 300),
    "c30_mm": (-1e-3, 1e-3),
    "c10_angstrom": (-100, 100),
    "convergence_mrad": (17.5, 35.5),
    "inner_mrad": (18, 250),
    "outer_mrad": (28, 250),
    "rmsd_angstrom": (0.075, 0.15),
}
"""Of Lobato, De Backer & Van Aert (2023)."""

ENDS = ("smallest", "largest")


class Config(Model):
    """What the config may say."""

    data: str
    seed: int
    settings: PositiveInt
    at_once: PositiveInt

    @model_validator(mode="after")
    def _whole_parts(self) -> "Config":
        if self.settings % self.at_once:
            raise ValueError(f"settings = {self.settings}: must be a multiple of at_once")
        return self


def draw_examples(config: Config, table: KernelTable) -> dict[str, Any]:
    """Ranges of the inputs, and the curves of smallest and largest maximum."""
    cells, _ = split_cells(table, 0.0, config.seed)
    found: dict[str, Any] = {"low": np.inf, "high": -np.inf, "smallest": None, "largest": None}
    top_of: dict[str, float] = {"smallest": np.inf, "largest": 0.0}
    for part in range(config.settings // config.at_once):
        key = jax.random.fold_in(jax.random.key(config.seed), part)
        x, y, exists = (np.asarray(a) for a in sample(table, cells, key, config.at_once))
        found["low"] = np.minimum(found["low"], x.min(axis=(0, 1)))
        found["high"] = np.maximum(found["high"], x.max(axis=(0, 1)))
        tops = y.max(axis=-1)
        for end, choose in zip(ENDS, (np.argmin, np.argmax), strict=True):
            at = np.unravel_index(choose(tops), tops.shape)
            if choose([top_of[end], tops[at]]) == 1:
                top_of[end] = float(tops[at])
                there = exists[at[0], 0]
                found[end] = {"x": x[at].tolist(), "ppiscs": y[at][there].tolist()}
    return found


def ranges_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows: what was drawn, beside Table 1."""
    return [
        {
            "field": field,
            "lowest": float(found["low"][i]),
            "highest": float(found["high"][i]),
            "table_1_lowest": TABLE_1[field][0],
            "table_1_highest": TABLE_1[field][1],
        }
        for i, field in enumerate(VECTOR_ORDER)
        if field in TABLE_1
    ]


def draw(found: dict[str, Any]) -> Figure:
    """Fig. 2."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    for axes, end in zip(figure.subplots(1, 2), ENDS, strict=True):
        s, curve = Settings.from_vector(found[end]["x"]), found[end]["ppiscs"]
        axes.plot(range(1, len(curve) + 1), curve, "-", color=COLOURS[0])
        axes.set_title(
            f"{end}: {s.element} [{s.zone_axis}], {s.voltage_kv:g} kV, "
            f"α {s.convergence_mrad:.1f},\n{s.inner_mrad:.0f}–{s.outer_mrad:.0f} mrad, "
            f"rmsd {s.rmsd_angstrom:.3f} Å",
            fontsize=8,
        )
        axes.set_xlabel("Number of atoms per column")
        axes.set_ylabel("PPISCS (Å²)")
        axes.set_xlim(0)
        axes.set_ylim(0)
        axes.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
        tidy(axes)
    return figure


def run(config: Config, out: Path) -> None:
    """Draw, print, save."""
    table = load_table(kernel_files(ROOT / config.data))
    found = draw_examples(config, table)
    rows = ranges_of(found)
    show_rows(rows)
    tops = [max(found[end]["ppiscs"]) for end in ENDS]
    print(f"largest over smallest maximum: {tops[1] / tops[0]:.3g}")
    save_csv(out / "ranges.csv", rows)
    curves = [
        {"curve": end, "n_atoms": n, "ppiscs_angstrom2": value}
        for end in ENDS
        for n, value in enumerate(found[end]["ppiscs"], 1)
    ]
    save_csv(out / "curves.csv", curves)
    content = {"config": config.model_dump(), "provenance": provenance(), "ranges": rows}
    ends = {end: dict(zip(VECTOR_ORDER, found[end]["x"], strict=True)) for end in ENDS}
    save_json(out / "result.json", content | ends | {"ratio_of_maxima": tops[1] / tops[0]})
    save_figure(out / "data_ranges.png", draw(found))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
