"""ADF images of given atoms: the probe scan for a particle instead of a perfect crystal."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from ppiscs_jax.errors import InputError, as_numbers, range_problem
from ppiscs_jax.multislice.grid import Grid
from ppiscs_jax.multislice.probe import Planes
from ppiscs_jax.multislice.wave import make_specimen
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.scan import (
    ScanOptions,
    check_band,
    detector_problems,
    mistilt_problems,
    run_scan,
    standard_error,
)


def into_planes(
    atoms_angstrom: np.ndarray, box_angstrom: np.ndarray, slice_angstrom: float
) -> Planes:
    """Sort atoms (x, y, z) [Å] into slices along z, padded to the fullest slice."""
    z = atoms_angstrom[:, 2]
    slices = np.floor((z - z.min()) / slice_angstrom + 1e-6).astype(int)
    counts = np.bincount(slices)
    positions = np.zeros((len(counts), counts.max(), 2), np.float32)
    occupied = np.arange(counts.max()) < counts[:, None]
    positions[occupied] = (atoms_angstrom[:, :2] / box_angstrom)[np.argsort(slices, kind="stable")]
    return Planes(jnp.asarray(positions), jnp.asarray(occupied, jnp.float32))


IMAGE = ScanOptions(pixels=512, scan_step_angstrom=0.2, configurations=4, core_correction=True)
"""Default scan of images."""


def simulate_image(
    settings: Settings,
    atoms_angstrom: np.ndarray,
    box_angstrom: tuple[float, float],
    slice_angstrom: float,
    options: ScanOptions | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """ADF image of given atoms of the settings' element in a periodic box.

    Args:
        settings: element and microscope settings. The zone axis is ignored.
        atoms_angstrom: positions x, y, z [Å], shape (atoms, 3); the beam runs along +z.
        box_angstrom: periodic box along x and y [Å], the scanned area.
        slice_angstrom: slice thickness [Å]; atoms are put into the slices by their z.
        options: how the probe is scanned; steps are edge / ⌊edge / Δ⌋. Default: IMAGE.
        progress: called with the finished fraction.

    Returns:
        Scattered fraction, shape (nx, ny), and its standard error over configurations (NaN
        for one configuration).

    Raises:
        InputError: before any work, naming what is out of range.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> atoms_angstrom = [(5.0, 5.0, 0.0), (5.0, 5.0, 2.9)]  # one column of two atoms
        >>> options = pp.ScanOptions(pixels=320, scan_step_angstrom=2.0, configurations=2)
        >>> image, error = pp.simulate_image(settings, atoms_angstrom, (10.0, 10.0), 2.9, options)
        >>> image.shape, error.shape  # fractions of the incident beam
        ((5, 5), (5, 5))
    """
    options = options or IMAGE
    atoms = as_numbers("atoms_angstrom", atoms_angstrom, (None, 3), "Å")
    box = as_numbers("box_angstrom", box_angstrom, (2,), "Å")
    if not len(atoms) or not np.isfinite(atoms).all():
        raise InputError(f"atoms_angstrom: {len(atoms)} atoms; must be one or more, all finite [Å]")
    detectors = [(float(settings.inner_mrad), float(settings.outer_mrad))]
    problems = [
        range_problem("slice_angstrom", slice_angstrom, 0.1, 100.0, "Å"),
        *(range_problem("box_angstrom", edge, 1.0, 1000.0, "Å") for edge in box),
        *detector_problems(detectors),
        *mistilt_problems(settings),
    ]
    if any(problems):
        raise InputError(p for p in problems if p)
    planes = into_planes(atoms, box, slice_angstrom)
    pixels = 0.5 * np.array(options.pixels) * box / box.max()
    shape = tuple((2 * np.ceil(pixels).astype(int)).tolist())
    grid = Grid(tuple(box.tolist()), shape, 1.0)
    check_band(grid, 1.0, settings, detectors)
    specimen = make_specimen(
        settings,
        grid,
        unit_angstrom=1.0,
        slice_angstrom=slice_angstrom,
        core_correction=options.core_correction,
    )
    steps = np.maximum(np.floor(box / options.scan_step_angstrom + 1e-9), 1).astype(int)
    fractions = run_scan(
        grid,
        specimen,
        planes,
        settings,
        detectors,
        steps,
        (1.0, 1.0),
        options,
        progress,
    )[:, -1, 0].reshape(options.configurations, *steps)
    return fractions.mean(axis=0), standard_error(fractions)
