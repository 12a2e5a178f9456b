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
from ppiscs_jax.simulation.batches import RATE
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.levels import Level, level_grids, levels_of
from ppiscs_jax.simulation.plan import Plan


def measure(config: Config, level: Level, waves: float) -> tuple[np.ndarray, float]:
    """Batch means, shape (batches, n, bins), and processor time [s] of a batch."""
    level = level.with_waves(waves)
    level.grow(level.first_batch, 0)  # compiles
    sums = np.zeros((config.batches, *level.plan.sums_shape))
    started = time.process_time()
    for batch in track(range(0, config.batches, level.every), f"{level.plan.grid.shape}"):
        for number in range(round(waves / level.step)):
            sums[batch] += level.grow(level.first_batch + batch, number)
    seconds = (time.process_time() - started) / config.batches
    return sums[:, 0, :, :-1] / waves, seconds


def simulate(config: Config, case: Case) -> list[dict[str, Any]]:
    """Rows of a case: one a detector and thickness."""
    settings = case.settings(case.watched_mrad[0])
    n_atoms, watched = max(case.n_atoms), np.array(case.watched_mrad)
    edges = np.unique(np.array([*case.detectors_mrad, *case.watched_mrad]))
    rings = np.array([0.0, case.convergence_mrad])
    fine = simulation_grid(settings, case.outer_mrad, n_atoms, case.convergence_mrad)
    plan = Plan.of(settings, fine, rings, edges, n_atoms, config.seed)
    grids = level_grids(
        settings, fine, watched, case.outer_mrad, n_atoms, config.relative_error, 1 << 20
    )
    finest = fine.resampled(config.truncation_factor * fine.band_limit)
    plans = [plan.on(grid) for grid in grids]
    levels = levels_of(plans)

    alone, alone_seconds = measure(
        config, dataclasses.replace(levels_of([plan])[0], first_batch=1000), config.alone_waves
    )
    waves = config.waves[str(len(levels))]
    parts = [measure(config, level, w) for level, w in zip(levels, waves, strict=True)]
    seconds = sum(spent for _, spent in parts)
    truncation, _ = measure(config, levels_of([plan, plan.on(finest)])[-1], config.truncation_waves)

    def collected(means: np.ndarray, inner: float, outer: float) -> np.ndarray:
        inside = (edges[:-1] >= inner) & (edges[1:] <= outer)
        return means[..., inside].sum(axis=-1)[:, np.array(case.n_atoms) - 1]

    rows = []
    for inner, outer in case.detectors_mrad:
        single = collected(alone, inner, outer)
        value = single.mean(axis=0)
        of_levels = [collected(means, inner, outer) / value for means, _ in parts]
        total = np.sum(of_levels, axis=0)
        beyond = collected(truncation, inner, outer) / value
        for i, n in enumerate(case.n_atoms):
            by_level = [float(x[:, i].var(ddof=1)) for x in of_levels]
            # The levels are independent: the sum of their variances is known better than the
            # variance of their sum.
            variance = sum(by_level)
            alone_variance = float(single[:, i].var(ddof=1) / value[i] ** 2)
            # A wave varies alike on all grids that hold the detector: so many waves of the
            # converged grid alone would bring the error of the levels.
            as_many = waves[0] * (by_level[0] / variance) ** (RATE / 2)
            alone_s = as_many * alone_seconds / config.alone_waves
            root = np.sqrt(config.batches)
            difference = total[:, i].mean() - 1
            rows.append(
                {
                    "case": f"{case.element} [{case.zone_axis}] {case.voltage_kv:g} kV",
                    "grids": " ".join(f"{p.grid.shape[0]}×{p.grid.shape[1]}" for p in plans),
                    "inner_mrad": inner,
                    "outer_mrad": outer,
                    "n": n,
                    "error_percent": float(100 * np.sqrt(variance) / root),
                    "shares_of_variance": " ".join(f"{v / variance:.2f}" for v in by_level),
                    "seconds": seconds,
                    "seconds_alone": alone_s,
                    "gain": alone_s / seconds,
                    "difference_percent": float(100 * difference),
                    "difference_over_error": float(
                        difference / np.sqrt(variance + alone_variance) * root
                    ),
                    "truncation_percent": float(100 * beyond[:, i].mean()),
                    "truncation_error_percent": float(100 * beyond[:, i].std(ddof=1) / root),
                }
            )
    return rows


def run(config: Config, out: Path) -> None:
    """Simulate, print, save."""
    for case in config.cases:  # bad settings are reported before any work
        case.settings(case.watched_mrad[0])
    parts = (simulate(config, case) for case in config.cases)
    save_cases(config, parts, draw, out / "levels.png")


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
