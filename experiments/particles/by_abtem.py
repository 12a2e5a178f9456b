"""The image of a particle by abTEM, independent of the simulator of this package."""

import numpy as np
import scipy

from ppiscs_jax.interop.abtem import import_abtem, potential
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.scan import ScanOptions

GROUPS = 16
"""Groups of probe positions that have displacements of their own; neighbours are in different
ones."""

ANTIALIASING = 1.55
"""Pixels over those that just hold the detector: abTEM keeps two thirds of the frequencies."""


def abtem_image(
    settings: Settings,
    atoms_angstrom: np.ndarray,
    box_angstrom: float,
    slice_angstrom: float,
    options: ScanOptions,
) -> np.ndarray:
    """Scattered fractions of one configuration, shape (steps, steps).

    Args:
        settings: of the microscope, element and rmsd.
        atoms_angstrom: sites of the atoms, shape (atoms, 3).
        box_angstrom: edge of the periodic box along x and y [Å].
        slice_angstrom: distance of the atomic planes [Å]; an atom is in the middle of a slice.
        options: pixels that just hold the detector, scan step, and seed.
    """
    abtem = import_abtem()
    import ase  # comes with abTEM

    planes = np.round((atoms_angstrom[:, 2] - atoms_angstrom[:, 2].min()) / slice_angstrom)
    slices = int(planes.max()) + 1
    gpts = 2 * scipy.fft.next_fast_len(
        int(np.ceil(ANTIALIASING * np.max(options.pixels) / 2)), real=False
    )
    probe = abtem.Probe(
        energy=1e3 * settings.voltage_kv,
        semiangle_cutoff=settings.convergence_mrad,
        C10=settings.c10_angstrom,
        soft=False,
        device="cpu",
    )
    detector = abtem.AnnularDetector(inner=settings.inner_mrad, outer=settings.outer_mrad)
    steps = int(box_angstrom / options.scan_step_angstrom + 1e-9)
    x = np.arange(steps) * box_angstrom / steps
    places = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1).reshape(-1, 2)
    image = np.zeros(len(places))
    for group in range(GROUPS):
        generator = np.random.default_rng((options.seed, group))
        moved = settings.rmsd_angstrom * generator.standard_normal((len(planes), 2))
        at = np.column_stack(
            [np.mod(atoms_angstrom[:, :2] + moved, box_angstrom), (planes + 0.5) * slice_angstrom]
        )
        cell = [box_angstrom, box_angstrom, slices * slice_angstrom]
        specimen = ase.Atoms([settings.element] * len(at), at, cell=cell, pbc=True)
        chosen = slice(group, None, GROUPS)
        # By default FFTW first spends minutes on measuring how to transform grids of some sizes.
        with abtem.config.set({"fftw.planning_effort": "FFTW_ESTIMATE"}):
            measured = probe.scan(
                potential(specimen, slices, (gpts, gpts)),
                scan=abtem.CustomScan(places[chosen]),
                detectors=detector,
            ).compute(progress_bar=False)
        image[chosen] = measured.array
    return image.reshape(steps, steps)
