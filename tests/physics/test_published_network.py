"""The published network is what its grid gives; converged values lie below it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import Settings
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import sample_tilts
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch
from ppiscs_jax.simulation.scan import paper_grid

SETTINGS = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)

# Output of the published network (package rt_ppiscs 1.0.1) for SETTINGS at n = 1 … 10 [Å²],
# mean over C10 = −100, 0, 100 Å and C30 = −1, 0, 1 µm.
PUBLISHED = np.array(
    [0.01097, 0.02364, 0.03924, 0.05894, 0.08074, 0.10260, 0.12575, 0.14624, 0.16684, 0.18698]
)


def thin_curve(*, core_correction):
    """Means and errors at n = 1 … 10 on the paper's pixels, 24 batches of 16 waves.

    The paper's pixel size on 2 × 2 cells instead of 17 × 12: the tilt average needs no more.
    """
    paper = paper_grid("110", 4.0782)
    shape = tuple(int(2 * round(n / m)) for n, m in zip(paper.shape, paper.repeats, strict=True))
    lengths = tuple(2 * b / m for b, m in zip(paper.lengths, paper.repeats, strict=True))
    grid = CrystalGrid(lengths, shape, 1.0, "110", (2, 2))
    specimen = make_specimen(SETTINGS, grid, core_correction=core_correction)
    batches = []
    for seed in range(24):
        tilts, _ = sample_tilts((0.0, 90.0), np.array([0.0, 20.0]), (seed,), 0, 16)
        fractions = scatter_batch(
            grid,
            specimen,
            jax.random.key(seed),
            jnp.asarray(tilts, jnp.float32),
            jnp.array([60.0, 200.0]),
            n_atoms=10,
            n_planes=16,
        )
        batches.append(np.asarray(fractions, dtype=float)[..., 0].mean(axis=0))
    area = SETTINGS.zone_axis_data.column_area * 4.0782**2
    return area * np.mean(batches, axis=0), area * np.std(batches, axis=0, ddof=1) / np.sqrt(24)


@pytest.mark.slow
def test_paper_grid_without_correction_meets_the_network():
    """Full Nyquist of 15.7 Å⁻¹, no core correction: 1.5 % at n = 1, 5 % up to n = 10.

    The network's own error and its training data's noise are of that size; our standard error
    is below 1 %.
    """
    value, error = thin_curve(core_correction=False)
    assert np.all(error < 0.01 * value)
    assert value[0] == pytest.approx(PUBLISHED[0], rel=0.015)
    np.testing.assert_allclose(value, PUBLISHED, rtol=0.05)


@pytest.mark.slow
def test_converged_values_lie_below_it():
    """On the same grid with core correction the thin crystal scatters 10–11 % less.

    At n = 1 the converged value is known to 0.1 %: the network lies 11 % above it.
    """
    value, _ = thin_curve(core_correction=True)
    assert PUBLISHED[0] / value[0] - 1 == pytest.approx(0.11, abs=0.01)
