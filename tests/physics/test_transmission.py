"""The transmission function of a plane of atoms, and one slice of propagation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax.constants import interaction_angstrom, wavelength_angstrom
from ppiscs_jax.crystal import ELEMENTS
from ppiscs_jax.multislice.form_factors import scattering_factor_angstrom
from ppiscs_jax.multislice.grid import make_grid
from ppiscs_jax.multislice.illumination import plane_wave, split_tilt
from ppiscs_jax.multislice.potential import make_atom, transmission
from ppiscs_jax.multislice.propagation import propagator

from .reference import atom_amplitude


@pytest.mark.parametrize(
    ("symbol", "kv"), [("Al", 300.0), ("Cu", 120.0), ("Au", 300.0), ("Pb", 60.0)]
)
def test_single_atom_equals_its_exact_transform(symbol, kv):
    """The spectrum of t of one atom anywhere on a coarse grid is the exact Hankel transform.

    Tolerance, of the amplitude at g = 0: the neighbours are 9 Å away (their tails turn the
    atom by < 1e-5); float32 gives 1e-6; inside k_c / 2 nothing else is left but the aliases of
    exp(i v_soft), largest for lead at 60 kV: 1e-4.
    """
    a = ELEMENTS[symbol].lattice_angstrom
    grid = make_grid("110", a, 10.0, cell_angstrom=9.0)
    position = np.array([0.313, 0.727])
    t = transmission(grid, make_atom(symbol, a, grid, kv), jnp.asarray(position[None]))
    area = np.prod(grid.lengths) * a**2
    spectrum = np.fft.fft2(np.asarray(t, complex)) / t.size * area
    orders = [np.fft.fftfreq(n) * n for n in grid.shape]
    phase = np.exp(-2j * np.pi * (orders[0][:, None] * position[0] + orders[1] * position[1]))
    some = (slice(1, grid.shape[0] // 5, 7), slice(1, grid.shape[1] // 5, 7))
    exact = atom_amplitude(symbol, kv, grid.radial_frequency[some] / a)
    error = np.abs((spectrum / phase)[some] - exact)
    scale = abs(atom_amplitude(symbol, kv, np.array([0.0]))[0])
    assert error.max() < 1e-4 * scale


@pytest.mark.parametrize("symbol", ["Al", "Au"])
def test_weak_potential_is_first_born(symbol):
    """With the potential scaled by s, scattered amplitudes tend to i s γλ f_e S / area.

    exp(isv) = 1 + isv − s²v²/2 …: at s = 0.1 the amplitudes (of unit incident amplitude) are
    met to 1e-4, and what is left falls with s².
    """
    a, kv = ELEMENTS[symbol].lattice_angstrom, 300.0
    grid = make_grid("100", a, 8.0)
    atom = make_atom(symbol, a, grid, kv, core_correction=False)
    rng = np.random.default_rng(1)
    positions = grid.sites[0] + 0.01 * rng.standard_normal(grid.sites[0].shape)
    gx, gy = (np.fft.fftfreq(n) * n for n in grid.shape)
    structure = np.exp(-2j * np.pi * (positions[:, :1] * gx)).T @ np.exp(
        -2j * np.pi * (positions[:, 1:] * gy)
    )
    area = np.prod(grid.lengths) * a**2
    f_e = scattering_factor_angstrom(symbol, grid.radial_frequency / a) * grid.in_band
    born = 1j * float(interaction_angstrom(kv)) * f_e * structure / area
    # The Nyquist row and column carry no sign: a real phase keeps only their real part.
    inside = grid.radial_frequency < 0.98 * grid.band_limit
    inside[0, 0] = False

    def left(scale):
        weak = dataclasses.replace(atom, phase=scale * atom.phase)
        t = np.asarray(transmission(grid, weak, jnp.asarray(positions)), complex)
        amplitudes = np.fft.fft2(t) / t.size
        return np.abs(amplitudes - scale * born)[inside].max()

    assert left(0.1) < 1e-4
    assert left(0.1) / left(0.05) == pytest.approx(4, rel=0.1)


def test_unitary_without_mask_and_correction():
    """Without mask and core correction every step conserves probability, to rounding.

    Forty slices in complex64: the norm wanders by less than 1e-5.
    """
    a, kv = ELEMENTS["Au"].lattice_angstrom, 80.0
    grid = make_grid("110", a, 6.0)
    wavelength = wavelength_angstrom(kv)
    atom = make_atom("Au", a, grid, kv, core_correction=False)
    tilt = split_tilt(grid, jnp.array([17.0, -9.0]), a, wavelength)
    free_space = propagator(grid, tilt.residual, a, wavelength, 1.4, band_limited=False)
    psi = plane_wave(grid, tilt.order)
    for i in range(40):
        shift = 0.02 * jax.random.normal(jax.random.key(i), grid.sites[0].shape)
        t = transmission(grid, atom, jnp.asarray(grid.sites[i % 2]) + shift)
        psi = jnp.fft.ifft2(free_space * jnp.fft.fft2(psi * t))
    assert float(jnp.mean(jnp.abs(psi) ** 2)) == pytest.approx(1, abs=1e-5)


def test_tilt_split_is_exact():
    """Reciprocal vector plus residual is the tilt, and the residual fits its zone."""
    a, wavelength = 4.0, wavelength_angstrom(200.0)
    grid = make_grid("100", a, 8.0)
    for tilt in ([0.0, 0.0], [13.7, 28.1], [-40.0, 3.3]):
        order, residual = split_tilt(grid, jnp.array(tilt), a, wavelength)
        back = (order / np.array(grid.lengths) + residual) / a * wavelength * 1e3
        np.testing.assert_allclose(back, tilt, atol=1e-4)
        assert np.all(np.abs(residual) <= 0.5001 / np.array(grid.lengths))
