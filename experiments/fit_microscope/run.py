"""Settings of a microscope from a PPISCS–thickness curve (the paper's Fig. 10).

A curve of the truth, with and without noise, is fitted from the settings as measured: by bounded
least squares with Gaussian priors, and as in the paper, by Nelder–Mead on absolute differences
within the measurement errors. Writes estimates.csv, curves.csv, result.json, fit_microscope.png.

    python -m experiments.fit_microscope.run [--config FILE] [--out FOLDER]
"""

import sys
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat
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
from experiments.fit_microscope.figure import draw
from ppiscs_jax.config import Model
from ppiscs_jax.errors import InputError
from ppiscs_jax.inverse.config import FitConfig
from ppiscs_jax.inverse.coverage import coverage
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.result import Fit
from ppiscs_jax.settings import Settings
from ppiscs_jax.settings_config import Nominal
from ppiscs_jax.surrogate.additive import AdditiveModel
from ppiscs_jax.surrogate.predict import predict

METHODS = {"trf": "likelihood", "nelder-mead": "absolute"}
"""Methods with what they minimise: ours, then the paper's."""


class Noise(Model):
    """Standard errors of a curve's values."""

    name: str
    relative_error: NonNegativeFloat
    error_of_maximum: NonNegativeFloat
    drawn: bool

    def standard_error(self, curve: np.ndarray) -> np.ndarray:
        """For each value of a curve, in its unit."""
        return np.hypot(self.relative_error * curve, self.error_of_maximum * curve.max())


class Config(Model):
    """What the config may say."""

    seed: NonNegativeInt
    surrogate: str
    coverage_cases: NonNegativeInt
    truth: Nominal
    measured: Nominal
    std: dict[str, PositiveFloat]
    published: dict[str, float]
    noises: Annotated[list[Noise], Field(min_length=1)]


def curve_at(model: AdditiveModel, settings: Settings) -> np.ndarray:
    """PPISCS [Å²] at the thicknesses that the surrogate knows."""
    curve = predict(settings, surrogate=model, outside="raise").ppiscs
    return curve[np.isfinite(curve)]


def fits_of(config: Config, model: AdditiveModel, noise: Noise, index: int) -> dict[str, Any]:
    """One measured curve, its fits by all methods and the seconds they took."""
    exact = curve_at(model, config.truth.settings())
    error = noise.standard_error(exact)
    normal = np.random.default_rng([config.seed, index]).normal(size=len(exact))
    measured = Measured(exact + noise.drawn * error * normal, error)
    limits = model.trained_range.limits_of(config.truth.settings().to_vector())
    fits, seconds = {}, {}
    for method, cost in METHODS.items():
        given = FitConfig(nominal=config.measured, std=config.std, method=method, cost=cost)
        problem = given.problem(limits)
        # The truth is the surrogate's: its error plays no part.
        options: dict[str, Any] = {"method": method, "cost": cost, "model_error": False}
        fit(model.curve, problem, measured, max_evaluations=1, **options)
        start = time.perf_counter()
        fits[method] = fit(model.curve, problem, measured, **options)
        seconds[method] = time.perf_counter() - start
    return {"measured": measured, "fits": fits, "seconds": seconds}


def coverage_rows(
    config: Config, model: AdditiveModel, noise: Noise, found: dict[str, Any], index: int
) -> list[dict[str, Any]]:
    """How often intervals of fits hold random truths around the settings as measured."""
    if not config.coverage_cases:
        return []
    result, error = found["fits"]["trf"], found["measured"].standard_error
    held = coverage(
        model.curve,
        result.problem,
        jax.random.key(config.seed + index),
        # As long as the forward model's curves, which are NaN where they are not known.
        standard_error=np.pad(error, (0, len(result.curve) - len(error)), mode="edge"),
        cases=config.coverage_cases,
        model_error=False,
    )
    return [
        {"noise": noise.name, "level": level, "cases": held.cases, "converged": held.converged}
        | dict(zip(held.names, fractions.tolist(), strict=True))
        for level, fractions in zip(held.levels, held.fractions, strict=True)
    ]


