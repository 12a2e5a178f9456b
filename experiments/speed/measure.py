"""Times predictions in a process of its own, with one thread; prints JSON.

python -m experiments.speed.measure SEED ROUNDS BATCHES [FOLDER OF rt_ppiscs]
"""

import json
import sys
import time
from collections.abc import Callable

import jax
import numpy as np

from ppiscs_jax import load_surrogate, predict
from ppiscs_jax.settings import Column
from ppiscs_jax.surrogate.densenet import DenseNet
from ppiscs_jax.surrogate.sample import INNER, OUTER

TURN_S = 0.02
"""Calls much shorter than this are repeated: a single one, after other work, finds its data and
code out of the caches, and takes several times as long, whatever the method."""

RANGES = ((18.0, 35.0), (40.0, 90.0), (150.0, 240.0), (0.075, 0.15))
"""Of aperture, inner and outer angle [mrad], rmsd [Å]."""


def settings(batch: int, random: np.random.Generator) -> np.ndarray:
    """Gold [110] at the paper's voltages, the rest at random, (batch, 9)."""
    x = np.zeros((batch, 9))
    x[:, Column.ELEMENT] = 79
    x[:, Column.VOLTAGE_KV] = random.choice([60, 80, 100, 120, 200, 300], batch)
    x[:, Column.CONVERGENCE_MRAD :] = np.column_stack(
        [random.uniform(*ends, batch) for ends in RANGES]
    )
    return x


def methods(folder: str) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What is timed: settings (batch, 9) to curves."""
    found: dict[str, Callable] = {"additive": predict}
    network = DenseNet()
    params = network.initial(0)
    apply = jax.jit(lambda params, x: network.apply({"params": params}, x))
    found["DenseNet in JAX, single precision"] = lambda x: np.asarray(
        apply(params, x.astype(np.float32))
    )
    if folder:
        sys.path.append(folder)
    try:
        from rt_ppiscs.model import PPISCS
    except ImportError:
        return found
    found["rt_ppiscs"] = PPISCS().predict
    return found


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call, mean of as many in a row as fit into a turn."""
    started, calls, now = time.perf_counter(), 0, 0.0
    while not calls or now - started < TURN_S:
        work()
        calls, now = calls + 1, time.perf_counter()
    return (now - started) / calls


def main(seed: str, rounds: str, batches: str, folder: str = "") -> None:
    """Time all methods in turn; medians over rounds [s]."""
    random = np.random.default_rng(int(seed))
    timed: dict[str, Callable[[], object]] = {}
    for batch in map(int, batches.split(",")):
        x = settings(batch, random)
        for name, method in methods(folder).items():
            timed[f"{name}, batch {batch}"] = lambda method=method, x=x: method(x)
    model, one = load_surrogate(), settings(1, random)[0].astype(np.float32)
    edges = np.linspace(30, 240, 21).astype(np.float32)
    timed["additive, one detector"] = lambda: np.asarray(model.curve(one))

    def all_detectors() -> np.ndarray:
        beyond = np.asarray(model.beyond(one, edges))
        return beyond[INNER] - beyond[OUTER]

    timed["additive, all 210 detectors"] = all_detectors
    for work in timed.values():
        work()
    times = {name: [] for name in timed}
    for _ in range(int(rounds)):
        for name, work in timed.items():
            times[name].append(seconds(work))
    print(json.dumps({name: float(np.median(values)) for name, values in times.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
