"""What a GPU makes of the simulator, of training and of fits; within 8 minutes on one H100.

    python benchmarks/gpu.py [--small] [--out FOLDER] [--only PART ...]

Prints a table and writes gpu.json. `--small` takes a minute on a CPU: the same code on small
grids, whose figures mean nothing. Parts that fail are reported, and the others go on.
"""

import argparse
import json
import math
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppiscs_jax import Settings, load_surrogate, predict, simulate
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.campaign.task import task_grid, task_grids
from ppiscs_jax.config import load_config
from ppiscs_jax.multislice.detectors import angle_bins, bin_intensity, intensity
from ppiscs_jax.multislice.detectors import collection_angle_mrad as collection_angle
from ppiscs_jax.multislice.wave import crystal_slice
from ppiscs_jax.simulation import accelerator
from ppiscs_jax.simulation.plan import Plan
from ppiscs_jax.surrogate.table import load_table

ROOT = Path(__file__).resolve().parents[1]
BYTES_PER_PIXEL_SLICE = 100
"""Two FFTs of two passes each, two products: what goes through memory where nothing is fused."""

AU = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
WAVES_PER_KERNEL, FINE_WAVES_PER_KERNEL = 2100, 128
"""Mean numbers of waves with which the data set reaches a noise of 1.9e-3, on the coarse grid with
those of the pilot, and on both (experiments/dataset)."""


@dataclass(frozen=True)
class Size:
    """How much is measured: everything, or enough to see that it runs."""

    small: bool

    def __call__(self, full: Any, small: Any) -> Any:
        """One of the two."""
        return small if self.small else full


def timed(work: Callable[[], Any], repeats: int = 3) -> tuple[float, float]:
    """Wall time [s] of the first call, and the shortest of some more."""
    times = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - started)
    return times[0], min(times[1:])


def campaign_plan(size: Size, settings: Settings = AU, n_atoms: int = 87) -> Plan:
    """A task of the data set."""
    campaign = load_config(ROOT / "experiments" / "dataset" / "wider.toml", Campaign)
    n_atoms = size(n_atoms, 3)
    grid = task_grid(campaign, settings, n_atoms)
    rings = np.array(campaign.rings_mrad)
    return Plan.of(settings, grid, rings, campaign.angle_edges_mrad, n_atoms, seed=1)


def agreement(size: Size) -> dict[str, Any]:
    """Sums of a round of 16 batches here, and of two of the batches on the CPU."""
    plan = campaign_plan(size)
    here = accelerator.grow(plan, range(16), range(1), lambda _: None)
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        there = np.stack([campaign_plan(size).grow(batch, 0) for batch in range(2)])
    difference = np.abs(here[:2] - there)
    wide = [c[..., 55:130].sum(axis=-1) for c in (here[:2], there)]  # 60 to 200 mrad
    return {
        "largest_difference_of_a_bin": float(difference.max()),
        "largest_relative_difference_60_200": float(np.max(np.abs(wide[0] / wide[1] - 1))),
    }


def bandwidth(size: Size) -> dict[str, Any]:
    """Bytes read and written a second by a large copy."""
    x = jnp.ones(size(2**29, 2**20), jnp.float32)
    _, seconds = timed(partial(jax.jit(lambda a: a + 1), x))
    return {"bytes_per_s": 2 * x.nbytes / seconds}


