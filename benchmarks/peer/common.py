"""The specimen, clocks, tables, and how abTEM is given the specimen."""

import importlib.util
import json
import math
import subprocess
import time

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from ppiscs_jax import Settings
from ppiscs_jax.multislice.grid import CrystalGrid

SETTINGS = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
LATTICE = SETTINGS.element_data.lattice_angstrom
COLUMN_AREA = SETTINGS.zone_axis_data.column_area * LATTICE**2
CELL = np.array(SETTINGS.zone_axis_data.cell) * LATTICE
SLICE = SETTINGS.zone_axis_data.slice_thickness * LATTICE
N_ATOMS = 20
WAVES_SHARING = 8
"""Waves that share a stock of planes in `simulate`."""
WAVES = 384
"""Waves of one of our runs: about 0.3 % standard error at n = 20."""
NYQUISTS = (15.7, 30.0, 60.0, 90.0, 120.0)
"""Grids on which abTEM's convergence is looked at [Å⁻¹]; it keeps two thirds of each."""
CONVERGED = 0.005
"""Relative difference to the finest grid, at n = 1 and 20, below which a grid is converged."""

console = Console(width=130)


def timed(function, *args):
    """Result of a call and the processor seconds it took, all threads together."""
    start = time.process_time()
    result = function(*args)
    return result, time.process_time() - start


def best_of(repeats, function, *args):
    """Fewest processor seconds of several calls, after one that compiles or plans FFTs."""
    jax.block_until_ready(function(*args))
    return min(timed(lambda: jax.block_until_ready(function(*args)))[1] for _ in range(repeats))


def ask(python, script, task):
    """Last line that a script prints in another interpreter, parsed; or why there is none."""
    try:
        done = subprocess.run(
            [python, "-c", script], input=json.dumps(task), capture_output=True, text=True
        )
    except OSError as error:
        return str(error)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def table(title, *columns):
    """An empty table; the first column holds names, the others numbers."""
    result = Table(title=title, title_justify="left", min_width=len(title))
    for i, column in enumerate(columns):
        result.add_column(column, justify="right" if i else "left", no_wrap=True)
    return result


# --- abTEM ---------------------------------------------------------------------------------


def import_abtem():
    """The abtem module, without progress bars and with one thread; None if not installed."""
    if not all(importlib.util.find_spec(m) for m in ("abtem", "ase")):
        console.print("abTEM: skipped, not installed (dependency group `reference`)")
        return None
    import abtem
    import dask

    abtem.config.set({"diagnostics.progress_bar": False, "fftw.threads": 1, "mkl.threads": 1})
    dask.config.set(scheduler="single-threaded")
    return abtem


def slab(repeats, n_atoms):
    """Undisplaced crystal, each atomic plane in the middle of its own slice (ase.Atoms)."""
    import ase

    grid = CrystalGrid((1.0, 1.0), (2, 2), 1.0, SETTINGS.zone_axis, tuple(repeats))
    size, n_planes = CELL * repeats, n_atoms * len(grid.sites)
    planes = [
        np.column_stack(
            [np.mod(sites, 1) * size, np.full(len(sites), (i + 0.5) * SLICE)],
        )
        for i, sites in ((i, grid.sites[i % len(grid.sites)]) for i in range(n_planes))
    ]
    positions = np.concatenate(planes)
    symbols = [SETTINGS.element] * len(positions)
    return ase.Atoms(symbols, positions, cell=[*size, n_planes * SLICE], pbc=True)


def even_gpts(repeats, nyquist):
    """Even numbers of pixels that hold a Nyquist frequency [Å⁻¹] along both edges."""
    return tuple(int(2 * math.ceil(nyquist * length - 1e-9)) for length in CELL * repeats)


def abtem_potential(abtem, atoms, gpts, seed=None):
    """The potential in abTEM, of one frozen-phonon configuration where a seed is given."""
    if seed is not None:
        atoms = abtem.FrozenPhonons(
            atoms, 1, sigmas=SETTINGS.rmsd_angstrom, directions="xy", seed=seed
        )
    return abtem.Potential(
        atoms,
        gpts=gpts,
        slice_thickness=SLICE,
        parametrization="lobato",
        projection="infinite",
    )


def abtem_probe(abtem):
    """The focused probe, without aberrations."""
    return abtem.Probe(energy=SETTINGS.voltage_kv * 1e3, semiangle_cutoff=SETTINGS.convergence_mrad)


def abtem_nyquist_sampling(abtem):
    """Scan step [Å] at which an image of the probe is sampled without aliases."""
    return abtem_probe(abtem).aperture.nyquist_sampling


def abtem_scan(abtem, potential, scan):
    """Fractions that every position of a scan sends into the detector."""
    detector = abtem.AnnularDetector(SETTINGS.inner_mrad, SETTINGS.outer_mrad)
    measured = abtem_probe(abtem).scan(potential, scan=scan, detectors=detector)
    return np.asarray(measured.compute().array, dtype=float)


def abtem_tilted(abtem, potential, tilt_mrad):
    """Fraction that abTEM sends from one tilted plane wave into the detector.

    Its diffraction pattern is centred on the tilted beam, so the tilt is added to the angles.
    """
    energy = SETTINGS.voltage_kv * 1e3
    wave = abtem.PlaneWave(energy=energy, tilt=tuple(tilt_mrad)).multislice(potential)
    exit_wave = np.squeeze(wave.compute().array).astype(complex)
    intensity = np.abs(np.fft.fft2(exit_wave) / exit_wave.size) ** 2
    mrad = 1e3 * abtem.core.energy.energy2wavelength(energy)
    kx, ky = (np.fft.fftfreq(n, h) for n, h in zip(potential.gpts, potential.sampling, strict=True))
    theta = np.hypot(mrad * kx[:, None] + tilt_mrad[0], mrad * ky + tilt_mrad[1])
    inside = (theta >= SETTINGS.inner_mrad) & (theta < SETTINGS.outer_mrad)
    return intensity[inside].sum()


# --- A: variance times core time -----------------------------------------------------------
