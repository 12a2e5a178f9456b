"""Gradients are part of the physics: against central differences, and never zero."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, simulate
from ppiscs_jax.simulation.gradient import FixedWaves, simulator
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.plan import Plan

SETTINGS = Settings("Au", "110", 200.0, 20.0, 60.0, 200.0, 0.085)
PARAMETERS = (
    "voltage_kv",
    "convergence_mrad",
    "inner_mrad",
    "outer_mrad",
    "rmsd_angstrom",
    "mistilt_x_mrad",
    "mistilt_y_mrad",
)


def curve(values, n_atoms, settings=SETTINGS):
    """PPISCS against thickness as a function of the seven numbers of PARAMETERS."""
    changed = Settings(
        element=settings.element,
        zone_axis=settings.zone_axis,
        **{f: values[i] for i, f in enumerate(PARAMETERS[:5])},
        mistilt_mrad=values[5:],
    )
    mistilted = dataclasses.replace(settings, mistilt_mrad=(1.3, -2.0))
    return simulator(mistilted, n_atoms, waves=2)(changed)


def numbers(settings=SETTINGS, mistilt=(1.3, -2.0)):
    return np.array([getattr(settings, f) for f in PARAMETERS[:5]] + list(mistilt))


@pytest.mark.parametrize(
    ("settings", "n_atoms"),
    [
        pytest.param(SETTINGS, 4, marks=pytest.mark.slow),
        (Settings("Al", "100", 80.0, 25.0, 40.0, 120.0, 0.1), 2),
    ],
    ids=["Au", "Al"],
)
def test_autodiff_equals_central_differences(settings, n_atoms):
    """Float64, the same random numbers, smooth edges: relative 1e-5 for every parameter.

    Central differences of relative step h = 1e-4 err by h² f‴ x² / 6 f′, 6e-7 at worst here;
    autodiff by rounding.
    """
    with jax.enable_x64(True):
        x = jnp.asarray(numbers(settings))
        jacobian = np.asarray(jax.jacrev(curve)(x, n_atoms, settings))
        for i, name in enumerate(PARAMETERS):
            step = np.zeros(len(PARAMETERS))
            step[i] = 1e-4 * abs(float(x[i]))
            ahead, behind = (np.asarray(curve(x + s, n_atoms, settings)) for s in (step, -step))
            difference = (ahead - behind) / (2 * step[i])
            assert np.all(difference != 0), name
            np.testing.assert_allclose(jacobian[:, i], difference, rtol=1e-5, err_msg=name)


@pytest.mark.slow
def test_float32_gradients_follow_float64():
    """The hot path's float32 gradients, same crystal: within 1 % of each parameter's largest.

    Float32 waves of unit norm err by 1e-6; the detector's fraction is a hundredth of that norm,
    and a derivative with respect to an angle a tenth again of the terms that cancel in it.
    """
    x = numbers()
    single = np.asarray(jax.jacrev(curve)(jnp.asarray(x, jnp.float32), 4))
    with jax.enable_x64(True):
        double = np.asarray(jax.jacrev(curve)(jnp.asarray(x), 4))
    assert np.all(np.abs(single - double).max(axis=0) < 0.01 * np.abs(double).max(axis=0))


@pytest.mark.slow
def test_memory_grows_like_the_square_root():
    """Temporary memory of a reverse-mode gradient: sixteen times the slices, at most five times.

    Blocks of √n atoms are recomputed: memory is a + b √n, with a the spectra of one atom.
    """

    def memory(n_atoms):
        last = jax.jit(jax.grad(lambda x: curve(x, n_atoms, small)[-1]))
        compiled = last.lower(jnp.asarray(numbers(small), jnp.float32)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small = Settings("Al", "100", 60.0, 20.0, 60.0, 150.0, 0.1)
    few, many = memory(4), memory(64)
    assert many < 5 * few


def plan_of(settings):
    """A plan of two atoms whose waves make their own planes, as where they are differentiated."""
    grid = simulation_grid(settings, float(settings.outer_mrad), 2, 20.0)
    edges = np.array([0.0, float(settings.inner_mrad), float(settings.outer_mrad)])
    plan = Plan.of(settings, grid, np.array([0.0, 20.0]), edges, 2, seed=3)
    return dataclasses.replace(plan, n_planes=0)


@pytest.mark.slow
def test_smooth_edges_tend_to_the_hard_detector():
    """Narrow edges give what the same waves of the plan scatter into a hard-edged detector."""
    # Mistilted, a plan draws its tilts from the whole aperture, as gradients always do.
    mistilted = dataclasses.replace(SETTINGS, mistilt_mrad=(1.3, -2.0))
    plan = plan_of(mistilted)
    hard = plan.grow(0, 0)[0, :, 1] / plan.waves_per_round
    waves = FixedWaves.of(plan, plan.waves_per_round, edge_width_mrad=0.01)
    expected = SETTINGS.column_area_angstrom2 * hard
    np.testing.assert_allclose(waves.curve(mistilted), expected, rtol=2e-3)


def test_simulate_cannot_be_differentiated():
    """It says what can."""
    with pytest.raises(InputError, match=r"differentiate simulator\(settings, n_atoms\)"):
        jax.grad(lambda s: simulate(s).ppiscs[0])(SETTINGS)


def test_both_forms_of_settings():
    """Settings and their nine numbers give the same curve."""
    settings = Settings("Al", "100", 60.0, 20.0, 60.0, 150.0, 0.1)
    curve = simulator(settings, 1, waves=2)
    np.testing.assert_allclose(curve(settings), curve(settings.to_vector()), rtol=1e-6)


def test_tilts_fill_the_aperture():
    """Not the irreducible wedge alone, whose average has other derivatives by mistilt."""
    waves = FixedWaves.of(plan_of(Settings("Al", "100", 60.0, 20.0, 60.0, 150.0, 0.1)), 16)
    quadrants = {tuple(np.sign(direction)) for direction in np.asarray(waves.directions)}
    assert len(quadrants) == 4
    assert np.all(np.hypot(*np.asarray(waves.directions).T) <= 1)
    assert len(waves.keys) == 16


def test_another_crystal_is_refused():
    curve = simulator(Settings("Al", "100", 60.0, 20.0, 60.0, 150.0, 0.1), 1, waves=2)
    with pytest.raises(InputError, match=r"Au \[110\]: must be Al \[100\]"):
        curve(SETTINGS)
