"""Against abTEM, an independent multislice program."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import qmc

from ppiscs_jax import Settings, simulate
from ppiscs_jax.interop.abtem import potential, scattered_fractions, slab
from ppiscs_jax.multislice.grid import make_grid
from ppiscs_jax.multislice.potential import transmission
from ppiscs_jax.multislice.wave import make_specimen, transmit

abtem = pytest.importorskip("abtem")

EDGES = np.array([0.0, 20.0, 40.0, 60.0, 100.0, 150.0, 200.0])


def size_angstrom(settings, grid):
    """Edges of the supercell [Å]."""
    return settings.element_data.lattice_angstrom * np.array(grid.lengths)


@pytest.fixture(scope="module", params=[pytest.param("Al", marks=pytest.mark.slow), "Au"])
def crystal(request):
    settings = Settings(request.param, "100", 200.0, 20.0, 60.0, 200.0, 0.08)
    return settings, make_grid("100", settings.element_data.lattice_angstrom, 14.0)


@pytest.mark.parametrize(
    "tilt", [(13.1, 7.3), pytest.param((0.0, 0.0), marks=pytest.mark.slow)], ids=["tilted", "axis"]
)
def test_same_crystal_same_tilt(crystal, tilt):
    """Same displaced atoms, same tilt, n = 2: no statistics, only the two programs differ.

    abTEM spreads every atom over four pixels of size h, which damps high frequencies by a
    factor 1 − O(h²): at h = 0.53 pm up to 0.6 % of the intensity at 150–200 mrad, and less at
    lower angles; its band limit at 63 Å⁻¹ costs less (reference.atom_cross_section).
    """
    settings, grid = crystal
    rng = np.random.default_rng(4)
    size = size_angstrom(settings, grid)
    scale = 0.08 / size
    planes = [
        grid.sites[i % 2] + scale * rng.standard_normal(grid.sites[0].shape) for i in range(4)
    ]
    specimen_of_abtem = potential(slab(settings, size, planes), 4, (1536, 1536))
    specimen = make_specimen(settings, grid)
    stack = jnp.array([transmission(grid, specimen.atom, jnp.asarray(p)) for p in planes])
    ours = transmit(
        grid,
        specimen,
        jnp.asarray(tilt),
        lambda repeat, layer: stack[2 * repeat + layer],
        jnp.arange(2),
        jnp.asarray(EDGES),
    )[-1, :-1]
    theirs = scattered_fractions(specimen_of_abtem, settings.voltage_kv, np.array(tilt), EDGES)
    np.testing.assert_allclose(ours, theirs, rtol=0.006)


@pytest.mark.slow
def test_111_at_full_thickness():
    """Gold [111] at 300 kV, 25 nm: same displaced atoms, same tilt, every bin to 150 mrad to 1 %.

    Three planes a repeat, 105 in all. Pixels of 0.52 pm cost up to 0.7 % at 150 mrad (∝ h²,
    test_same_crystal_same_tilt). abTEM is asked how many slices it made: of one thickness
    that does not divide the cell exactly it makes one too many.
    """
    settings = Settings("Au", "111", 300.0, 20.0, 60.0, 150.0, 0.085)
    a = settings.element_data.lattice_angstrom
    grid = make_grid("111", a, 14.0, cell_angstrom=4.9)
    rng = np.random.default_rng(6)
    size = size_angstrom(settings, grid)
    scale = 0.085 / size
    planes = [
        grid.sites[i % 3] + scale * rng.standard_normal(grid.sites[0].shape) for i in range(105)
    ]
    specimen_of_abtem = potential(slab(settings, size, planes), 105, (1120, 960))
    assert len(specimen_of_abtem) == 105
    assert max(specimen_of_abtem.sampling) < 0.006
    specimen = make_specimen(settings, grid)
    stack = jnp.array([transmission(grid, specimen.atom, jnp.asarray(p)) for p in planes])
    edges, tilt = np.array([*np.arange(0.0, 141.0, 20.0), 150.0]), np.array([13.1, 7.3])
    ours = transmit(
        grid,
        specimen,
        jnp.asarray(tilt),
        lambda repeat, layer: stack[3 * repeat + layer],
        jnp.arange(35),
        jnp.asarray(edges),
    )[-1, :-1]
    theirs = scattered_fractions(specimen_of_abtem, settings.voltage_kv, tilt, edges)
    np.testing.assert_allclose(ours, theirs, rtol=0.01)


@pytest.mark.slow
def test_simulate_equals_abtem(crystal):
    """N = 1 and 2: our tilt average against one made of abTEM's own waves and phonons.

    96 waves, tilts from a Sobol set over the whole aperture, abTEM's frozen
    phonons (its sigma is per axis from 1.0.8). Agreement within 3.5 combined standard errors,
    each below 1 %, plus 0.3 % for abTEM's pixels at h = 0.75 pm (previous test, ∝ h²; four
    comparisons).
    """
    settings, grid = crystal
    area = settings.zone_axis_data.column_area * settings.element_data.lattice_angstrom**2
    ours = simulate(settings, relative_error=0.006, n_atoms=2, seed=11)
    s, t = qmc.Sobol(2, rng=5).random(96).T
    radius, azimuth = settings.convergence_mrad * np.sqrt(s), 2 * np.pi * t
    tilts = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=-1)
    for n in (1, 2):
        layers = [grid.sites[i % 2] for i in range(2 * n)]
        atoms = slab(settings, size_angstrom(settings, grid), layers)
        waves = []
        for i, tilt in enumerate(tilts):
            phonons = abtem.FrozenPhonons(atoms, 1, sigmas=0.08, directions="xy", seed=i)
            made = potential(phonons, 2 * n, (1080, 1080))
            fractions = scattered_fractions(made, settings.voltage_kv, tilt, EDGES)
            waves.append(area * fractions[3:].sum())
        mean, error = np.mean(waves), np.std(waves, ddof=1) / np.sqrt(len(waves))
        combined = np.hypot(error, ours.standard_error[n - 1])
        assert error < 0.01 * mean
        assert ours.standard_error[n - 1] < 0.01 * ours.ppiscs[n - 1]
        assert abs(ours.ppiscs[n - 1] - mean) < 3.5 * combined + 0.003 * mean
