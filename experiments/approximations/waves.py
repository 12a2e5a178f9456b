"""Plane waves through single atoms, each at its own depth, with either propagator."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from ppiscs_jax.multislice.detectors import (
    angle_bins,
    bin_intensity,
    collection_angle_mrad,
    intensity,
)
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import plane_wave, split_tilt
from ppiscs_jax.multislice.potential import transmission
from ppiscs_jax.multislice.wave import Specimen, displaced_layer, wave_key
from ppiscs_jax.types import Scalar


def exact_exponent(
    squares: Float[Array, "nx ny"], wavelength_angstrom: Scalar
) -> Float[Array, "nx ny"]:
    """2π (√(1/λ² − k²) − 1/λ) [1/Å] for k² [1/Å²], written so that float32 keeps its digits."""
    whole = 1 / wavelength_angstrom
    return -2 * jnp.pi * squares / (whole + jnp.sqrt(jnp.maximum(whole**2 - squares, 0)))


@partial(jax.jit, static_argnames=("grid", "n_atoms"))
def scattered(
    grid: CrystalGrid,
    specimen: Specimen,
    key: PRNGKeyArray,
    tilts_mrad: Float[Array, "waves 2"],
    edges_mrad: Float[Array, " edges"],
    depth_rmsd_angstrom: Scalar,
    exact: Scalar,
    *,
    n_atoms: int,
) -> Float[Array, "waves n_atoms bins_and_lost"]:
    """Fractions scattered into bins after 1, 2, … atoms a column, as `multislice.wave` gives them.

    Each atom is a slice of its own at its own depth. With the same key, lateral displacements, and
    displacements along the beam in units of their rmsd, are the same whatever the other arguments.

    Args:
        grid, specimen: the supercell and what is on it.
        key: random key of all displacements.
        tilts_mrad: tilts of the waves [mrad].
        edges_mrad: edges of the bins of collection angle [mrad].
        depth_rmsd_angstrom: rmsd of displacements along the beam [Å]; 0 leaves atoms in planes.
        exact: 1 for the exact propagator, 0 for the paraxial one.
        n_atoms: largest thickness [atoms per column].
    """
    unit, wavelength = specimen.unit_angstrom, specimen.wavelength_angstrom
    per_layer, layers = grid.sites.shape[1], n_atoms * len(grid.sites)
    in_band = jnp.asarray(grid.in_band)

    def one(wave: Any) -> Any:
        index, tilt_mrad = wave
        own_key = wave_key(key, index)
        numbers = jnp.arange(layers)
        lateral = jax.vmap(partial(displaced_layer, grid, specimen, own_key))(numbers)
        along = jax.random.normal(jax.random.fold_in(own_key, layers), (layers, per_layer))
        depth = numbers[:, None] * specimen.slice_angstrom + depth_rmsd_angstrom * along
        order = jnp.argsort(depth.ravel())
        depth = depth.ravel()[order]
        steps = jnp.diff(depth, prepend=depth[:1])
        tilt = split_tilt(grid, tilt_mrad, unit, wavelength)
        gx, gy = (g + q for g, q in zip(grid.frequencies, tilt.residual, strict=True))
        squares = (gx[:, None] ** 2 + gy[None, :] ** 2) / unit**2
        paraxial = -jnp.pi * wavelength * squares
        exponent = jnp.where(exact > 0, exact_exponent(squares, wavelength), paraxial)
        bins = angle_bins(collection_angle_mrad(grid, tilt.residual, unit, wavelength), edges_mrad)

        def add_atom(spectrum: Complex[Array, "nx ny"], atom: Any) -> Any:
            position, step = atom
            psi = jnp.fft.ifft2(spectrum * jnp.exp(1j * exponent * step))
            behind = jnp.fft.fft2(psi * transmission(grid, specimen.atom, position[None]))
            return jnp.where(in_band, behind, 0), None

        def add_repeat(spectrum: Complex[Array, "nx ny"], atoms: Any) -> Any:
            spectrum, _ = jax.lax.scan(add_atom, spectrum, atoms)
            return spectrum, bin_intensity(intensity(grid, spectrum), bins, len(edges_mrad) - 1)

        atoms = lateral.reshape(-1, 2)[order], steps
        shape = (n_atoms, -1)
        repeats = atoms[0].reshape(*shape, 2), atoms[1].reshape(shape)
        start = jnp.fft.fft2(plane_wave(grid, tilt.order))
        return jax.lax.scan(add_repeat, start, repeats)[1]

    return jax.lax.map(one, (jnp.arange(len(tilts_mrad)), tilts_mrad))
