"""Several levels of band limit against one grid of twice the converged band limit."""

import jax
import numpy as np
import pytest
from scipy import stats

from ppiscs_jax import Settings, scattering_kernel
from ppiscs_jax.simulation.averaging import run_levels
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.levels import levels_of
from ppiscs_jax.simulation.plan import Plan

DETECTORS = [(20.0, 40.0), (45.0, 160.0), (60.0, 200.0), (150.0, 160.0)]
EDGES = np.unique(DETECTORS)


def on_a_finer_grid(settings, rings, edges, n_atoms, watch, relative_error, seed):
    """The kernel on a single grid of twice the converged band limit."""
    grid = simulation_grid(settings, edges[-1], n_atoms, rings[-1])
    fine = grid.resampled(2 * grid.band_limit)
    plan = Plan.of(settings, fine, rings, edges, n_atoms, seed=seed)
    return run_levels(levels_of([plan]), watch, relative_error, 1 << 16)[0]


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
    alone = on_a_finer_grid(settings, np.array([0.0, 20.0]), EDGES, n_atoms, watch, 0.02, 2)
    (value, error), (expected, expected_error) = watch(kernel), watch(alone)
    allowed = 4.5 * np.hypot(error, expected_error) + 0.002 * expected
    assert np.all(np.abs(value - expected) < allowed)


RINGS = np.array([0.0, 10.0, 20.0, 30.0])
ALL_EDGES = np.array([0.0, 35.0, 60.0, 100.0, 150.0, 160.0, 200.0, 250.0])
CASES = 16
ELEMENTS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "Pb")
VOLTAGES_KV = (60.0, 80.0, 120.0, 200.0, 300.0)


def difference(case: int) -> tuple[float, float]:
    """Difference over its error in one setting, and its degrees of freedom.

    One detector, aperture and thickness of each setting, so that all differences are independent.
    """
    random = np.random.default_rng([7, case])
    element, zone = ELEMENTS[case % len(ELEMENTS)], ("100", "110", "111")[case % 3]
    voltage = VOLTAGES_KV[case % len(VOLTAGES_KV)]
    n_atoms = int(random.integers(2, 6))
    aperture = float(random.choice(RINGS[1:]))
    inner, outer = (float(edge) for edge in np.sort(random.choice(ALL_EDGES[1:], 2, replace=False)))
    n = int(random.integers(1, n_atoms + 1))
    settings = Settings(element, zone, voltage, aperture, inner, outer, 0.1)
    of_levels = scattering_kernel(
        settings,
        apertures_mrad=RINGS[1:],
        angle_edges_mrad=ALL_EDGES,
        detectors_mrad=[(inner, outer)],
        n_atoms=n_atoms,
        relative_error=0.02,
        seed=2 * case,
    )

    def watch(kernel):
        curve = kernel.curve(aperture, inner, outer)
        return curve.ppiscs, curve.standard_error

    alone = on_a_finer_grid(settings, RINGS, ALL_EDGES, n_atoms, watch, 0.03, 2 * case + 1)
    curves = [kernel.curve(aperture, inner, outer) for kernel in (of_levels, alone)]
    squared = np.array([curve.standard_error[n - 1] ** 2 for curve in curves])
    freedom = np.array([curve.batches - 1 for curve in curves])
    off = (curves[0].ppiscs[n - 1] - curves[1].ppiscs[n - 1]) / np.sqrt(squared.sum())
    jax.clear_caches()
    print(f"{element} [{zone}] {voltage:g} kV, {inner:g} to {outer:g} mrad: {off:.2f}", flush=True)
    return off, float(squared.sum() ** 2 / np.sum(squared**2 / freedom))  # Welch, Satterthwaite


@pytest.mark.slow
def test_levels_are_unbiased_over_all_kinds_of_settings():
    """χ² of independent differences, each made normal by Student's t.

    At errors of 2 to 4 % what the single grids truncate, 0.1 %, does not count. The limits are
    exceeded by chance in 1 of 500 runs. Where a fine level has waves in some batches only, an error
    has fewer degrees of freedom than it is given here, and χ² is somewhat larger than it should be.
    """
    off, freedom = np.array([difference(case) for case in range(CASES)]).T
    normal = stats.norm.ppf(stats.t.cdf(off, freedom))
    chi_squared = float(np.sum(normal**2))
    print(f"chi squared {chi_squared:.1f} of {CASES}, mean {normal.mean():.2f}")
    low, high = stats.chi2.ppf([0.001, 0.999], CASES)
    assert low < chi_squared < high
    assert abs(normal.mean()) < 3.1 / np.sqrt(CASES)
