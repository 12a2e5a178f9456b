"""The paper's 25 µs a curve: how long predictions take, against the package rt_ppiscs.

One thread, one process, all methods in turn; compare ratios, not times. rt_ppiscs is left out
where it is not installed. Writes speed.csv and result.json.

    python -m experiments.speed.run [--config FILE] [--out FOLDER]
"""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import PositiveInt

from experiments.common import ROOT, main, provenance, save_csv, save_json, show_rows
from ppiscs_jax.config import Model

ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
FIRST_PREDICTION = "import ppiscs_jax; ppiscs_jax.predict([79, 0, 300, 0, 0, 20, 60, 200, 0.085])"


class Config(Model):
    """What the config may say."""

    seed: int
    rounds: PositiveInt
    batches: list[PositiveInt]
    cold_starts: PositiveInt
    rt_ppiscs_folder: str


def python(*arguments: str) -> str:
    """What a Python process of one thread prints."""
    environment = os.environ | ONE_THREAD
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def cold_start() -> float:
    """Seconds from a cold shell to the first prediction."""
    started = time.perf_counter()
    python("-c", FIRST_PREDICTION)
    return time.perf_counter() - started


def run(config: Config, out: Path) -> None:
    """Measure, and show."""
    batches = ",".join(map(str, config.batches))
    printed = python(
        "-m",
        "experiments.speed.measure",
        str(config.seed),
        str(config.rounds),
        batches,
        config.rt_ppiscs_folder,
    )
    seconds = json.loads(printed)
    seconds["cold start to first prediction"] = float(
        np.median([cold_start() for _ in range(config.cold_starts)])
    )
    rows = []
    for name, value in seconds.items():
        curves = int(name.rsplit("batch ", 1)[1]) if "batch " in name else 1
        rival = seconds.get(f"rt_ppiscs, batch {curves}") if "batch " in name else None
        rows.append(
            {
                "what": name,
                "microseconds": 1e6 * value,
                "microseconds_per_curve": 1e6 * value / curves,
                "times_faster_than_rt_ppiscs": rival / value if rival else "",
            }
        )
    show_rows(rows)
    save_csv(out / "speed.csv", rows)
    save_json(
        out / "result.json",
        {"config": config.model_dump(), "provenance": provenance("rt_ppiscs"), "rows": rows},
    )


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
