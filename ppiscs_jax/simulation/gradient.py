"""PPISCS as a differentiable function of the experiment, on fixed random numbers.

The tilt average of `simulate` over a few waves, seen by a detector with smooth edges and written
so that JAX can differentiate: with respect to voltage, convergence and collection angles, rmsd
and mistilt. Its waves are drawn from a key of its own.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ppiscs_jax.multislice.detectors import collection_angle_mrad, intensity, smooth_annulus
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import (
    plane_wave,
    sample_tilts,
    split_tilt,
)
from ppiscs_jax.multislice.potential import displace, transmission
from ppiscs_jax.multislice.propagation import propagator
from ppiscs_jax.multislice.wave import make_specimen, propagate
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.plan import tilt_azimuths_deg


def gradient_grid(settings: Settings, n_atoms: int) -> CrystalGrid:
    """A grid on which curves near concrete `settings` are converged, for `ppiscs_estimate`."""
    outer = float(settings.outer_mrad) + float(np.hypot(*settings.mistilt_mrad))
    return simulation_grid(settings, outer, n_atoms, float(settings.convergence_mrad))


def unit_tilts(settings: Settings, n_waves: int, seed: int) -> Float[np.ndarray, "waves 2"]:
    """Quasi-random points of the unit disk; α times them are tilts.

    Only of the irreducible wedge of the zone axis, unless the crystal is mistilted.
    """
    return sample_tilts(tilt_azimuths_deg(settings), np.array([0.0, 1.0]), (seed,), 0, n_waves)[0]


@partial(jax.jit, static_argnames=("grid", "n_atoms", "edge_width_mrad"))
def ppiscs_estimate(
    settings: Settings,
    grid: CrystalGrid,
    key: PRNGKeyArray,
    tilts: Float[Array, "waves 2"],
    *,
    n_atoms: int,
    edge_width_mrad: float = 1.0,
) -> Float[Array, " n_atoms"]:
    """PPISCS [Å²] against thickness, averaged over a few waves; jit, vmap and grad apply.

    An unbiased estimate for a detector with logistic edges (`smooth_annulus`): the same
    `key` and `tilts` give the same displacements and directions for any settings, so
    differences and gradients are free of most of the noise. Take many waves, or average over
    keys, for the noise that is left. Reverse-mode memory grows with the square root of the
    number of atomic planes: blocks of planes are recomputed on the way back.

    Args:
        settings: the experiment; its numbers may be traced.
        grid: the supercell, from `gradient_grid`; fixed under differentiation.
        key: random key of the displacements.
        tilts: points of the unit disk, from `unit_tilts`.
        n_atoms: largest thickness [atoms per column].
        edge_width_mrad: width of the detector's edges [mrad].
    """
    specimen = make_specimen(settings, grid)
    lattice, wavelength = specimen.unit_angstrom, specimen.wavelength_angstrom
    sites = jnp.asarray(grid.sites)
    n_layers = len(grid.sites)
    block = max(1, math.isqrt(n_atoms))
    n_blocks = -(-n_atoms // block)
    axis = jnp.asarray(settings.mistilt_mrad)

    def one_wave(wave: Any) -> Any:
        index, direction = wave
        wave_key = jax.random.fold_in(key, index)
        tilt = split_tilt(grid, axis + settings.convergence_mrad * direction, lattice, wavelength)
        free_space = propagator(grid, tilt.residual, lattice, wavelength, specimen.slice_angstrom)
        angle = collection_angle_mrad(grid, tilt.residual, lattice, wavelength, axis)
        detector = smooth_annulus(angle, settings.inner_mrad, settings.outer_mrad, edge_width_mrad)

        def plane_at(repeat: Any, layer: Any) -> Any:
            plane_key = jax.random.fold_in(wave_key, repeat * n_layers + layer)
            positions = displace(plane_key, sites[layer], specimen.rmsd)
            return transmission(grid, specimen.atom, positions)

        @jax.checkpoint
        def add_block(psi: Any, repeats: Any) -> Any:
            return propagate(
                psi,
                free_space,
                n_layers,
                plane_at,
                repeats,
                lambda spectrum: jnp.sum(detector * intensity(grid, spectrum)),
            )

        repeats = jnp.arange(n_blocks * block).reshape(n_blocks, block)
        return jax.lax.scan(add_block, plane_wave(grid, tilt.order), repeats)[1].ravel()[:n_atoms]

    fractions = jax.lax.map(one_wave, (jnp.arange(len(tilts)), jnp.asarray(tilts)))
    return settings.column_area_angstrom2 * fractions.mean(axis=0)
