"""Several levels of band limit against one grid of twice the converged band limit."""

import numpy as np
import pytest

from ppiscs_jax import Settings, scattering_kernel
from ppiscs_jax.simulation.averaging import run_levels
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.levels import levels_of
from ppiscs_jax.simulation.plan import Plan

DETECTORS = [(20.0, 40.0), (45.0, 160.0), (60.0, 200.0), (150.0, 160.0)]
EDGES = np.unique(DETECTORS)


def watch(kernel):
    curves = [kernel.curve(None, *detector) for detector in DETECTORS]
    return np.array([c.ppiscs for c in curves]), np.array([c.standard_error for c in curves])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("element", "zone", "voltage_kv", "rmsd", "n_atoms"),
    [
        ("Au", "110", 300.0, 0.085, 15),
        ("Al", "110", 300.0, 0.1, 20),
        ("Ag", "100", 120.0, 0.09, 12),
        ("Pb", "110", 60.0, 0.15, 8),
        ("Cu", "111", 200.0, 0.08, 8),
    ],
)
def test_levels_agree_with_a_finer_grid(element, zone, voltage_kv, rmsd, n_atoms):
    """Elements, voltages, zone axes, detectors and thicknesses: differences within errors.

    Detectors and thicknesses of one run are correlated, so the largest of 4 × n differences is
    judged: 4.5 combined errors are exceeded by chance in less than 1 of 1000 runs (normal
    distribution, 16 batches: Student's t makes that 1 of 100). What the converged band limit
    truncates, up to 0.2 %, is allowed in addition.
    """
    settings = Settings(element, zone, voltage_kv, 20.0, 60.0, 200.0, rmsd)
    kernel = scattering_kernel(
        settings,
        angle_edges_mrad=EDGES,
        detectors_mrad=DETECTORS,
        n_atoms=n_atoms,
        relative_error=0.005,
        seed=1,
    )
    grid = simulation_grid(settings, 200.0, n_atoms, 20.0)
    fine = grid.resampled(2 * grid.band_limit)
    plan = Plan.of(settings, fine, np.array([0.0, 20.0]), EDGES, n_atoms, seed=2)
    alone, _ = run_levels(levels_of([plan]), watch, 0.02, 1 << 16)
    (value, error), (expected, expected_error) = watch(kernel), watch(alone)
    allowed = 4.5 * np.hypot(error, expected_error) + 0.002 * expected
    assert np.all(np.abs(value - expected) < allowed)
