"""How long fits take: gradients against Nelder–Mead through the package rt_ppiscs (section 3.3).

Random truths around the paper's Fig. 10, exact curves, everything within ± the measurement errors.
Each case is fitted by all methods in turn: Nelder–Mead through rt_ppiscs, as the paper does it;
least squares through the same network in JAX, on the same curve; least squares through our own
surrogate, on its own curve, and Nelder–Mead likewise. Then many such curves are fitted in one call
by both methods, and one noisy curve is resampled and refitted by both. Compare ratios, not times.
The costs of Nelder–Mead in one call, with restarts, are compared with those by scipy.
rt_ppiscs and its network are left out where the package is not installed. Writes times.csv and
result.json.

    python -m experiments.fit_speed.run [--config FILE] [--out FOLDER]
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from rich.table import Table
from scipy.optimize import minimize

from experiments.common import main, provenance, save_csv, save_json, wide_console
from ppiscs_jax import predict
from ppiscs_jax.config import Model
from ppiscs_jax.inverse.batch import fit_batch
from ppiscs_jax.inverse.bootstrap import bootstrap
from ppiscs_jax.inverse.fit import Method, fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Problem
from ppiscs_jax.inverse.result import Fit
from ppiscs_jax.inverse.uncertainty import prior_samples
from ppiscs_jax.settings import column
from ppiscs_jax.settings_config import Nominal
from ppiscs_jax.surrogate.network import NetworkModel
from ppiscs_jax.surrogate.predict import load_surrogate

SIMPLEX, SAME_NETWORK, OURS, OUR_SIMPLEX = (
    "Nelder–Mead, rt_ppiscs",
    "least squares, the same network",
    "least squares, surrogate",
    "Nelder–Mead, surrogate",
)
BATCHES = {
    "levenberg-marquardt": "least squares, surrogate, one call for all",
    "nelder-mead": "Nelder–Mead, surrogate, one call for all",
}
BOOTSTRAPS = {
    "levenberg-marquardt": "bootstrap by least squares, surrogate",
    "nelder-mead": "bootstrap by Nelder–Mead, surrogate",
}

DIFFERENCES = "sum_of_differences_angstrom2"
AT_ONCE = 64
"""Curves side by side in one call, the default of `fit_batch`."""


class Config(Model):
    """What the config may say.

    Attributes:
        cases: curves fitted one after the other.
        batch: curves fitted in one call.
        relative_error: noise of the curves of the surrogate, in parts of their maximum.
        bootstrap_relative_error: noise of the one that is resampled.
    """

    seed: int
    cases: PositiveInt
    batch: PositiveInt
    relative_error: NonNegativeFloat = 0.0
    bootstrap_relative_error: PositiveFloat
    surrogate: str
    rt_ppiscs_folder: str
    measured: Nominal
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
    at = [column(name) for name in problem.names]

    def cost(part: np.ndarray) -> float:
        x = problem.x.copy()
        x[at] = low + part * (high - low)
        return float(np.sum(np.abs(predicted(x[None])[0] - curve)))

    found = minimize(
        cost,
        (problem.nominal - low) / (high - low),
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


def ended(result: Fit) -> tuple[float, int]:
    """Sum of absolute differences [Å²] at a fit's minimum, and evaluations."""
    return float(np.nansum(np.abs(result.residuals))), result.evaluations


def noisy_curves(exact: np.ndarray, relative_error: float, seed: int) -> list[Measured]:
    """Curves with noise in parts of their maximum; exact ones without errors if that is 0."""
    if not relative_error:
        return [Measured(curve) for curve in exact]
    errors = relative_error * exact.max(axis=1)
    noise = np.random.default_rng(seed).standard_normal(exact.shape)
    return [Measured(*one) for one in zip(exact + errors[:, None] * noise, errors, strict=True)]


