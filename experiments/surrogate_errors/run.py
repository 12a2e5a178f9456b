"""Errors of surrogates on fresh simulations: histogram, average and worst case (Figs. 4 to 8).

Writes scores.csv, result.json and errors.png.

    python -m experiments.surrogate_errors.run [--config FILE] [--out FOLDER]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import Field, PositiveFloat, PositiveInt
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
from ppiscs_jax import Settings, predict
from ppiscs_jax.config import Model
from ppiscs_jax.plots.curves import COLOURS
from ppiscs_jax.surrogate.evaluate import Checks, load_checks, score
from ppiscs_jax.surrogate.predict import read_surrogate

LEAST_SCORE = 1e-5
"""Smaller scores, among them 0, are drawn there."""


class Config(Model):
    """What the config may say."""

    checks: str
    surrogates: Annotated[list[str], Field(min_length=1)]
    least_width_mrad: PositiveFloat
    bins: PositiveInt


def summary(name: str, scores: np.ndarray, what: str) -> dict[str, Any]:
    """A row: mean, median, 99th percentile and largest of the scores that are known."""
    known = scores[np.isfinite(scores)]
    return {
        "surrogate": name,
        "curves of": what,
        "curves": len(known),
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "percentile_99": float(np.quantile(known, 0.99)),
        "largest": float(known.max()),
    }


def rows_of(name: str, scores: np.ndarray, checks: Checks, least_width: float) -> list[dict]:
    """Summaries for wide and narrow detectors, and for wide ones by specimen."""
    wide = checks.x[..., 7] - checks.x[..., 6] >= least_width
    rows = []
    for what, chosen in (
        (f"detectors ≥ {least_width:g} mrad wide", wide),
        ("narrower detectors", ~wide),
    ):
        if np.any(np.isfinite(scores[chosen])):
            rows.append(summary(name, scores[chosen], what))
    for number, code in np.unique(checks.x[:, 0, :2], axis=0):
        chosen = wide & np.all(checks.x[..., :2] == (number, code), axis=-1)
        if np.any(np.isfinite(scores[chosen])):
            settings = Settings.from_vector(checks.x[chosen][0])
            rows.append(summary(name, scores[chosen], f"{settings.element} [{settings.zone_axis}]"))
    return rows


def draw(predictions: dict[str, np.ndarray], scores: dict[str, np.ndarray], checks: Checks,
         config: Config) -> Figure:  # fmt: skip
    """Histogram, and for the first surrogate a curve of average and the one of largest score."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    histogram, average, worst = figure.subplots(1, 3)
    wide = checks.x[..., 7] - checks.x[..., 6] >= config.least_width_mrad
    edges = np.geomspace(LEAST_SCORE, 0.3, config.bins)
    for (name, values), colour in zip(scores.items(), COLOURS, strict=False):
        known = values[wide & np.isfinite(values)]
        style = {"histtype": "step", "color": colour, "linewidth": 1.4}
        label = f"{Path(name).stem}: mean {known.mean():.1e}"
        histogram.hist(np.clip(known, LEAST_SCORE, None), edges, label=label, **style)
    histogram.set_xscale("log")
    histogram.set_xlabel("Score: L1n without the check's noise")
    histogram.set_ylabel("Curves")
    histogram.legend(frameon=False, fontsize=8)
    first = np.where(wide, next(iter(scores.values())), np.nan)
    mean = np.nanmean(first)
    for axes, index, title in (
        (average, np.nanargmin(abs(first - mean)), "average"),
        (worst, np.nanargmax(first), "worst"),
    ):
        draw_case(axes, np.unravel_index(index, first.shape), predictions, scores, checks, title)
    for axes in (histogram, average, worst):
        tidy(axes)
    return figure


def draw_case(axes: Axes, at: tuple, predictions, scores, checks: Checks, title: str) -> None:
    """One curve, simulated and predicted."""
    s = Settings.from_vector(checks.x[at])
    n = np.arange(1, checks.ppiscs.shape[-1] + 1)
    axes.plot(n, checks.ppiscs[at], "o", color="0.6", markersize=3, label="simulated")
    for (name, values), colour in zip(predictions.items(), COLOURS, strict=False):
        label = f"{Path(name).stem}: {scores[name][at]:.1e}"
        axes.plot(n, values[at], color=colour, linewidth=1.2, label=label)
    axes.set_title(
        f"{title}: {s.element} [{s.zone_axis}], {s.voltage_kv:g} kV, α {s.convergence_mrad:.1f},\n"
        f"{s.inner_mrad:.0f}–{s.outer_mrad:.0f} mrad, rmsd {s.rmsd_angstrom:.3f} Å",
        fontsize=8,
    )
    axes.set_xlabel("Number of atoms per column")
    axes.set_ylabel("PPISCS (Å²)")
    axes.set_xlim(0)
    axes.set_ylim(0)
    axes.legend(frameon=False, fontsize=8)


def run(config: Config, out: Path) -> None:
    """Score all surrogates on the same curves."""
    checks = load_checks(ROOT / config.checks)
    surrogates = {name: read_surrogate(name) for name in config.surrogates}
    predictions = {
        name: np.asarray(predict(checks.x, surrogate=surrogate), dtype=float)
        for name, surrogate in surrogates.items()
    }
    scores = {
        name: score(values, checks.ppiscs, checks.standard_error)
        for name, values in predictions.items()
    }
    rows = [
        row
        for name, values in scores.items()
        for row in rows_of(name, values, checks, config.least_width_mrad)
    ]
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{v:.2e}" if isinstance(v, float) else str(v) for v in row.values()))
    wide_console().print(table)
    save_csv(out / "scores.csv", rows)
    content = {"config": config.model_dump(), "provenance": provenance(), "rows": rows}
    save_json(out / "result.json", content | {"checks": json.loads(checks.about)})
    save_figure(out / "errors.png", draw(predictions, scores, checks, config))


def command(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 if it ran, 2 if it could not."""
    return main(__doc__.splitlines()[0], Path(__file__).parent, Config, run, arguments)


if __name__ == "__main__":
    sys.exit(command())
