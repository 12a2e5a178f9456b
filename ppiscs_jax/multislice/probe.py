"""Focused probes: their wave, and many of them through one displaced crystal."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, PRNGKeyArray

from ppiscs_jax.multislice.detectors import collection_angle_mrad, intensity
from ppiscs_jax.multislice.grid import Grid
from ppiscs_jax.multislice.potential import displace, transmission
from ppiscs_jax.multislice.propagation import propagator
from ppiscs_jax.multislice.wave import Specimen, propagate
from ppiscs_jax.types import Scalar


def probe_spectrum(
    grid: Grid,
    unit_angstrom: Scalar,
    wavelength_angstrom: Scalar,
    convergence_mrad: Scalar,
    c10_angstrom: Scalar,
    c30_mm: Scalar,
) -> Complex[Array, "nx ny"]:
    """Spectrum of a focused probe at the cell's origin: hard aperture times exp(−iχ).

    χ = π λ C10 g² + ½ π λ³ C30 g⁴. Normalised so that the fractions `intensity` gives sum to 1.
    """
    gx, gy = (f / unit_angstrom for f in grid.frequencies)
    g2 = gx[:, None] ** 2 + gy[None, :] ** 2
    inside = 1e3 * wavelength_angstrom * jnp.sqrt(g2) <= convergence_mrad
    # Phases in turns, whole ones dropped: float32 keeps its digits that way.
    turns = 0.5 * wavelength_angstrom * c10_angstrom * g2
    turns += 0.25 * wavelength_angstrom**3 * (1e7 * c30_mm) * g2**2
    wave = jnp.where(inside, jnp.exp(-2j * jnp.pi * (turns - jnp.round(turns))), 0)
    pixels = grid.shape[0] * grid.shape[1]
    return wave * pixels / jnp.sqrt(jnp.sum(inside))


def place_probe(
    grid: Grid, spectrum: Complex[Array, "nx ny"], position: Float[Array, " 2"]
) -> Complex[Array, "nx ny"]:
    """The probe in real space at a position [fractions of the cell]."""
    turns = [np.fft.fftfreq(n) * n * p for n, p in zip(grid.shape, position, strict=True)]
    ex, ey = (jnp.exp(-2j * jnp.pi * (t - jnp.round(t))) for t in turns)
    return jnp.fft.ifft2(spectrum * ex[:, None] * ey[None, :])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Planes:
    """Undisplaced atoms, plane by plane.

    Attributes:
        positions: fractions of the cell.
        occupied: 1 where there is an atom, 0 where the array is only padded.
    """

    positions: Float[Array, "planes atoms 2"]
    occupied: Float[Array, "planes atoms"]


@partial(jax.jit, static_argnames=("grid",))
def scan_positions(
    grid: Grid,
    specimen: Specimen,
    planes: Planes,
    key: PRNGKeyArray,
    probe: tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]],
    detectors_mrad: Float[Array, "detectors 2"],
    positions: Float[Array, "probes 2"],
) -> Float[Array, "planes detectors probes"]:
    """Fractions that each probe position scatters into each detector behind each plane.

    All positions go through one displaced crystal at once; its planes are made on the way.

    Args:
        grid: the cell.
        specimen: what the probe meets on it; lengths in the grid's unit.
        planes: the undisplaced atoms.
        key: random key of the displacements; plane i is drawn from fold_in(key, i).
        probe: convergence semi-angle [mrad], C10 [Å], C30 [mm].
        detectors_mrad: inner and outer angle of each annular detector [mrad].
        positions: probe positions [fractions of the cell].
    """
    unit, wavelength = specimen.unit_angstrom, specimen.wavelength_angstrom
    no_tilt = jnp.zeros(2)
    free_space = propagator(grid, no_tilt, unit, wavelength, specimen.slice_angstrom)
    angle = collection_angle_mrad(grid, no_tilt, unit, wavelength)
    inside = (angle >= detectors_mrad[:, :1]) & (angle < detectors_mrad[:, 1:])
    spectrum = probe_spectrum(grid, unit, wavelength, *probe)
    psi = jax.vmap(partial(place_probe, grid, spectrum))(positions)

    def plane_at(plane: Any, _: Any) -> Any:
        index, sites, occupied = plane
        displaced = displace(jax.random.fold_in(key, index), sites, specimen.rmsd)
        return transmission(grid, specimen.atom, displaced, occupied)

    def detect(spectra: Any) -> Any:
        fractions = jax.vmap(partial(intensity, grid))(spectra)
        return jnp.matmul(
            inside.astype(fractions.dtype), fractions.T, precision=jax.lax.Precision.HIGHEST
        )

    repeats = (jnp.arange(len(planes.positions)), planes.positions, planes.occupied)
    return propagate(psi, free_space, 1, plane_at, repeats, detect)[1]
