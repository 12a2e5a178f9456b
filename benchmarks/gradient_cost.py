"""What a gradient costs beside a value, in time and memory, on one core.

Au [110], 300 kV, two waves, the derivative of PPISCS at the largest thickness with respect to
voltage, convergence and collection angles and rmsd. Prints ratios from one run.

    python benchmarks/gradient_cost.py
"""

import os

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
from wave_cost import SETTINGS, best_of

from ppiscs_jax import simulator


def main():
    print("atoms   value [s]   gradient [s]   ratio   temporary memory of the gradient [MB]")
    for n_atoms in (9, 36, 81):
        curve = simulator(SETTINGS, n_atoms, waves=2)

        def last(settings, curve=curve):
            return curve(settings)[-1]

        value, gradient = jax.jit(last), jax.jit(jax.value_and_grad(last))
        seconds = best_of(3, value, SETTINGS), best_of(3, gradient, SETTINGS)
        memory = gradient.lower(SETTINGS).compile().memory_analysis().temp_size_in_bytes
        print(
            f"{n_atoms:5d}   {seconds[0]:9.3f}   {seconds[1]:12.3f}   "
            f"{seconds[1] / seconds[0]:5.2f}   {memory / 1e6:8.1f}"
        )


if __name__ == "__main__":
    main()
