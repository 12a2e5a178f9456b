"""Errors of surrogates on fresh simulations: histograms, average and worst cases (Figs. 4 to 8).

Writes scores.csv, result.json, errors.png (all surrogates), and of the surrogate that `figures_of`
names histograms.png (Fig. 4), average.png (Figs. 5 and 6) and worst.png (Figs. 7 and 8).

    python -m experiments.surrogate_errors.run [--config FILE] [--out FOLDER]
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

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
from ppiscs_jax.surrogate.evaluate import HeldOut, load_held_out, score


class Config(Model):
    """What the config may say."""

    held_out: str
    surrogates: Annotated[list[str], Field(min_length=1)]
    figures_of: str
    least_width_mrad: PositiveFloat
    bins: PositiveInt

    @model_validator(mode="after")
    def _figures_of_one_of_them(self) -> Self:
        if self.figures_of not in self.surrogates:
            raise ValueError(f"figures_of = {self.figures_of!r}: must be one of the surrogates")
        return self


def plain_l1n(predicted: np.ndarray, held_out: HeldOut) -> np.ndarray:
    """Eq. 2 of the paper, the noise of the simulations included, (simulations, detectors)."""
    shared = min(predicted.shape[-1], held_out.ppiscs.shape[-1])
    error = np.abs(predicted[..., :shared] - held_out.ppiscs[..., :shared])
    known = np.isfinite(error)
    sums = np.sum(error, axis=-1, where=known)
    largest = np.nanmax(held_out.ppiscs, axis=-1)
    return np.divide(
        sums, np.sum(known, axis=-1) * largest, out=np.full_like(sums, np.nan), where=known.any(-1)
    )


def summary(
    name: str, scores: np.ndarray, plain: np.ndarray, chosen: np.ndarray, what: str
) -> dict[str, Any]:
    """A row: mean, median, 99th percentile and largest of the scores that are known.

    The curves of a simulation share its errors: the mean's standard error is taken over
    simulations.
    """
    some = chosen & np.isfinite(scores)
    known = scores[some]
    of_simulations = np.array([s[c].mean() for s, c in zip(scores, some, strict=True) if np.any(c)])
    n = len(of_simulations)
    return {
        "surrogate": name,
        "curves of": what,
        "simulations": n,
        "curves": len(known),
        "mean": float(known.mean()),
        "its_standard_error": float(of_simulations.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        "median": float(np.median(known)),
        "percentile_99": float(np.quantile(known, 0.99)),
        "largest": float(known.max()),
        "below_4e-3": float(np.mean(known < 4e-3)),
        "mean_l1n": float(plain[some].mean()),
    }


def rows_of(
    name: str, scores: np.ndarray, plain: np.ndarray, held_out: HeldOut, least_width: float
) -> list[dict]:
    """Summaries for wide and narrow detectors, and for wide ones by specimen."""
    wide = held_out.wide(least_width)
    chosen_by = {f"detectors ≥ {least_width:g} mrad wide": wide, "narrower detectors": ~wide}
    for settings, chosen in specimens_of(held_out, scores).items():
        chosen_by[f"{settings.element} [{settings.zone_axis}]"] = wide & chosen
    return [
        summary(name, scores, plain, chosen, what)
        for what, chosen in chosen_by.items()
        if np.any(np.isfinite(scores[chosen]))
    ]


def run(config: Config, out: Path) -> None:
    """Score all surrogates on the same curves."""
    held_out = load_held_out(ROOT / config.held_out)
    surrogates = surrogates_of(config.surrogates)
    predictions = {
        name: np.asarray(predict(held_out.x, surrogate=surrogate), dtype=float)
        for name, surrogate in surrogates.items()
    }
    scores = {
        name: score(values, held_out.ppiscs, held_out.standard_error)
        for name, values in predictions.items()
    }
    rows = [
        row
        for name, values in scores.items()
        for row in rows_of(
            name, values, plain_l1n(predictions[name], held_out), held_out, config.least_width_mrad
        )
    ]
    show_rows(rows)
    save_csv(out / "scores.csv", rows)
    content = {
        "config": config.model_dump(),
        "provenance": provenance(surrogates=config.surrogates),
        "rows": rows,
    }
    save_json(out / "result.json", content | {"held_out": json.loads(held_out.about)})
    shown, wide = scores[config.figures_of], held_out.wide(config.least_width_mrad)
    save_figure(
        out / "errors.png", draw_surrogates(predictions, scores, held_out, wide, config.bins)
    )
    save_figure(out / "histograms.png", draw_specimens(shown, held_out, config.bins))
    for title, choose in (("average", nearest_to_mean), ("worst", np.nanargmax)):
        figure = draw_cases(predictions, scores, held_out, shown, choose)
        save_figure(out / f"{title}.png", figure)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
