"""Independent references for the tests: one atom's scattering by quadrature, in float64."""

import numpy as np
from scipy.special import j0

from ppiscs_jax.constants import interaction_angstrom, wavelength_angstrom
from ppiscs_jax.multislice.form_factors import projected_scattering, scattering_factor_angstrom


def radial_quadrature(reach_angstrom):
    """Nodes and weights of ∫ … dr from 0 to reach [Å], dense towards the nucleus."""
    x, w = np.polynomial.legendre.leggauss(48)
    edges = np.concatenate([np.geomspace(1e-8, 0.1, 15), np.arange(0.2, reach_angstrom, 0.1)])
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (x + 1)).ravel(), (half * w).ravel()


def atom_amplitude(symbol, voltage_kv, g_inv_angstrom, cut_inv_angstrom=None):
    """∫ (exp(i γλ V(r)) − 1) e^{−2πi g·r} d²r [Å²] of one atom, for each g.

    `cut_inv_angstrom` cuts the scattering factor sharply at that frequency, as a fine grid
    of that band limit would.
    """
    r, weights = radial_quadrature(12.0)
    if cut_inv_angstrom is None:
        v = projected_scattering(symbol, r)
    else:
        x, w = np.polynomial.legendre.leggauss(2400)
        g = 0.5 * cut_inv_angstrom * (x + 1)
        spectrum = np.pi * cut_inv_angstrom * w * g * scattering_factor_angstrom(symbol, g)
        v = np.concatenate(
            [j0(2 * np.pi * part[:, None] * g) @ spectrum for part in np.array_split(r, 30)]
        )
    wave = np.exp(1j * float(interaction_angstrom(voltage_kv)) * v) - 1
    kernel = j0(2 * np.pi * np.ravel(g_inv_angstrom)[:, None] * r)
    return 2 * np.pi * (kernel @ (weights * r * wave)).reshape(np.shape(g_inv_angstrom))


def atom_cross_section(symbol, voltage_kv, inner_mrad, outer_mrad, cut_inv_angstrom=None):
    """Cross-section [Å²] of one atom for scattering into an annulus."""
    wavelength = float(wavelength_angstrom(voltage_kv))
    x, w = np.polynomial.legendre.leggauss(64)
    low, high = 1e-3 * inner_mrad / wavelength, 1e-3 * outer_mrad / wavelength
    g = low + 0.5 * (high - low) * (x + 1)
    amplitude = atom_amplitude(symbol, voltage_kv, g, cut_inv_angstrom)
    return float(np.sum(0.5 * (high - low) * w * 2 * np.pi * g * np.abs(amplitude) ** 2))