def throughput(size: Size) -> dict[str, Any]:
    """Waves and pixels · slices a second against what is computed side by side."""
    found: dict[str, Any] = {}
    nickel = Settings("Ni", "100", 60.0, 20.0, 60.0, 200.0, 0.085)
    for name, plan, counts in (
        ("Au [110] 300 kV", campaign_plan(size), size((1, 2, 4, 8), (1, 2))),
        ("Ni [100] 60 kV", campaign_plan(size, nickel, 61), size((1, 4, 16), (1,))),
    ):
        pixels = math.prod(plan.grid.shape)
        slices = plan.n_atoms * len(plan.grid.sites)
        for rounds in counts:
            chunk = accelerator.Chunk(rounds, 16, plan.waves_per_round)
            total = range(size(32, 2))
            first, again = timed(
                lambda p=plan, c=chunk, t=total: accelerator.grow(
                    p, range(16), t, lambda _: None, c
                ),
                repeats=2,
            )
            waves = 16 * plan.waves_per_round * len(total)
            found[f"{name}, {rounds * 16 * plan.waves_per_round} waves at once"] = {
                "shape": plan.grid.shape,
                "pixels_at_once": pixels * rounds * 16 * plan.waves_per_round,
                "waves_per_s": waves / again,
                "pixel_slices_per_s": waves * pixels * slices / again,
                "first_call_s": first,
            }
    return found