def estimate_rows(config: Config, noise: Noise, method: str, found: Fit) -> list[dict[str, Any]]:
    """Truth, start and estimate of each number."""
    rows = []
    for name, p in found.parameters.items():
        truth = float(getattr(config.truth, name))
        rows.append(
            {
                "noise": noise.name,
                "method": method,
                "number": name,
                "unit": p.unit,
                "truth": truth,
                "start": p.nominal,
                "published": config.published.get(name),
                "estimate": p.estimate,
                "standard_error": p.standard_error,
                "prior_width": p.prior_width,
                "off_by_standard_errors": (p.estimate - truth) / p.standard_error,
                "at_bound": p.at_bound,
                "verdict": p.verdict,
            }
        )
    return rows


def fit_row(noise: Noise, method: str, found: Fit, seconds: float) -> dict[str, Any]:
    """How a fit went."""
    names = ("cost", "evaluations", "success", "chi_squared", "dof", "p_value", "message")
    return {
        "noise": noise.name,
        "method": method,
        **{name: getattr(found, name) for name in names},
        "seconds": seconds,
    }


def show(rows: list[dict[str, Any]], covered: list[dict[str, Any]]) -> None:
    """Print the estimates and the coverage."""
    table = Table(title="Settings from a curve")
    for heading in ("noise", "method", "number"):
        table.add_column(heading)
    for heading in ("truth", "start", "paper's", "estimate", "s.e.", "off [s.e.]"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for row in rows:
        table.add_row(
            row["noise"],
            row["method"],
            f"{row['number']}",
            *(f"{row[k]:g}" if row[k] is not None else "" for k in ("truth", "start", "published")),
            f"{row['estimate']:.5g}",
            f"{row['standard_error']:.2g}",
            f"{row['off_by_standard_errors']:+.2f}",
            row["verdict"].partition(":")[0],
        )
    console = wide_console()
    console.print(table)
    if not covered:
        return
    held = Table(title=f"Random truths that intervals held [%], of {covered[0]['cases']}")
    held.add_column("noise")
    names = list(dict.fromkeys(row["number"] for row in rows))
    for heading in ("level", *names):
        held.add_column(heading, justify="right")
    for row in covered:
        held.add_row(row["noise"], *(f"{100 * row[name]:.1f}" for name in ("level", *names)))
    console.print(held)


def run(config: Config, out: Path) -> None:
    """Fit, print, save."""
    problems = [
        f"published.{name}: only numbers in [std] can be estimated"
        for name in config.published
        if name not in config.std
    ]
    if problems:
        raise InputError(problems)
    model = surrogate_of(config.surrogate)
    truth, start = (
        curve_at(model, nominal.settings()) for nominal in (config.truth, config.measured)
    )
    found = {noise.name: fits_of(config, model, noise, i) for i, noise in enumerate(config.noises)}
    estimates, fits, covered, curves = [], [], [], []
    for i, noise in enumerate(config.noises):
        mine = found[noise.name]
        covered += coverage_rows(config, model, noise, mine, i)
        for method, result in mine["fits"].items():
            estimates += estimate_rows(config, noise, method, result)
            fits.append(fit_row(noise, method, result, mine["seconds"][method]))
        for n in range(len(truth)):
            curves.append(
                {
                    "noise": noise.name,
                    "n_atoms": n + 1,
                    "truth_angstrom2": float(truth[n]),
                    "start_angstrom2": float(start[n]),
                    "measured_angstrom2": float(mine["measured"].ppiscs[n]),
                    "standard_error_angstrom2": float(mine["measured"].standard_error[n]),
                    **{
                        f"{method.replace('-', '_')}_angstrom2": float(result.curve[n])
                        for method, result in mine["fits"].items()
                    },
                }
            )
    show(estimates, covered)
    save_csv(out / "estimates.csv", estimates)
    save_csv(out / "curves.csv", curves)
    save_json(
        out / "result.json",
        {
            "config": config.model_dump(),
            "provenance": provenance(surrogates=[config.surrogate]),
            "estimates": estimates,
            "fits": fits,
            "coverage": covered,
        },
    )
    save_figure(out / "fit_microscope.png", draw(config.model_dump(), curves))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
