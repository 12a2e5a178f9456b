"""Errors of surrogates on fresh simulations: histograms, average and worst cases (Figs. 4 to 8).

Writes scores.csv, result.json, errors.png (all surrogates), and of the first surrogate
histograms.png (Fig. 4), average.png (Figs. 5 and 6) and worst.png (Figs. 7 and 8).

    python -m experiments.surrogate_errors.run [--config FILE] [--out FOLDER]
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import (
    ROOT,
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    show_rows,
    surrogates_of,
)
from experiments.surrogate_errors.figure import (
    draw_cases,
    draw_specimens,
    draw_surrogates,
    nearest_to_mean,
    specimens_of,
)
from ppiscs_jax import predict
from ppiscs_jax.config import Model
from ppiscs_jax.surrogate.evaluate import Checks, load_checks, score


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
    wide = checks.wide(least_width)
    rows = []
    for what, chosen in (
        (f"detectors ≥ {least_width:g} mrad wide", wide),
        ("narrower detectors", ~wide),
    ):
        if np.any(np.isfinite(scores[chosen])):
            rows.append(summary(name, scores[chosen], what))
    for settings, chosen in specimens_of(checks, scores).items():
        known = wide & chosen
        if np.any(np.isfinite(scores[known])):
            specimen = f"{settings.element} [{settings.zone_axis}]"
            rows.append(summary(name, scores[known], specimen))
    return rows


def run(config: Config, out: Path) -> None:
    """Score all surrogates on the same curves."""
    checks = load_checks(ROOT / config.checks)
    surrogates = surrogates_of(config.surrogates)
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
    show_rows(rows)
    save_csv(out / "scores.csv", rows)
    content = {"config": config.model_dump(), "provenance": provenance(), "rows": rows}
    save_json(out / "result.json", content | {"checks": json.loads(checks.about)})
    first, wide = next(iter(scores.values())), checks.wide(config.least_width_mrad)
    save_figure(out / "errors.png", draw_surrogates(predictions, scores, checks, wide, config.bins))
    save_figure(out / "histograms.png", draw_specimens(first, checks, config.bins))
    for title, choose in (("average", nearest_to_mean), ("worst", np.nanargmax)):
        figure = draw_cases(predictions, scores, checks, first, choose)
        save_figure(out / f"{title}.png", figure)


def command(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 if it ran, 2 if it could not."""
    return main(__doc__.splitlines()[0], Path(__file__).parent, Config, run, arguments)


if __name__ == "__main__":
    sys.exit(command())
