"""What measurement errors of the settings do to PPISCS (the paper's Fig. 11).

Settings are drawn uniformly within their errors, all of them together and each alone, and the
standard deviation of the curves is reported for each thickness. Writes std.csv, result.json and
setting_uncertainty.png.

    python -m experiments.setting_uncertainty.run [--config FILE] [--out FOLDER]
"""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat
from rich.table import Table

from experiments.common import (
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    surrogate_of,
    wide_console,
)
from experiments.setting_uncertainty.figure import draw
from ppiscs_jax.config import Model
from ppiscs_jax.errors import InputError
from ppiscs_jax.inverse.config import FitConfig
from ppiscs_jax.inverse.problem import Problem
from ppiscs_jax.inverse.uncertainty import Spread, prior_samples, propagate
from ppiscs_jax.settings_config import Nominal
from ppiscs_jax.surrogate.additive import AdditiveModel
from ppiscs_jax.surrogate.predict import predict

ALL = "all"
"""Name of what all errors do together."""


class Config(Model):
    """What the config may say."""

    seed: NonNegativeInt
    surrogate: str
    draws: Annotated[int, Field(ge=2)]
    std: Annotated[dict[str, PositiveFloat], Field(min_length=1)]
    settings: Annotated[list[Nominal], Field(min_length=1)]


def problems_of(config: Config) -> list[dict[str, Problem]]:
    """For each of the settings, what all errors leave open and what each does alone."""
    stds = {ALL: config.std, **{name: {name: std} for name, std in config.std.items()}}
    found, problems = [], []
    for i, nominal in enumerate(config.settings):
        try:
            given = {name: FitConfig(nominal=nominal, std=std) for name, std in stds.items()}
            found.append({name: each.half_widths() for name, each in given.items()})
        except InputError as error:
            problems += [f"settings[{i}]: {problem}" for problem in error.problems]
    if problems:
        raise InputError(dict.fromkeys(problems))
    return found


def spreads(config: Config, model: AdditiveModel, problems: dict[str, Problem]) -> dict[str, Any]:
    """The nominal curve and, by what varies, its spread; thicknesses that exist alone."""
    nominal = predict(problems[ALL].x, surrogate=model, outside="raise").astype(float)
    there = np.isfinite(nominal)
    found = {}
    for i, (name, problem) in enumerate(problems.items()):
        samples = prior_samples(problem, jax.random.key(config.seed + i), config.draws)
        spread = propagate(model.curve, problem, samples)
        found[name] = Spread(*(values[there] for values in spread))
    return {"nominal": nominal[there], "spreads": found}


def rows_of(case: int, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Standard deviations at each thickness."""
    return [
        {
            "settings": case,
            "n_atoms": n + 1,
            "ppiscs_angstrom2": float(found["nominal"][n]),
            "std_error_angstrom2": float(found["spreads"][ALL].std_error[n]),
            **{f"std_{name}_angstrom2": float(s.std[n]) for name, s in found["spreads"].items()},
        }
        for n in range(len(found["nominal"]))
    ]


def summary_of(case: int, found: dict[str, Any]) -> dict[str, Any]:
    """Results for one of the settings.

    `falls` is how far the standard deviation falls below what it had reached at fewer atoms, at
    most, in parts of its maximum. One count is the local slope of the curve.
    """
    nominal, spread = found["nominal"], found["spreads"][ALL]
    slope = np.gradient(nominal)
    above = np.flatnonzero(2 * spread.std > np.abs(slope))
    return {
        "settings": case,
        "atoms": len(nominal),
        "std_percent_of_value": {
            "1 atom": float(100 * spread.std[0] / nominal[0]),
            "thickest": float(100 * spread.std[-1] / nominal[-1]),
        },
        "falls_percent": float(
            100 * np.max(np.maximum.accumulate(spread.std) - spread.std) / spread.std.max()
        ),
        "half_a_count_from_atoms": int(above[0]) + 1 if len(above) else None,
        "share_of_variance_at_thickest": {
            name: float((s.std[-1] / spread.std[-1]) ** 2)
            for name, s in found["spreads"].items()
            if name != ALL
        },
    }


def show(summaries: list[dict[str, Any]]) -> None:
    """Print the summaries."""
    table = Table(
        title="Standard deviation of PPISCS by measurement errors",
        caption="right: what part of the variance at the thickest each of the errors makes alone",
    )
    for heading in ("settings", "atoms", "at 1 atom [%]", "thickest [%]", "falls by [%]",
                    "half a count from n ="):  # fmt: skip
        table.add_column(heading, justify="right")
    names = list(summaries[0]["share_of_variance_at_thickest"])
    for name in names:
        table.add_column(f"{name.rpartition('_')[0]}\n[%]", justify="right")
    for s in summaries:
        table.add_row(
            str(s["settings"]),
            str(s["atoms"]),
            *(f"{v:.2f}" for v in s["std_percent_of_value"].values()),
            f"{s['falls_percent']:.2f}",
            str(s["half_a_count_from_atoms"] or "never"),
            *(f"{100 * s['share_of_variance_at_thickest'][name]:.1f}" for name in names),
        )
    wide_console().print(table)


def run(config: Config, out: Path) -> None:
    """Draw, predict, print, save."""
    problems = problems_of(config)
    model = surrogate_of(config.surrogate)
    found = [spreads(config, model, each) for each in problems]
    rows = [row for i, each in enumerate(found) for row in rows_of(i, each)]
    summaries = [summary_of(i, each) for i, each in enumerate(found)]
    show(summaries)
    save_csv(out / "std.csv", rows)
    save_json(
        out / "result.json",
        {
            "config": config.model_dump(),
            "provenance": provenance(surrogates=[config.surrogate]),
            "summary": summaries,
        },
    )
    save_figure(out / "setting_uncertainty.png", draw(config.model_dump(), rows))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
