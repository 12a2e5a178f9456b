"""Levels of band limit: variance and time of every level, the gain over one, and truncation."""

import dataclasses
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from experiments.common import main, save_cases
from experiments.levels.figure import draw
from experiments.levels.schema import Case, Config
from ppiscs_jax.errors import InputError
from ppiscs_jax.simulation.averaging import Average
from ppiscs_jax.simulation.batches import BATCHES
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.levels import Level, level_grids, levels_of
from ppiscs_jax.simulation.plan import Plan


def measure(config: Config, level: Level, waves: float) -> tuple[np.ndarray, float]:
    """Batch means with so many waves of a batch on average, and processor time [s] of a batch.

    Means have the shape (repeats, batches, n, bins).
    """
    level = level.with_waves(waves)
    level.grow(level.first_batch, 0)  # compiles
    started, means = time.process_time(), []
    for repeat in track(range(config.repeats), f"{level.plan.grid.shape}"):
        average = Average.of(with_seed(level, config.seed + repeat), 0)
        average.rounds = round(waves / level.step)
        for i in range(0, BATCHES, level.every):
            for number in range(average.rounds):
                average.sums[i] += average.level.grow(average.batches[i], number)
        means.append(average.means[:, 0, :, :-1])
    return np.array(means), (time.process_time() - started) / (config.repeats * BATCHES)


def with_seed(level: Level, seed: int) -> Level:
    """The same level with other tilts and displacements."""
    plan = dataclasses.replace(level.plan, seed=seed)
    coarser = level.coarser and dataclasses.replace(level.coarser, seed=seed)
    return dataclasses.replace(level, plan=plan, coarser=coarser)


