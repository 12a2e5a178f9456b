"""Whether intervals of fits through a surrogate hold the settings of simulations.

Simulated curves with noise are fitted with and without the surrogate's own error, and as if the
errors of the simulation were independent along thickness. Writes curves.csv, result.json and
fit_coverage.png; the simulations are kept in simulations.npz.

    python -m experiments.fit_coverage.run [--config FILE] [--out FOLDER]
"""

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from scipy.stats import norm
from scipy.stats import t as student_t

from experiments.common import (
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    show_rows,
    surrogate_of,
    tidy,
)
from experiments.fit_coverage.simulations import Simulations, load_or_simulate
from ppiscs_jax.config import Model
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import NUMBERS, Free, Problem
from ppiscs_jax.simulation.curve import Curve

LEVELS = (0.68, 0.95)
ABERRATIONS = ("c30_mm", "c10_angstrom")
REACH = 5.0
"""Bounds are so many prior standard deviations from the nominal value."""

INDEPENDENT, WITHOUT, WITH = (
    "independent errors, without the surrogate's",
    "correlated errors, without the surrogate's",
    "correlated errors, with the surrogate's",
)


class Config(Model):
    """What the config may say."""

    seed: NonNegativeInt
    surrogate: str
    draws: PositiveInt
    noise: tuple[PositiveFloat, PositiveFloat]
    free: tuple[PositiveInt, PositiveInt]
    selections: PositiveInt
    std: Annotated[dict[str, PositiveFloat], Field(min_length=1)]
    simulations: Simulations


class Outcome(NamedTuple):
    """One fit of one curve: squared Mahalanobis distance over k, errors over standard errors."""

    distance: float
    deviations: np.ndarray


def selections(config: Config) -> list[list[str]]:
    """Which numbers are free: a few random selections, as each is compiled for itself."""
    random = np.random.default_rng(config.seed)
    low, high = config.free
    sizes = [low + i % (high - low + 1) for i in range(config.selections)]
    return [list(random.choice(list(config.std), size, replace=False)) for size in sizes]


def outcomes(config: Config, curve: Curve, index: int, draw: int) -> dict[str, Outcome]:
    """Fits of one curve with one draw of noise and nominal settings."""
    random = np.random.default_rng((config.seed, index, draw))
    model = surrogate_of(config.surrogate)
    chosen = selections(config)
    names = chosen[(index * config.draws + draw) % len(chosen)]
    x = curve.settings.to_vector()
    truth = dict(zip(NUMBERS, [*x, 1.0, 0.0], strict=True))
    limits = model.trained_range.limits_of(x)
    free = {}
    for name in names:
        std, (low, high) = config.std[name], limits.get(name, (-np.inf, np.inf))
        nominal = truth[name] + std * random.normal()
        nominal = min(max(nominal, low + 0.01 * std), high - 0.01 * std)
        bounds = max(nominal - REACH * std, low), min(nominal + REACH * std, high)
        free[name] = Free(*bounds, std)
        if name in NUMBERS[:9]:
            x[NUMBERS.index(name)] = nominal
    problem = Problem(x, free, gain=nominal_gain(free))
    noise = curve.ppiscs.max() * np.exp(random.uniform(*np.log(config.noise)))
    values = curve.ppiscs + noise * random.normal(size=len(curve.ppiscs))
    correlated = Measured.from_curve(dataclasses.replace(curve, ppiscs=values), noise)
    independent = Measured(values, np.hypot(noise, curve.standard_error))
    found = {
        INDEPENDENT: fit(model.curve, problem, independent, model_error=False),
        WITHOUT: fit(model.curve, problem, correlated, model_error=False),
        WITH: fit(model.curve, problem, correlated),
    }
    true = np.array([truth[name] for name in problem.names])
    return {
        way: Outcome(
            float(off @ np.linalg.solve(result.covariance, off)) / len(off),
            off / result.standard_errors,
        )
        for way, result in found.items()
        for off in [result.estimates - true]
    }


def nominal_gain(free: dict[str, Free]) -> float:
    """The middle between the bounds of the gain, if it is free."""
    gain = free.get("gain")
    return (gain.low + gain.high) / 2 if gain else 1.0


def summary(way: str, of_curves: list[list[Outcome]]) -> dict[str, Any]:
    """Means over curves, each the mean over its draws, with standard errors over curves."""
    n = len(of_curves)
    distances = np.array([np.mean([o.distance for o in draws]) for draws in of_curves])
    row: dict[str, Any] = {
        "errors": way,
        "curves": n,
        "mahalanobis2_over_k": float(distances.mean()),
        "its_standard_error": float(distances.std(ddof=1) / np.sqrt(n)),
    }
    for level in LEVELS:
        half = norm.ppf(0.5 + level / 2)
        held = np.array(
            [np.mean(np.concatenate([abs(o.deviations) < half for o in d])) for d in of_curves]
        )
        error = held.std(ddof=1) / np.sqrt(n)
        row[f"held_{100 * level:.0f}"] = float(held.mean())
        row[f"held_{100 * level:.0f}_standard_error"] = float(error)
        deviation = abs(held.mean() - level) / max(error, 1e-12)
        row[f"p_{100 * level:.0f}"] = float(2 * student_t.sf(deviation, n - 1))
    return row


def draw_figure(found: dict[str, list[list[Outcome]]]) -> Figure:
    """How often intervals of any level hold, for the three ways."""
    figure = Figure(figsize=(5, 4.4), layout="constrained")
    axes = figure.subplots()
    levels = np.linspace(0, 1, 101)[1:-1]
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="honest")
    for way, of_curves in found.items():
        deviations = np.concatenate([abs(o.deviations) for draws in of_curves for o in draws])
        half = norm.ppf(0.5 + levels / 2)
        axes.plot(levels, [np.mean(deviations < h) for h in half], label=way)
    axes.set(
        xlabel="level of the interval",
        ylabel="fraction that holds the truth",
        xlim=(0, 1),
        ylim=(0, 1),
        aspect="equal",
    )
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    tidy(axes)
    return figure


def run(config: Config, out: Path) -> None:
    """Fit all curves."""
    known = surrogate_of(config.surrogate).trained_range
    simulations = {
        index: curve
        for index, curve in enumerate(load_or_simulate(config.simulations, out))
        # Some elements are simulated for surrogates to come.
        if known.holds(curve.settings.to_vector())
    }
    found: dict[str, list[list[Outcome]]] = {way: [] for way in (INDEPENDENT, WITHOUT, WITH)}
    rows = []
    for index, curve in simulations.items():
        of_draws = [outcomes(config, curve, index, draw) for draw in range(config.draws)]
        for way, of_curves in found.items():
            of_curves.append([of_draw[way] for of_draw in of_draws])
        s = curve.settings
        row = {"element": s.element, "zone_axis": s.zone_axis}
        row |= {name: float(getattr(s, name)) for name in NUMBERS[2:9] if name not in ABERRATIONS}
        row |= {
            f"mahalanobis2_over_k, {way}": float(np.mean([o.distance for o in of_curves[-1]]))
            for way, of_curves in found.items()
        }
        rows.append(row)
    summaries = [summary(way, of_curves) for way, of_curves in found.items()]
    save_csv(out / "curves.csv", rows)
    about = {
        "config": config.model_dump(mode="json"),
        "provenance": provenance(surrogates=[config.surrogate]),
    }
    save_json(out / "result.json", about | {"summaries": summaries})
    save_figure(out / "fit_coverage.png", draw_figure(found))
    show_rows(summaries)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
