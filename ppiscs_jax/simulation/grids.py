"""Choice of the grid on which curves of given settings are converged."""

import math

import jax
import numpy as np

from ppiscs_jax.constants import interaction_angstrom, wavelength_angstrom
from ppiscs_jax.errors import InputError
from ppiscs_jax.multislice.form_factors import scattering_factor_angstrom
from ppiscs_jax.multislice.grid import CrystalGrid, make_grid
from ppiscs_jax.settings import Settings

BAND_MARGIN = 1.6
LOST_FRACTION = 0.03
LEAST_OUTER_MRAD = 150.0


def frequency_inv_angstrom(settings: Settings, angle_mrad: float) -> float:
    """Spatial frequency θ / λ [Å⁻¹] of a scattering angle."""
    # Concrete settings give a concrete grid, even while something around is being traced.
    with jax.ensure_compile_time_eval():
        return 1e-3 * angle_mrad / float(wavelength_angstrom(settings.voltage_kv))


def band_limit_inv_angstrom(settings: Settings, outer_mrad: float, n_atoms: int) -> float:
    """Band limit k_c [Å⁻¹] at which curves up to `outer_mrad` are converged.

    Two conditions. k_c holds the detector with a margin, BAND_MARGIN · θₑ / λ, for θₑ of at
    least LEAST_OUTER_MRAD. And electrons that leave the band at k_c and would come back are
    few: with f_e → C / g² at high angle, n π (γλ C)² / (k_c² A_col), the fraction that single
    scattering takes past k_c in n atoms, is at most LOST_FRACTION.

    With these, doubling k_c moves annular detectors up to 200 mrad, narrow ones included, by
    less than 0.2 % of their value at any thickness, and those up to 250 mrad by less than 1 %
    (α up to 35.5 mrad; tests/physics/test_convergence.py).
    """
    # Concrete settings give a concrete grid, even while something around is being traced.
    with jax.ensure_compile_time_eval():
        wavelength = float(wavelength_angstrom(settings.voltage_kv))
        gamma_lambda = float(interaction_angstrom(settings.voltage_kv))
    angular = BAND_MARGIN * 1e-3 * max(outer_mrad, LEAST_OUTER_MRAD) / wavelength
    far = np.array([20.0])
    tail = (gamma_lambda * far**2 * scattering_factor_angstrom(settings.element, far)).item()
    area = settings.column_area_angstrom2
    lossy = tail * math.sqrt(math.pi * n_atoms / (area * LOST_FRACTION))
    return max(angular, lossy)


BULK_FRACTION = 0.99
BULK_MARGIN = 1.05
NARROW_MARGIN = 1.25
NARROW = 1.5
"""Below this ratio of outer to inner angle a detector is narrow: what a coarse grid misses beside
its band limit, and what coarse slices change, then hardly averages out over the detector."""

LEAST_SHARE = 0.4


def narrow(inner_mrad: np.ndarray, outer_mrad: np.ndarray) -> np.ndarray:
    """Whether detectors are narrow, by their angles [mrad]."""
    return outer_mrad < NARROW * inner_mrad


def coarse_band_limit_inv_angstrom(
    settings: Settings, detectors_mrad: np.ndarray, outer_mrad: float, n_atoms: int
) -> float:
    """Band limit k_c [Å⁻¹] that holds most of what detectors collect (`levels`).

    It need not be converged, only cheap and close. With an intensity that falls as θ⁻⁴, an
    annulus θᵢ–θₑ collects BULK_FRACTION of its electrons below θ_b, and k_c = BULK_MARGIN ·
    θ_b / λ, at least LEAST_SHARE of the converged band limit; with NARROW_MARGIN for narrow
    detectors (experiments/levels). Where bins of a kernel reach beyond the detectors, to
    `outer_mrad`, k_c includes them too, since they may be evaluated later.
    """
    inner, outer = np.maximum(np.asarray(detectors_mrad, dtype=float), 1.0).T
    bulk = (BULK_FRACTION * outer**-2 + (1 - BULK_FRACTION) * inner**-2) ** -0.5
    margin = np.where(narrow(inner, outer), NARROW_MARGIN, BULK_MARGIN)
    reach = float(np.max(margin * bulk))
    if outer_mrad > np.max(outer) + 1e-9:
        reach = max(reach, outer_mrad)
    least = LEAST_SHARE * band_limit_inv_angstrom(settings, outer_mrad, n_atoms)
    return max(frequency_inv_angstrom(settings, reach), least)


def cell_angstrom(smallest_convergence_mrad: float) -> float:
    """Least edge of the supercell [Å]: diffuse scattering is summed on its reciprocal lattice.

    7 Å for apertures from 10 mrad up; smaller apertures average less over that lattice and
    need it denser in proportion.
    """
    return 7.0 * max(1.0, 10.0 / smallest_convergence_mrad)


def on_accelerator() -> bool:
    """Whether a GPU computes: with grids from a ladder, and all batches in one call."""
    return jax.default_backend() != "cpu"


def supercell_grid(
    settings: Settings, band_limit_inv_angstrom: float, cell_angstrom: float
) -> CrystalGrid:
    """The smallest grid that holds a band limit k_c [Å⁻¹] in a supercell of a given size [Å].

    On CPUs its lengths are those of fast FFTs; on GPUs, where compiling takes longer than
    computing, it is one of a few (`multislice.grid.on_ladder`).
    """
    return make_grid(
        settings.zone_axis,
        settings.element_data.lattice_angstrom,
        band_limit_inv_angstrom,
        cell_angstrom=cell_angstrom,
        ladder=on_accelerator(),
    )


MOST_PIXELS = 2**24
"""Largest grid that is simulated: about 1 GB for each wave computed at once."""


def simulation_grid(
    settings: Settings, outer_mrad: float, n_atoms: int, smallest_convergence_mrad: float
) -> CrystalGrid:
    """The grid on which curves of these settings are converged up to an angle.

    The optical axis of a mistilted crystal moves the detectors over its grid, which holds them.

    Raises:
        InputError: it would be too large, because the aperture is too small.
    """
    outer_mrad += float(np.hypot(*settings.mistilt_mrad))
    grid = supercell_grid(
        settings,
        band_limit_inv_angstrom(settings, outer_mrad, n_atoms),
        cell_angstrom(smallest_convergence_mrad),
    )
    if np.prod(grid.shape) > MOST_PIXELS:
        raise InputError(
            f"convergence_mrad = {smallest_convergence_mrad:g} mrad: so small an aperture needs "
            f"a supercell of {grid.shape[0]} × {grid.shape[1]} pixels at {settings.voltage_kv:g} "
            f"kV and {outer_mrad:g} mrad; at most {MOST_PIXELS:.3g} pixels are simulated"
        )
    return grid
