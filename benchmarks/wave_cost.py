"""What one wave costs beside its own FFTs, and what a whole curve costs.

Au [110], 300 kV, 87 atoms, detector 60–200 mrad, on one core. Prints ratios from one run.

    python benchmarks/wave_cost.py
"""

import os
import resource
import time

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np

from ppiscs_jax import Settings, simulate
from ppiscs_jax.multislice.illumination import sample_tilts
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.plan import WAVES_PER_ROUND

SETTINGS = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
N_ATOMS = 87


def best_of(repeats, function, *args):
    """Shortest wall time [s] of several runs, after one that compiles."""
    jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    grid = simulation_grid(SETTINGS, 200.0, N_ATOMS, 20.0)
    specimen = make_specimen(SETTINGS, grid)
    edges = jnp.array([60.0, 200.0])
    slices = N_ATOMS * len(grid.sites)

    def waves(n):
        tilts, _ = sample_tilts((0.0, 90.0), np.array([0.0, 20.0]), (0,), 0, n)
        return scatter_batch(
            grid,
            specimen,
            jax.random.key(0),
            jnp.asarray(tilts, jnp.float32),
            edges,
            n_atoms=N_ATOMS,
            n_planes=N_ATOMS,
        )

    @jax.jit
    def own_ffts(psi):
        return jax.lax.fori_loop(0, slices, lambda _, p: jnp.fft.ifft2(jnp.fft.fft2(p)), psi)

    ffts = best_of(5, own_ffts, jnp.ones(grid.shape, jnp.complex64))
    one_round, two_rounds = (
        best_of(3, waves, WAVES_PER_ROUND),
        best_of(3, waves, 2 * WAVES_PER_ROUND),
    )
    wave = (two_rounds - one_round) / WAVES_PER_ROUND
    shared = one_round / WAVES_PER_ROUND
    print(f"grid {grid.shape[0]} × {grid.shape[1]}, {slices} slices, one core")
    print(f"2-D FFTs of one wave alone            {ffts:.4f} s   1.00")
    print(f"one wave                              {wave:.4f} s   {wave / ffts:.2f}")
    print(f"one wave with its share of the planes {shared:.4f} s   {shared / ffts:.2f}")

    start = time.perf_counter()
    curve = simulate(SETTINGS, relative_error=0.005)
    seconds = time.perf_counter() - start
    error = (curve.standard_error / curve.ppiscs).max()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"curve to {100 * error:.2f} % standard error: {curve.waves} waves, {seconds:.1f} s of one "
        f"core, peak memory {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
