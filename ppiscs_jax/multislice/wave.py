"""Tilted plane waves through displaced crystals: a scan over atomic planes."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Int, PRNGKeyArray

from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.detectors import (
    angle_bins,
    bin_intensity,
    collection_angle_mrad,
    intensity,
)
from ppiscs_jax.multislice.grid import CrystalGrid, Grid
from ppiscs_jax.multislice.illumination import plane_wave, split_tilt
from ppiscs_jax.multislice.potential import Atom, displace, make_atom, transmission
from ppiscs_jax.multislice.propagation import propagator
from ppiscs_jax.settings import Settings
from ppiscs_jax.types import Scalar


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Specimen:
    """The specimen on a grid; its leaves are dynamic, so that new values need no compilation.

    Attributes:
        atom: spectra of one atom.
        unit_angstrom: the grid's unit of length, the lattice constant of a crystal [Å].
        slice_angstrom: distance between slices [Å].
        rmsd: displacement per axis, fractions of the supercell's edges.
        wavelength_angstrom: electron wavelength [Å].
    """

    atom: Atom
    unit_angstrom: Scalar
    slice_angstrom: Scalar
    rmsd: Float[Array, " 2"]
    wavelength_angstrom: Scalar


def make_specimen(
    settings: Settings,
    grid: Grid,
    *,
    unit_angstrom: float | None = None,
    slice_angstrom: float | None = None,
    core_correction: bool = True,
) -> Specimen:
    """The specimen of `settings` on a grid. Differentiable in voltage and rmsd.

    Args:
        settings: element, zone axis, voltage, rmsd.
        grid: the cell.
        unit_angstrom: the grid's unit of length [Å]. Default: the lattice constant.
        slice_angstrom: distance between slices [Å]. Default: that of the grid's slices.
        core_correction: whether to correct what the band limit takes from the nuclei.
    """
    a = settings.element_data.lattice_angstrom
    unit = a if unit_angstrom is None else unit_angstrom
    if slice_angstrom is None:
        layers = grid.layers_per_slice if isinstance(grid, CrystalGrid) else 1
        slice_angstrom = layers * settings.zone_axis_data.slice_thickness * a
    return Specimen(
        atom=make_atom(
            settings.element, unit, grid, settings.voltage_kv, core_correction=core_correction
        ),
        unit_angstrom=unit,
        slice_angstrom=slice_angstrom,
        rmsd=settings.rmsd_angstrom / (unit * jnp.asarray(grid.lengths)),
        wavelength_angstrom=wavelength_angstrom(settings.voltage_kv),
    )


def wave_key(key: PRNGKeyArray, wave: Int[Array, ""] | int) -> PRNGKeyArray:
    """The random key of a wave from that of its batch: see `scatter_batch`."""
    return jax.random.fold_in(jax.random.fold_in(key, 1), wave)


def displaced_layer(
    grid: CrystalGrid, specimen: Specimen, key: PRNGKeyArray, layer: Any
) -> Float[Array, "atoms 2"]:
    """Displaced atoms of a layer of a crystal, as fractions of the supercell's edges.

    The displacements are drawn from the layer's number, counted from the entrance surface, folded
    into the key: they do not depend on how layers are grouped into slices.
    """
    sites = jnp.asarray(grid.sites)[layer % len(grid.sites)]
    return displace(jax.random.fold_in(key, layer), sites, specimen.rmsd)


def crystal_slice(
    grid: CrystalGrid, specimen: Specimen, key: PRNGKeyArray, index: Int[Array, ""]
) -> Complex[Array, "nx ny"]:
    """Transmission function of slice `index` of a displaced crystal."""
    layers = index * grid.layers_per_slice + jnp.arange(grid.layers_per_slice)
    positions = jax.vmap(partial(displaced_layer, grid, specimen, key))(layers)
    return transmission(grid, specimen.atom, positions.reshape(-1, 2))


def propagate(
    psi: Complex[Array, "*batch nx ny"],
    free_space: Complex[Array, "nx ny"],
    n_slices: int,
    plane_at: Callable[[Any, int], Complex[Array, "nx ny"]],
    repeats: Any,
    detect: Callable[[Complex[Array, "*batch nx ny"]], Any],
) -> tuple[Complex[Array, "*batch nx ny"], Any]:
    """Multislice: what `detect` sees of the spectrum after 1, 2, … atoms a column.

    Args:
        psi: incident wave, or several through the same crystal.
        free_space: propagator between slices.
        n_slices: slices in one repeat.
        plane_at: gives the transmission function of a slice of one repeat, from that
            repeat's entry in `repeats` and the slice's number.
        repeats: pytree scanned over, one entry per atom a column.
        detect: from the spectrum behind a repeat to what is kept of it.

    Returns:
        The wave behind the last repeat, and what `detect` returned, stacked along a leading
        axis of thickness.
    """

    def add_atom(psi: Complex[Array, "*batch nx ny"], repeat: Any) -> Any:
        for number in range(n_slices):
            spectrum = jnp.fft.fft2(psi * plane_at(repeat, number)) * free_space
            psi = jnp.fft.ifft2(spectrum)
        return psi, detect(spectrum)

    return jax.lax.scan(add_atom, psi, repeats)


def transmit(
    grid: CrystalGrid,
    specimen: Specimen,
    tilt_mrad: Float[Array, " 2"],
    plane_at: Callable[[Any, int], Complex[Array, "nx ny"]],
    repeats: Any,
    edges_mrad: Float[Array, " edges"],
    axis_mrad: Float[Array, " 2"] | None = None,
) -> Float[Array, "n_atoms bins_and_lost"]:
    """Fractions of a tilted plane wave scattered into bins of collection angle.

    The entry after the last bin is the fraction that left the band (`bin_intensity`).

    Args:
        grid: the supercell.
        specimen: what the wave meets on it.
        tilt_mrad: tilt of the incident plane wave [mrad].
        plane_at: transmission functions, as in `propagate`.
        repeats: entries for `plane_at`, as in `propagate`.
        edges_mrad: increasing edges of the collection-angle bins [mrad].
        axis_mrad: direction of the optical axis in the crystal's frame [mrad], the centre of
            the detector; None for a crystal in zone axis.
    """
    unit, wavelength = specimen.unit_angstrom, specimen.wavelength_angstrom
    tilt = split_tilt(grid, tilt_mrad, unit, wavelength)
    free_space = propagator(grid, tilt.residual, unit, wavelength, specimen.slice_angstrom)
    angle = collection_angle_mrad(grid, tilt.residual, unit, wavelength, axis_mrad)
    bins = angle_bins(angle, edges_mrad)
    return propagate(
        plane_wave(grid, tilt.order),
        free_space,
        grid.slices_per_atom,
        plane_at,
        repeats,
        lambda spectrum: bin_intensity(intensity(grid, spectrum), bins, len(edges_mrad) - 1),
    )[1]


@partial(jax.jit, static_argnames=("grid", "n_atoms", "n_planes", "batch_size"))
def scatter_batch(
    grid: CrystalGrid,
    specimen: Specimen,
    key: PRNGKeyArray,
    tilts_mrad: Float[Array, "waves 2"],
    edges_mrad: Float[Array, " edges"],
    axis_mrad: Float[Array, " 2"] | None = None,
    n_waves: Int[Array, ""] | int | None = None,
    *,
    n_atoms: int,
    n_planes: int,
    batch_size: int | None = None,
) -> Float[Array, "waves n_atoms bins_and_lost"]:
    """Fractions scattered by every wave of a batch, at every thickness, into every bin.

    The entry after the last bin is the fraction that left the band (`bin_intensity`).

    The waves share a stock of `n_planes` ≥ `n_atoms` displaced repeats of the crystal; each
    wave stacks its own random selection, without replacement. Each wave alone thus sees
    independently displaced repeats, as if it had been given a crystal of its own, while
    making the slices is paid for once. Without a stock (`n_planes` = 0) every wave makes slices
    of its own on the way: slower, in little memory.

    Args:
        grid: the supercell.
        specimen: what the waves meet on it.
        key: the batch's random key. Layer l of repeat i in the stock is drawn from i · layers + l
            folded into fold_in(key, 0); wave w selects with its `wave_key`. Without a stock,
            repeat i of wave w folds i · layers + l into its `wave_key`. Nothing depends on the
            pixels of the grid or on how layers are grouped into slices: with one key, the waves of
            two grids of one supercell meet the same displaced atoms.
        tilts_mrad: tilts of the waves [mrad].
        edges_mrad: edges of the collection-angle bins [mrad].
        axis_mrad: direction of the optical axis, as in `transmit`.
        n_waves: how many waves are computed, one after the other; the rest are zeros. One
            program then serves every number of waves. None computes all.
        n_atoms: largest thickness [atoms per column].
        n_planes: displaced repeats in the stock, or 0.
        batch_size: waves computed at once; None computes them one after the other, which
            is the fastest on a CPU.
    """
    n_slices = grid.slices_per_atom
    stock = jax.lax.map(
        partial(crystal_slice, grid, specimen, jax.random.fold_in(key, 0)),
        jnp.arange(n_planes * n_slices),
        batch_size=batch_size,
    )

    def one(wave: Any) -> Any:
        index, tilt_mrad = wave
        own_key = wave_key(key, index)
        if n_planes:
            repeats = jax.random.permutation(own_key, n_planes)[:n_atoms]
        else:
            repeats = jnp.arange(n_atoms)

        def plane_at(repeat: Any, number: Any) -> Any:
            index = repeat * n_slices + number
            return stock[index] if n_planes else crystal_slice(grid, specimen, own_key, index)

        return transmit(grid, specimen, tilt_mrad, plane_at, repeats, edges_mrad, axis_mrad)

    def one_of_the_first(wave: Any) -> Any:
        nothing = jnp.zeros((n_atoms, len(edges_mrad)))
        return jax.lax.cond(wave[0] < n_waves, one, lambda _: nothing, wave)

    waves = jnp.arange(len(tilts_mrad)), tilts_mrad
    if n_waves is None:
        return jax.lax.map(one, waves, batch_size=batch_size)
    return jax.lax.map(one_of_the_first, waves)
