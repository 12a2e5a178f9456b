"""How long fits take: gradients against Nelder–Mead through the package rt_ppiscs (section 3.3).

Random truths around the paper's Fig. 10, exact curves, everything within ± the measurement errors.
Each case is fitted by all methods in turn: Nelder–Mead through rt_ppiscs, as the paper does it;
least squares through the same network in JAX, on the same curve; least squares through our own
surrogate, on its own curve; and many such curves in one call. Compare ratios, not times.
rt_ppiscs and its network are left out where the package is not installed. Writes times.csv and
result.json.

    python -m experiments.fit_speed.run [--config FILE] [--out FOLDER]
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from pydantic import PositiveFloat, PositiveInt
from rich.table import Table
from scipy.optimize import minimize

from experiments.common import main, provenance, save_csv, save_json, wide_console
from ppiscs_jax import Settings, predict
from ppiscs_jax.config import Model
from ppiscs_jax.inverse.batch import fit_batch
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Problem
from ppiscs_jax.inverse.uncertainty import prior_samples
from ppiscs_jax.settings import VECTOR_ORDER
from ppiscs_jax.surrogate.predict import read_surrogate

SIMPLEX, SAME_NETWORK, OURS, BATCH = (
    "Nelder–Mead, rt_ppiscs",
    "least squares, the same network",
    "least squares, surrogate",
    "least squares, surrogate, one call for all",
)


class Stated(Model):
    """Settings as measured."""

    element: str
    zone_axis: str
    voltage_kv: float
    c30_mm: float
    c10_angstrom: float
    convergence_mrad: float
    inner_mrad: float
    outer_mrad: float
    rmsd_angstrom: float


class Config(Model):
    """What the config may say."""

    seed: int
    cases: PositiveInt
    batch: PositiveInt
    surrogate: str
    rt_ppiscs_folder: str
    measured: Stated
    std: dict[str, PositiveFloat]


def rival(folder: str) -> tuple[Callable, str] | None:
    """The published package's prediction, and the path of its network; None without it."""
    if folder:
        sys.path.append(folder)
    try:
        import rt_ppiscs
        from rt_ppiscs.model import PPISCS
    except ImportError:
        return None
    return PPISCS().predict, str(Path(rt_ppiscs.__path__[0]) / "coef_scs_fcc.mat")


def simplex(predicted: Callable, problem: Problem, curve: np.ndarray) -> tuple[float, int]:
    """The paper's fit: least sum of absolute differences [Å²], and evaluations."""
    low, high = problem.bounds
    at = [VECTOR_ORDER.index(name) for name in problem.names]

    def cost(part: np.ndarray) -> float:
        x = problem.x.copy()
        x[at] = low + part * (high - low)
        return float(np.sum(np.abs(predicted(x[None])[0] - curve)))

    found = minimize(
        cost,
        (problem.stated - low) / (high - low),
        method="Nelder-Mead",
        bounds=[(0.0, 1.0)] * len(at),
        options={"maxfev": 400 * len(at), "maxiter": 400 * len(at)},
    )
    return float(found.fun), int(found.nfev)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Wall time [s] of a call, and what it gives."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def least_squares(model: Any, problem: Problem, curve: np.ndarray) -> tuple[float, int]:
    """A fit by gradients: sum of absolute differences [Å²] at its minimum, and evaluations."""
    result = fit(model.curve, problem, Measured(curve))
    return float(np.nansum(np.abs(result.residuals))), result.evaluations


def run(config: Config, out: Path) -> None:
    """Fit all cases by all methods."""
    problem = Problem.within(Settings(**config.measured.model_dump()), config.std)
    draws = prior_samples(problem, jax.random.key(config.seed), max(config.cases, config.batch))
    truths = np.repeat(problem.x[None], len(draws.values), axis=0)
    truths[:, [VECTOR_ORDER.index(name) for name in problem.names]] = draws.values
    ours = read_surrogate(config.surrogate)
    exact = predict(truths, surrogate=ours, outside="raise").astype(float)
    exact = exact[:, np.isfinite(exact[0])]
    theirs = rival(config.rt_ppiscs_folder)
    methods: dict[str, Callable[[int], tuple[float, int]]] = {
        OURS: lambda i: least_squares(ours, problem, exact[i])
    }
    if theirs:
        published = read_surrogate(theirs[1])
        curves = [theirs[0](x[None])[0] for x in truths[: config.cases]]
        methods[SIMPLEX] = lambda i: simplex(theirs[0], problem, curves[i])
        methods[SAME_NETWORK] = lambda i: least_squares(published, problem, curves[i])
    rows = []
    for case in range(-1, config.cases):
        for name, method in methods.items():
            seconds, (cost, evaluations) = timed(lambda m=method, c=case: m(max(c, 0)))
            if case >= 0:  # the first call compiles
                rows.append(
                    {
                        "case": case,
                        "method": name,
                        "seconds": seconds,
                        "sum_of_differences_angstrom2": cost,
                        "evaluations": evaluations,
                    }
                )
    many = [Measured(curve) for curve in exact[: config.batch]]
    for _ in range(2):
        together, _fits = timed(lambda: fit_batch(ours.curve, problem, many))
    summary = {
        name: {
            key: float(np.median([row[key] for row in rows if row["method"] == name]))
            for key in ("seconds", "sum_of_differences_angstrom2", "evaluations")
        }
        for name in methods
    }
    summary[BATCH] = {"seconds": together / len(many)}
    show(summary)
    save_csv(out / "times.csv", rows)
    content = {"config": config.model_dump(), "provenance": provenance("rt_ppiscs")}
    save_json(out / "result.json", content | {"medians": summary})


def show(summary: dict[str, dict[str, float]]) -> None:
    """Print medians, and ratios to Nelder–Mead."""
    table = Table("method", "seconds a curve", "times faster", "Σ|difference| [Å²]", "evaluations")
    slow = summary.get(SIMPLEX, {}).get("seconds")
    for name, row in summary.items():
        table.add_row(
            name,
            f"{row['seconds']:.3g}",
            f"{slow / row['seconds']:.3g}" if slow else "",
            f"{row['sum_of_differences_angstrom2']:.2g}" if len(row) > 1 else "",
            f"{row['evaluations']:.0f}" if len(row) > 1 else "",
        )
    wide_console().print(table)


def command(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 if it ran, 2 if it could not."""
    return main(__doc__.splitlines()[0], Path(__file__).parent, Config, run, arguments)


if __name__ == "__main__":
    sys.exit(command())
