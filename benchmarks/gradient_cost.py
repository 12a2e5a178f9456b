"""What a gradient costs beside a value, in time and memory, on one core.

Au [110], 300 kV, two waves, the derivative of PPISCS at the largest thickness with respect to
voltage, convergence and collection angles and rmsd. Prints ratios from one run.

    python benchmarks/gradient_cost.py
"""

import os

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
from wave_cost import SETTINGS, best_of

from ppiscs_jax.simulation.gradient import gradient_grid, ppiscs_estimate, unit_tilts


def main():
    tilts = jnp.asarray(unit_tilts(SETTINGS, 2, seed=0))
    key = jax.random.key(0)
    print("atoms   value [s]   gradient [s]   ratio   temporary memory of the gradient [MB]")
    for n_atoms in (9, 36, 81):
        grid = gradient_grid(SETTINGS, n_atoms)

        def last(settings, grid=grid, n_atoms=n_atoms):
            return ppiscs_estimate(settings, grid, key, tilts, n_atoms=n_atoms)[-1]

        value, gradient = jax.jit(last), jax.jit(jax.value_and_grad(last))
        seconds = best_of(3, value, SETTINGS), best_of(3, gradient, SETTINGS)
        memory = gradient.lower(SETTINGS).compile().memory_analysis().temp_size_in_bytes
        print(
            f"{n_atoms:5d}   {seconds[0]:9.3f}   {seconds[1]:12.3f}   "
            f"{seconds[1] / seconds[0]:5.2f}   {memory / 1e6:8.1f}"
        )


if __name__ == "__main__":
    main()
