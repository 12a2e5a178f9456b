"""PPISCS against the number of atoms, each of the settings varied alone (the paper's Fig. 9).

By a surrogate. Writes curves.csv, result.json and sensitivity.png.

    python -m experiments.sensitivity.run [--config FILE] [--out FOLDER]
"""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt
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
from experiments.sensitivity.figure import draw
from ppiscs_jax.config import Model
from ppiscs_jax.errors import InputError
from ppiscs_jax.settings import Settings, column
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.surrogate.predict import predict

Numbers = Annotated[list[float], Field(min_length=1)]


class Standard(Illuminated):
    """What holds where nothing else is said."""

    c30_mm: float
    c10_angstrom: float
    inner_mrad: float
    outer_mrad: float


class Vary(Model):
    """Values of each panel."""

    element: Annotated[list[str], Field(min_length=1)]
    voltage_kv: Numbers
    c30_mm: Numbers
    c10_angstrom: Numbers
    convergence_mrad: Numbers
    inner_mrad: Numbers
    outer_mrad: Numbers
    rmsd_angstrom: Numbers


class Config(Model):
    """What the config may say."""

    surrogate: str
    told_at: Annotated[list[PositiveInt], Field(min_length=1)]
    standard: Standard
    vary: Vary


def settings_of(config: Config) -> list[tuple[str, Settings]]:
    """All curves' settings, each with the field that varies; InputError names all bad ones."""
    standard, varied, problems = config.standard.model_dump(), [], []
    for field, values in config.vary.model_dump().items():
        for value in values:
            try:
                varied.append((field, Settings(**{**standard, field: value})))
            except InputError as error:
                problems += [f"vary.{field} = {value}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(dict.fromkeys(problems))
    return varied


def nonlinearity(curve: np.ndarray) -> float:
    """Largest distance from the nearest straight line through 0, over the maximum."""
    n = np.arange(1, len(curve) + 1)
    line = n * (n @ curve) / (n @ n)
    return float(np.max(np.abs(curve - line)) / np.max(curve))


def fall_percent(curve: np.ndarray) -> float:
    """How far a curve falls below what it had reached, at most, in parts of its maximum [%]."""
    return float(100 * np.max(np.maximum.accumulate(curve) - curve) / np.max(curve))


def curve_rows(varied: list[tuple[str, Settings]], curves: np.ndarray) -> list[dict[str, Any]]:
    """Results for each curve."""
    return [
        {
            "varied": field,
            "value": getattr(settings, field),
            "nonlinearity": nonlinearity(curve),
            "highest_at_atoms": int(np.argmax(curve)) + 1,
            "fall_percent": fall_percent(curve),
        }
        for (field, settings), curve in zip(varied, curves, strict=True)
    ]


def panel_rows(
    config: Config, varied: list[tuple[str, Settings]], curves: np.ndarray
) -> list[dict[str, Any]]:
    """How much, and with which power, PPISCS goes with what a panel varies.

    Spreads are (highest − lowest) / mean over the values. Powers are slopes of log PPISCS
    against the logarithm of the value (of Z for elements), where that exists.
    """
    rows = []
    reported = np.array(config.told_at) - 1
    for field in Vary.model_fields:
        chosen = [i for i, (name, _) in enumerate(varied) if name == field]
        mine = curves[chosen]
        spread = 100 * np.ptp(mine, axis=0) / mine.mean(axis=0)
        values = np.array([varied[i][1].to_vector()[column(field)] for i in chosen])
        power = None
        if np.all(values > 0) and len(values) > 1:
            power = np.polyfit(np.log(values), np.log(mine[:, reported]), 1)[0].tolist()
        rows.append(
            {
                "varied": field,
                "spread_percent": spread[reported].tolist(),
                "largest_spread_percent": float(spread.max()),
                "power": power,
            }
        )
    return rows


def show(config: Config, panels: list[dict[str, Any]]) -> None:
    """Print spreads and powers."""
    table = Table(title="PPISCS when one of the settings varies alone")
    table.add_column("varied")
    for heading in ("spread [%]", "power"):
        for n in config.told_at:
            table.add_column(f"{heading}\nn = {n}", justify="right")
    for panel in panels:
        powers = panel["power"] or [None] * len(config.told_at)
        table.add_row(
            panel["varied"],
            *(f"{s:.3g}" for s in panel["spread_percent"]),
            *("" if p is None else f"{p:+.2f}" for p in powers),
        )
    wide_console().print(table)


def run(config: Config, out: Path) -> None:
    """Predict, print, save."""
    varied = settings_of(config)
    x = np.array([settings.to_vector() for _, settings in varied])
    curves = predict(x, surrogate=surrogate_of(config.surrogate), outside="raise").astype(float)
    curves = curves[:, np.all(np.isfinite(curves), axis=0)]
    if max(config.told_at) > curves.shape[1]:
        raise InputError(f"told_at = {config.told_at}: must be up to {curves.shape[1]} atoms")
    rows, panels = curve_rows(varied, curves), panel_rows(config, varied, curves)
    show(config, panels)
    save_csv(
        out / "curves.csv",
        [
            {
                "varied": row["varied"],
                "value": row["value"],
                **{f"n={n}": float(v) for n, v in enumerate(curve, 1)},
            }
            for row, curve in zip(rows, curves, strict=True)
        ],
    )
    save_json(
        out / "result.json",
        {
            "config": config.model_dump(),
            "provenance": provenance(surrogates=[config.surrogate]),
            "panels": panels,
            "curves": rows,
        },
    )
    save_figure(out / "sensitivity.png", draw(config.model_dump(), rows, curves))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
