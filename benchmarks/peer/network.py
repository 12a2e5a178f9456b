"""The published network beside ours."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from peer.common import (
    COLUMN_AREA,
    SETTINGS,
    ask,
    console,
    table,
)
from ppiscs_jax import simulate
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import sample_tilts
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch

NETWORK = """
import json, sys
import numpy as np
from rt_ppiscs.model import PPISCS
print(json.dumps(PPISCS().predict(np.array(json.load(sys.stdin))).tolist()))
"""


def network_curves(python):
    """Curves [Å²] of the published network for C10 = −100, 0, 100 Å and C30 = −1, 0, 1 µm.

    Shape (9, n), or None if it is not there. Its spread over aberrations is its own noise.
    """
    s = SETTINGS
    rows = [
        [79, 0, s.voltage_kv, c30, c10, s.convergence_mrad, 60, 200, s.rmsd_angstrom]
        for c10 in (-100, 0, 100)
        for c30 in (-0.001, 0, 0.001)
    ]
    answer = ask(python, NETWORK, rows)
    if isinstance(answer, str):
        console.print(f"published network: skipped, {answer}")
        return None
    return np.array(answer)


def paper_pixels_curve(n_atoms, batches):
    """Means and standard errors [Å²] of plane waves on the paper's pixels, no core correction.

    Band limit at the full Nyquist frequency; 2 × 2 cells, for the tilt average needs no more.
    """
    lengths = tuple((2 * np.array(SETTINGS.zone_axis_data.cell)).tolist())
    grid = CrystalGrid(lengths, (180, 256), 1.0, "110", (2, 2))
    specimen = make_specimen(SETTINGS, grid, core_correction=False)
    means = []
    for seed in range(batches):
        tilts, _ = sample_tilts((0.0, 90.0), np.array([0.0, 20.0]), (seed,), 0, 16)
        fractions = scatter_batch(
            grid,
            specimen,
            jax.random.key(seed),
            jnp.asarray(tilts, jnp.float32),
            jnp.array([SETTINGS.inner_mrad, SETTINGS.outer_mrad]),
            n_atoms=n_atoms,
            n_planes=n_atoms,
        )
        means.append(COLUMN_AREA * np.asarray(fractions, dtype=float)[..., 0].mean(axis=0))
    return np.mean(means, axis=0), np.std(means, axis=0, ddof=1) / math.sqrt(batches)


def network_benchmark(options):
    """PPISCS of the published network, of its grid without core correction, and converged."""
    thicknesses = np.array([1, 2, 5, 10, 20, 60])
    curves = network_curves(options.rt_ppiscs_python)
    if curves is None:
        return
    network, noise = curves.mean(axis=0), curves.std(axis=0, ddof=1)
    target = 0.01 if options.quick else 0.003
    converged = simulate(SETTINGS, target, 0, n_atoms=60)
    plain, plain_error = paper_pixels_curve(60, 6 if options.quick else 24)
    rows = table(
        "PPISCS [Å²] of the published network, its spread over C10 and C30, and ours",
        "n",
        "network ± spread",
        "paper's pixels, plain",
        "network /\nplain − 1",
        "converged",
        "network /\nconverged − 1",
    )
    for n in thicknesses:
        i = n - 1
        sigma_plain = plain_error[i] / plain[i]
        sigma_converged = converged.standard_error[i] / converged.ppiscs[i]
        rows.add_row(
            str(n),
            f"{network[i]:.5f} ± {noise[i]:.5f}",
            f"{plain[i]:.5f} ± {plain_error[i]:.5f}",
            f"{100 * (network[i] / plain[i] - 1):+.1f} ± {100 * sigma_plain:.1f} %",
            f"{converged.ppiscs[i]:.5f} ± {converged.standard_error[i]:.5f}",
            f"{100 * (network[i] / converged.ppiscs[i] - 1):+.1f} ± {100 * sigma_converged:.1f} %",
        )
    console.print(rows)
