"""Probability of miscounting atoms against the inner detector angle (the paper's Fig. 12).

By a surrogate. Writes error_probability.csv, result.json and error_probability.png.

    python -m experiments.error_probability.run [--config FILE] [--out FOLDER]
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt
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
from experiments.error_probability.figure import draw
from ppiscs_jax.config import Model
from ppiscs_jax.errors import InputError
from ppiscs_jax.inverse.design import error_probability_map
from ppiscs_jax.inverse.forward import Forward
from ppiscs_jax.settings import Settings
from ppiscs_jax.settings_config import Illuminated

Numbers = Annotated[list[float], Field(min_length=1)]


class Angles(Model):
    """Evenly spaced angles [mrad]."""

    first: PositiveFloat
    last: PositiveFloat
    step: PositiveFloat

    def values(self) -> np.ndarray:
        """All of them, the last included if it is one."""
        return np.arange(self.first, self.last + self.step / 2, self.step)


class Standard(Illuminated):
    """What holds where nothing else is said."""

    c30_mm: float
    c10_angstrom: float
    outer_mrad: float


class Vary(Model):
    """Values of each panel."""

    outer_mrad: Numbers
    voltage_kv: Numbers
    convergence_mrad: Numbers
    most_atoms: Annotated[list[PositiveInt], Field(min_length=1)]
    element: Annotated[list[str], Field(min_length=1)]
    temperature_k: Numbers


class Config(Model):
    """What the config may say."""

    surrogate: str
    dose_per_angstrom2: PositiveFloat
    n_atoms: tuple[PositiveInt, PositiveInt]
    inner_mrad: Angles
    standard: Standard
    vary: Vary


def specimen(config: Config, field: str, value: Any) -> tuple[Settings, int]:
    """Settings of a curve, and the most atoms that a column of it may have."""
    given = {**config.standard.model_dump(), "inner_mrad": config.inner_mrad.first}
    if field == "most_atoms":
        return Settings(**given), value
    if field == "temperature_k":
        del given["rmsd_angstrom"]
    return Settings(**{**given, field: value}), config.n_atoms[1]


def error_probabilities(config: Config, forward: Forward) -> list[tuple[str, Any, np.ndarray]]:
    """Field, value and P_e at every inner angle, of all curves.

    NaN where the detector would begin inside the aperture, or has no width.

    Raises:
        InputError: naming all values for which there is no curve.
    """
    angles = config.inner_mrad.values()
    problems = []

    def tried(field: str, value: Any, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except InputError as error:
            problems.extend(f"vary.{field} = {value}: {problem}" for problem in error.problems)

    varied = [(f, value) for f, values in config.vary.model_dump().items() for value in values]
    specimens = [tried(*pair, partial(specimen, config, *pair)) for pair in varied]
    if problems:
        raise InputError(problems)
    found: list[tuple[str, Any, np.ndarray]] = []
    for (field, value), (settings, most) in zip(varied, specimens, strict=True):
        curve = tried(
            field,
            value,
            partial(
                error_probability_map,
                forward,
                settings,
                {"inner_mrad": angles},
                config.dose_per_angstrom2,
                (config.n_atoms[0], most),
            ),
        )
        if curve is not None:
            dark = angles >= float(settings.convergence_mrad)
            found.append((field, value, np.where(dark, curve, np.nan)))
    if problems:
        raise InputError(problems)
    return found


def best_row(field: str, value: Any, angles: np.ndarray, curve: np.ndarray) -> dict[str, Any]:
    """The best inner angle of a curve, and the angles at which P_e is at most 10 % above."""
    best = np.nanargmin(curve)
    good = angles[curve <= 1.1 * curve[best]]
    return {
        "varied": field,
        "value": value,
        "best_inner_mrad": float(angles[best]),
        "error_probability": float(curve[best]),
        "good_from_mrad": float(good[0]),
        "good_to_mrad": float(good[-1]),
    }


def show(config: Config, rows: list[dict[str, Any]]) -> None:
    """Print the best inner angles."""
    table = Table(title=f"Best inner angles at {config.dose_per_angstrom2:g} e⁻/Å²")
    table.add_column("varied")
    for heading in ("value", "best θ₀ (mrad)", "P_e", "θ₀ within 10 % of it (mrad)"):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["varied"],
            row["value"] if isinstance(row["value"], str) else f"{row['value']:g}",
            f"{row['best_inner_mrad']:g}",
            f"{row['error_probability']:.2g}",
            f"{row['good_from_mrad']:g}–{row['good_to_mrad']:g}",
        )
    wide_console().print(table)


def run(config: Config, out: Path) -> None:
    """Predict, print, save."""
    found = error_probabilities(config, surrogate_of(config.surrogate).curve)
    angles = config.inner_mrad.values()
    rows = [best_row(field, value, angles, curve) for field, value, curve in found]
    show(config, rows)
    save_csv(
        out / "error_probability.csv",
        [
            {
                "varied": field,
                "value": value,
                **{
                    f"inner_mrad={angle:g}": "" if np.isnan(p) else float(p)
                    for angle, p in zip(angles, curve, strict=True)
                },
            }
            for field, value, curve in found
        ],
    )
    save_json(
        out / "result.json",
        {
            "config": config.model_dump(),
            "provenance": provenance(surrogates=[config.surrogate]),
            "best": rows,
        },
    )
    save_figure(out / "error_probability.png", draw(config.model_dump(), angles, found, rows))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