def network_output(model: NetworkModel, x: Any) -> Any:
    """What a network itself gives, for all nine numbers, as rt_ppiscs has it."""
    return model.network.apply({"params": model.params}, jnp.asarray(x).astype(jnp.float32))


def run(config: Config, out: Path) -> None:
    """Fit all cases by all methods."""
    problem = Problem.within(config.measured.settings(), config.std)
    draws = prior_samples(problem, jax.random.key(config.seed), max(config.cases, config.batch))
    truths = np.repeat(problem.x[None], len(draws.values), axis=0)
    truths[:, [column(name) for name in problem.names]] = draws.values
    ours = load_surrogate(config.surrogate)
    exact = predict(truths, surrogate=ours, outside="raise").astype(float)
    exact = exact[:, np.isfinite(exact[0])]
    measured = noisy_curves(exact, config.relative_error, config.seed)
    scipys: dict[str, dict[int, float]] = {name: {} for name in (OURS, OUR_SIMPLEX)}

    def by_scipy(name: str, method: Method, case: int) -> tuple[float, int]:
        result = fit(ours.curve, problem, measured[case], method=method)
        scipys[name][case] = result.cost
        return ended(result)

    theirs = rival(config.rt_ppiscs_folder)
    methods: dict[str, Callable[[int], tuple[float, int]]] = {
        OURS: partial(by_scipy, OURS, "trf"),
    }
    if theirs:
        published = Partial(network_output, load_surrogate(theirs[1]))
        curves = [theirs[0](x[None])[0] for x in truths[: config.cases]]
        methods[SIMPLEX] = lambda i: simplex(theirs[0], problem, curves[i])
        methods[SAME_NETWORK] = lambda i: ended(fit(published, problem, Measured(curves[i])))
    methods[OUR_SIMPLEX] = partial(by_scipy, OUR_SIMPLEX, "nelder-mead")
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
                        DIFFERENCES: cost,
                        "evaluations": evaluations,
                    }
                )
    summary = {
        name: {
            key: float(np.median([row[key] for row in rows if row["method"] == name]))
            for key in ("seconds", DIFFERENCES, "evaluations")
        }
        for name in methods
    }
    many = measured[: config.batch]
    (noisy,) = noisy_curves(exact[:1], config.bootstrap_relative_error, config.seed)
    result = fit(ours.curve, problem, noisy)
    key = jax.random.key(config.seed)
    for method, name in BATCHES.items():

        def together(curves: Sequence[Measured], method: Any = method) -> Any:
            return fit_batch(ours.curve, problem, curves, method=method)

        def resampled(draws: int, method: Any = method) -> Any:
            return bootstrap(ours.curve, noisy, result, key, draws, method=method)

        # The first calls compile.
        together(many[:AT_ONCE])
        seconds, fits = timed(lambda run=together: run(many))
        summary[name] = {
            "seconds": seconds / len(many),
            "evaluations": float(np.median(fits.iterations)),
            "converged": float(np.mean(fits.converged)),
        }
        alone = scipys[OURS if method == "levenberg-marquardt" else OUR_SIMPLEX]
        above = [fits.cost[i] - cost for i, cost in alone.items() if i < len(many)]
        summary[name] |= {
            "cost_not_above_scipys": float(
                np.mean(np.array(above) <= 1e-6 * fits.cost[: len(above)])
            ),
            "largest_cost_above_scipys": float(np.max(above)),
        }
        resampled(min(AT_ONCE, config.batch))
        seconds, _samples = timed(lambda run=resampled: run(config.batch))
        summary[BOOTSTRAPS[method]] = {"seconds": seconds / config.batch}
    show(summary)
    save_csv(out / "times.csv", rows)
    content = {
        "config": config.model_dump(),
        "provenance": provenance("rt_ppiscs", surrogates=[config.surrogate]),
    }
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
            f"{row[DIFFERENCES]:.2g}" if DIFFERENCES in row else "",
            f"{row['evaluations']:.0f}" if "evaluations" in row else "",
        )
    wide_console().print(table)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