def parts(size: Size) -> dict[str, Any]:
    """Time a pixel and slice [ps] of FFTs, detection and potential, each alone."""
    plan = campaign_plan(size)
    grid, waves = plan.grid, size(256, 8)
    pixels, slices = math.prod(grid.shape), size(60, 2)
    psi = jnp.ones((waves, *grid.shape), jnp.complex64)
    tilts = jnp.asarray(np.random.default_rng(0).uniform(-0.05, 0.05, (waves, 2)), jnp.float32)
    n_bins = len(plan.edges_mrad) - 1

    @jax.jit
    def ffts(psi):
        def one(_, p):
            return jnp.fft.ifft2(jnp.fft.fft2(p))

        return jax.lax.fori_loop(0, slices, one, psi)

    @jax.jit
    def detection(psi):
        specimen = plan.specimen

        def angles(q):
            return collection_angle(grid, q, specimen.unit_angstrom, specimen.wavelength_angstrom)

        bins = jax.vmap(lambda q: angle_bins(angles(q), plan.edges_mrad))(tilts)

        def one(i, sums):
            seen = jax.vmap(lambda p, b: bin_intensity(intensity(grid, p * i), b, n_bins))
            return sums + seen(psi, bins)

        # Once for both slices of an atom.
        return jax.lax.fori_loop(0, slices // 2, one, jnp.zeros((waves, n_bins + 1)))

    @jax.jit
    def potential(key):
        # A plane serves eight waves.
        planes = jnp.arange(slices * waves // 8)
        make = partial(crystal_slice, grid, plan.specimen, key)
        return jax.lax.map(lambda i: jnp.sum(make(i)), planes, batch_size=waves // 8)

    work = {
        "ffts": partial(ffts, psi),
        "detection": partial(detection, psi),
        "potential": partial(potential, jax.random.key(0)),
    }
    per = 1e12 / (waves * pixels * slices)
    return {f"{name}_ps_per_pixel_slice": timed(w)[1] * per for name, w in work.items()}


def curve(size: Size) -> dict[str, Any]:
    """A converged curve: Au [110], 300 kV, 87 atoms, 0.5 % at every n."""
    work = partial(simulate, AU, size(0.005, 0.2), 0, n_atoms=size(None, 3))
    cold, warm = timed(lambda: work().ppiscs, repeats=2)
    return {"cold_s": cold, "warm_s": warm, "waves": work().waves}


def table1(size: Size) -> dict[str, Any]:
    """Work of the whole data set at a noise of 1.9e-3."""
    campaign = load_config(ROOT / "experiments" / "dataset" / "wider.toml", Campaign)
    total, programs = 0.0, set()
    for task in campaign.tasks()[:: size(1, 100)]:
        n_atoms, grids = campaign.thickest(task), task_grids(campaign, task)
        programs |= {(grid, n_atoms) for grid in grids}
        costs = [math.prod(grid.shape) * len(grid.sites) * n_atoms for grid in grids]
        total += WAVES_PER_KERNEL * costs[0]
        if len(grids) > 1:
            total += FINE_WAVES_PER_KERNEL * sum(costs)
    return {
        "kernels": len(campaign.tasks()),
        "programs": len(programs),
        "pixel_slices": total,
    }


def training(size: Size) -> dict[str, Any]:
    """Steps a second of the paper's network, drawing the examples included."""
    from ppiscs_jax.surrogate.recipe import Architecture, Recipe, Stage, Weights
    from ppiscs_jax.surrogate.train import METRICS_FILE, train

    table = load_table(kernel_files(ROOT / "experiments" / "dataset" / "kernels")[:1])
    found = {}
    for batch in size((256, 4096), (16,)):
        for constraint in (0.0, 1.0):
            weights = Weights(l1n=1, l2n=1, l1log=1, constraint=constraint)
            steps = size(100 if batch > 1000 else 400, 2)
            recipe = Recipe(
                seed=0,
                network=Architecture(growth=size(160, 8)),
                batch_size=batch,
                epoch_steps=3 * steps,
                steps_per_call=steps,
                stages=[Stage(epochs=1, learning_rate=1e-4, weights=weights)],
            )
            with tempfile.TemporaryDirectory() as folder:
                train(recipe, table, Path(folder) / "training")
                lines = (Path(folder) / "training" / METRICS_FILE).read_text().splitlines()
            rate = json.loads(lines[-1])["examples_per_s"]
            constrained = "with" if constraint else "without"
            found[f"batch {batch}, {constrained} the constraint"] = {
                "steps_per_s": rate / batch,
                "examples_per_s": rate,
            }
    return found


def inference(size: Size) -> dict[str, Any]:
    """A million predicted curves, and ten thousand fits of three numbers."""
    from ppiscs_jax.inverse.batch import fit_batch
    from ppiscs_jax.inverse.measured import Measured
    from ppiscs_jax.inverse.problem import Problem

    random = np.random.default_rng(0)
    x = np.tile(AU.to_vector(), (size(10**6, 100), 1))
    x[:, 5:] = random.uniform((20, 45, 150, 0.075), (33, 90, 240, 0.15), (len(x), 4))
    _, seconds = timed(lambda: predict(x), repeats=1)
    found: dict[str, Any] = {"predictions": len(x), "predictions_s": seconds}
    fits = size(10**4, 4)
    curves = predict(x[:fits])[:, :87]
    model = load_surrogate()
    problems = [
        Problem.within(Settings.from_vector(row), {"convergence_mrad": 1, "inner_mrad": 2})
        for row in x[:fits]
    ]
    measured = [Measured(c.astype(float)) for c in curves]
    work = partial(fit_batch, model.curve, problems, measured, at_once=size(2048, 4))
    first, again = timed(lambda: work().cost, repeats=1)
    return found | {"fits": fits, "fits_first_s": first, "fits_s": again}


PARTS: dict[str, Callable[[Size], dict[str, Any]]] = {
    p.__name__: p
    for p in (
        agreement,
        bandwidth,
        throughput,
        parts,
        curve,
        table1,
        training,
        inference,
    )
}


def flat(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Nested figures as rows."""
    if not isinstance(value, dict):
        return [(name, value)]
    return [row for key, v in value.items() for row in flat(v, f"{name}: {key}" if name else key)]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="enough to see that it runs")
    parser.add_argument("--out", type=Path, default=ROOT / "output", help="folder of gpu.json")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    given = parser.parse_args()
    device = jax.local_devices()[0]
    results: dict[str, Any] = {"device": device.device_kind, "jax": jax.__version__}
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only:
        started = time.perf_counter()
        try:
            results[name] = PARTS[name](Size(given.small))
        except Exception:
            results[name] = {"failed": traceback.format_exc(limit=4)}
        results[name]["part_s"] = time.perf_counter() - started
        for key, value in flat(results[name], name):
            shown = f"{value:.4g}" if isinstance(value, float) else value
            print(f"{key:75} {shown}", flush=True)
        (given.out / "gpu.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