def plain_means(config: Config, case: Case, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of waves, powers of two, and plain means of so many: (numbers, batches, n, bins).

    Without polynomials of the tilts; in batches of their own.
    """
    first, rounds = 2000, case.plain_waves // plan.waves_per_round
    means = []
    for batch in track(range(first, first + config.repeats * BATCHES), f"plain {plan.grid.shape}"):
        sums = np.cumsum([plan.grow(batch, number)[0] for number in range(rounds)], axis=0)
        means.append([sums[i] / ((i + 1) * plan.waves_per_round) for i in range(rounds)])
    kept = 2 ** np.arange(int(np.log2(rounds)) + 1)
    return kept * plan.waves_per_round, np.swapaxes(means, 0, 1)[kept - 1, ..., :-1]


def variance_of(means: np.ndarray) -> float:
    """Variance over batches, mean over repeats."""
    return float(means.var(axis=1, ddof=1).mean())


def waves_for(variance: float, waves: np.ndarray, variances: np.ndarray) -> float:
    """Waves of a batch that would have a variance, from variances at some numbers of waves.

    Interpolated in logarithms; beyond the last with the slope of the last two.
    """
    i = int(np.clip(np.searchsorted(-variances, -variance), 1, len(waves) - 1))
    (w0, w1), (v0, v1) = np.log(waves[i - 1 : i + 1]), np.log(variances[i - 1 : i + 1])
    return float(np.exp(w0 + (np.log(variance) - v0) * (w1 - w0) / (v1 - v0)))


def plans_of(config: Config, case: Case) -> tuple[Plan, list[Plan]]:
    """The plan on the converged grid, and those of all levels, the coarsest first.

    Raises:
        InputError: bad settings, or not one number of waves a level.
    """
    settings = case.settings(case.watched_mrad[0])
    n_atoms, watched = max(case.n_atoms), np.array(case.watched_mrad)
    edges = np.unique(np.array([*case.detectors_mrad, *case.watched_mrad]))
    rings = np.array([0.0, case.convergence_mrad])
    fine = simulation_grid(settings, case.outer_mrad, n_atoms, case.convergence_mrad)
    plan = Plan.of(settings, fine, rings, edges, n_atoms, config.seed)
    grids = level_grids(
        settings, fine, watched, case.outer_mrad, n_atoms, config.relative_error, 1 << 20
    )
    if len(grids) != len(case.waves):
        raise InputError(
            f"waves = {case.waves}: must be one number for each of {len(grids)} levels"
        )
    return plan, [plan.on(grid) for grid in grids]


def simulate(config: Config, case: Case, plan: Plan, plans: list[Plan]) -> list[dict[str, Any]]:
    """Rows of a case: one a detector and thickness."""
    levels, edges = levels_of(plans), plan.angle_edges_mrad
    finest = plan.grid.resampled(config.truncation_factor * plan.grid.band_limit)

    alone, alone_seconds = measure(
        config, dataclasses.replace(levels_of([plan])[0], first_batch=1000), config.alone_waves
    )
    parts = [measure(config, level, w) for level, w in zip(levels, case.waves, strict=True)]
    seconds = sum(spent for _, spent in parts)
    plain_waves, plain = plain_means(config, case, plans[0])
    truncation, _ = measure(config, levels_of([plan, plan.on(finest)])[-1], config.truncation_waves)

    def collected(means: np.ndarray, inner: float, outer: float) -> np.ndarray:
        inside = np.flatnonzero((edges[:-1] >= inner) & (edges[1:] <= outer))
        return means[..., inside].sum(axis=-1)[..., np.array(case.n_atoms) - 1]

    rows = []
    for inner, outer in case.detectors_mrad:
        single = collected(alone, inner, outer)
        value = single.mean(axis=(0, 1))
        of_levels = [collected(part, inner, outer) / value for part, _ in parts]
        total = np.sum(of_levels, axis=0)
        beyond = collected(truncation, inner, outer) / value
        plain_variances = (collected(plain, inner, outer) / value).var(axis=1, ddof=1)
        for i, n in enumerate(case.n_atoms):
            by_level = [variance_of(x[..., i]) for x in of_levels]
            # The levels are independent: the sum of their variances is known better than the
            # variance of their sum.
            variance = sum(by_level)
            alone_variance = variance_of(single[..., i] / value[i])
            # A wave varies alike on all grids that hold the detector: so many waves of the
            # converged grid alone would bring the error of the levels.
            as_many = waves_for(variance, plain_waves, plain_variances[:, i])
            alone_s = as_many * alone_seconds / config.alone_waves
            root = np.sqrt(config.repeats * BATCHES)
            difference = total[..., i].mean() - 1
            rows.append(
                {
                    "case": f"{case.element} [{case.zone_axis}] {case.voltage_kv:g} kV",
                    "grids": " ".join(f"{p.grid.shape[0]}×{p.grid.shape[1]}" for p in plans),
                    "inner_mrad": inner,
                    "outer_mrad": outer,
                    "n": n,
                    "error_percent": float(100 * np.sqrt(variance / BATCHES)),
                    "shares_of_variance": " ".join(f"{v / variance:.2f}" for v in by_level),
                    "coarsest_error_percent": float(100 * np.sqrt(by_level[0] / BATCHES)),
                    "plain_coarsest_error_percent": float(
                        100 * np.sqrt(plain_variances[plain_waves == case.waves[0], i][0] / BATCHES)
                    ),
                    "waves_alone": as_many,
                    "seconds": seconds,
                    "seconds_alone": alone_s,
                    "gain": alone_s / seconds,
                    "difference_percent": float(100 * difference),
                    "difference_over_error": float(
                        difference / np.sqrt(variance + alone_variance) * root
                    ),
                    "truncation_percent": float(100 * beyond[..., i].mean()),
                    "truncation_error_percent": float(
                        100 * np.sqrt(variance_of(beyond[..., i])) / root
                    ),
                }
            )
    return rows


def run(config: Config, out: Path) -> None:
    """Simulate, print, save."""
    # Problems of all cases are reported before any work.
    prepared = [(case, *plans_of(config, case)) for case in config.cases]
    parts = (simulate(config, *case_and_plans) for case_and_plans in prepared)
    save_cases(config, parts, draw, out / "levels.png")


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
