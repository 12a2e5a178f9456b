"""Physical constants and the electron's kinematics.

Values: CODATA 2022 (Mohr, Newell, Taylor, Tiesinga, Rev. Mod. Phys. 97 (2025) 025002).
"""

import jax.numpy as jnp

from ppiscs_jax.types import Scalar

ELECTRON_REST_ENERGY_KEV = 510.99895069
"""Rest energy of the electron m₀c² [keV]."""

PLANCK_TIMES_C_KEV_ANGSTROM = 12.398419843320026
"""hc [keV Å], exact in the SI."""


def wavelength_angstrom(voltage_kv: Scalar) -> Scalar:
    """Relativistic de Broglie wavelength λ = hc / √(E (E + 2 m₀c²)) [Å].

    Pure and differentiable. `voltage_kv` is the accelerating voltage [kV].
    """
    return PLANCK_TIMES_C_KEV_ANGSTROM / jnp.sqrt(
        voltage_kv * (voltage_kv + 2 * ELECTRON_REST_ENERGY_KEV)
    )


def interaction_angstrom(voltage_kv: Scalar) -> Scalar:
    """γλ [Å]: turns a scattering-factor density [Å⁻¹] into a phase [rad].

    A slice of projected scattering factor Σ f_e(g) e^{2πi g·r} / area advances the phase
    of the wave by γλ times that sum (Kirkland, Advanced Computing in Electron Microscopy,
    3rd ed., Eqs. 5.25 and 5.31).
    """
    return (1 + voltage_kv / ELECTRON_REST_ENERGY_KEV) * wavelength_angstrom(voltage_kv)
