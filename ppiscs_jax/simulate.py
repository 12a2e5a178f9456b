"""From settings to PPISCS with standard errors: the tilt average over plane waves.

In expectation the probe-position integrated cross-section of a laterally infinite crystal is
the column area times the mean, over the tilts inside the aperture, of the fraction that one
tilted plane wave scatters into the detector. Aberrations drop out.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ppiscs_jax.constants import interaction_angstrom, wavelength_angstrom
from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.kernel import Curve, ScatteringKernel
from ppiscs_jax.multislice.form_factors import scattering_factor_angstrom
from ppiscs_jax.multislice.grid import CrystalGrid, make_grid
from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH, sample_tilts
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch
from ppiscs_jax.settings import Settings

BATCHES = 16
"""Independently scrambled batches: fewer would leave the standard error too uncertain."""

WAVES_PER_ROUND = 8
"""Waves a batch grows by before the error is looked at again."""

BAND_MARGIN = 1.6
LOST_FRACTION = 0.03
LEAST_OUTER_MRAD = 150.0


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
    area = settings.zone_axis_data.column_area * settings.element_data.lattice_angstrom**2
    lossy = tail * math.sqrt(math.pi * n_atoms / (area * LOST_FRACTION))
    return max(angular, lossy)


def cell_angstrom(smallest_convergence_mrad: float) -> float:
    """Least edge of the supercell [Å]: diffuse scattering is summed on its reciprocal lattice.

    7 Å for apertures from 10 mrad up; smaller apertures average less over that lattice and
    need it denser in proportion.
    """
    return 7.0 * max(1.0, 10.0 / smallest_convergence_mrad)


def simulation_grid(
    settings: Settings, outer_mrad: float, n_atoms: int, smallest_convergence_mrad: float
) -> CrystalGrid:
    """The grid on which curves of these settings are converged."""
    return make_grid(
        settings.zone_axis,
        settings.element_data.lattice_angstrom,
        band_limit_inv_angstrom(settings, outer_mrad, n_atoms),
        cell_angstrom=cell_angstrom(smallest_convergence_mrad),
    )


@dataclass(frozen=True)
class Progress:
    """State of a running simulation, given to a progress callback after every batch.

    Attributes:
        waves: waves finished.
        relative_error: largest standard error over value, NaN until the first round ends.
        target: the relative error asked for.
        seconds_left: estimated time left [s], NaN until known.
    """

    waves: int
    relative_error: float
    target: float
    seconds_left: float


def _power_of_two_rings(edges: Sequence[float]) -> np.ndarray:
    """Split the widest rings until their number is a power of two, as Sobol points like it."""
    edges = sorted({0.0, *map(float, edges)})
    while (len(edges) - 1) & (len(edges) - 2):
        widest = int(np.argmax(np.diff(edges)))
        edges.insert(widest + 1, 0.5 * (edges[widest] + edges[widest + 1]))
    return np.array(edges)


def scattering_kernel(
    settings: Settings,
    *,
    apertures_mrad: Sequence[float] | None = None,
    angle_edges_mrad: Sequence[float] | np.ndarray | None = None,
    detectors_mrad: Iterable[tuple[float, float]] | None = None,
    n_atoms: int | None = None,
    mistilt_mrad: tuple[float, float] = (0.0, 0.0),
    relative_error: float = 0.005,
    max_waves: int = 1 << 20,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> ScatteringKernel:
    """Simulate once for every aperture, detector and radial sensitivity.

    Sixteen independently scrambled Sobol batches of tilted plane waves grow together until the
    largest relative standard error, over all thicknesses and the watched detectors at every
    aperture asked for, is at most `relative_error`.

    Args:
        settings: specimen, voltage, and the default aperture and detector.
        apertures_mrad: convergence semi-angles that will be asked for [mrad]; others between
            the smallest and the largest are interpolated. Default: that of the settings.
        angle_edges_mrad: edges of the collection-angle bins [mrad], within 0 … 250. Default:
            every mrad from 0 to 250.
        detectors_mrad: (inner, outer) [mrad] of the detectors whose error is watched. Default:
            that of the settings.
        n_atoms: largest thickness [atoms per column]. Default: 87 for [110], 61 for [100],
            25 nm for [111].
        mistilt_mrad: direction of the optical axis in the crystal's frame, (x, y) [mrad]:
            aperture and detector are centred there instead of on the zone axis.
        relative_error: standard error over value to be reached at every thickness.
        max_waves: stop there even if the error is not reached.
        seed: seed of every random draw; the same seed gives the same numbers.
        workers: batches computed at once. Default: one per CPU core, one on a GPU.
        progress: called with a `Progress` after every batch.

    Returns:
        A ScatteringKernel with the means of every batch.

    Raises:
        InputError: before any work, naming what is out of range.
    """
    apertures = sorted(map(float, apertures_mrad or [settings.convergence_mrad]))
    if angle_edges_mrad is None:
        angle_edges_mrad = np.arange(0.0, 251.0)
    angle_edges = np.asarray(angle_edges_mrad, dtype=float)
    detectors = list(detectors_mrad or [(float(settings.inner_mrad), float(settings.outer_mrad))])
    if n_atoms is None:
        n_atoms = settings.zone_axis_data.thickest(settings.element_data)
    problems = [range_problem("apertures_mrad", a, 0.5, 100.0, "mrad") for a in apertures]
    problems += [range_problem("angle_edges_mrad", a, 0.0, 250.0, "mrad") for a in angle_edges]
    problems += [
        range_problem("n_atoms", n_atoms, 1, 1000, "atoms"),
        range_problem("relative_error", relative_error, 0.0, 1.0, "", open_low=True),
        range_problem("seed", seed, 0, 2**32 - 1, ""),
    ]
    mistilt = math.hypot(*mistilt_mrad)
    problems.append(range_problem("mistilt_mrad", mistilt, 0.0, 100.0, "mrad"))
    if len(angle_edges) < 2 or np.any(np.diff(angle_edges) <= 0):
        problems.append("angle_edges_mrad: must be two or more increasing angles [mrad]")
    if any(problems):
        raise InputError(p for p in problems if p)

    rings = _power_of_two_rings(apertures)
    grid = simulation_grid(settings, float(angle_edges[-1]) + mistilt, n_atoms, apertures[0])
    specimen = make_specimen(settings, grid)
    edges = jnp.asarray(angle_edges, jnp.float32)
    on_cpu = jax.default_backend() == "cpu"
    waves_per_round = max(WAVES_PER_ROUND, len(rings) - 1)
    seed_key = jax.random.key(seed)
    axis = jnp.asarray(mistilt_mrad, jnp.float32) if mistilt else None
    wedge = WHOLE_AZIMUTH if mistilt else settings.zone_axis_data.wedge_deg

    def batch_round(batch: int, round_number: int) -> np.ndarray:
        tilts, ring = sample_tilts(
            wedge,
            rings,
            (seed, batch),
            round_number * waves_per_round,
            waves_per_round,
        )
        key = jax.random.fold_in(jax.random.fold_in(seed_key, batch), round_number)
        fractions = scatter_batch(
            grid,
            specimen,
            key,
            jnp.asarray(tilts + np.asarray(mistilt_mrad), jnp.float32),
            edges,
            axis,
            n_atoms=n_atoms,
            n_planes=n_atoms,
            batch_size=None if on_cpu else waves_per_round,
        )
        sums = np.zeros((len(rings) - 1, n_atoms, len(angle_edges)))
        np.add.at(sums, ring, np.asarray(fractions, dtype=float))
        return sums

    if workers is None:
        workers = len(os.sched_getaffinity(0)) if on_cpu else 1
    sums = np.zeros((BATCHES, len(rings) - 1, n_atoms, len(angle_edges)))
    waves, error, started = 0, np.nan, time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        for round_number in range(max(1, max_waves // (BATCHES * waves_per_round))):
            jobs = [pool.submit(batch_round, b, round_number) for b in range(BATCHES)]
            for batch, job in enumerate(jobs):
                sums[batch] += job.result()
                waves += waves_per_round
                if progress:
                    # Errors fall at least as fast as 1 / √waves.
                    needed = waves * max((error / relative_error) ** 2, 1.0)
                    left = (time.monotonic() - started) * (needed / waves - 1)
                    progress(Progress(waves, error, relative_error, left))
            means = sums / (waves / BATCHES / (len(rings) - 1))
            kernel = ScatteringKernel(
                settings=settings,
                ring_edges_mrad=rings,
                angle_edges_mrad=angle_edges,
                batch_means=means[..., :-1],
                lost=means[..., -1].mean(axis=0),
                mistilt_mrad=mistilt_mrad,
                seed=seed,
                waves=waves,
            )
            error = largest_relative_error(kernel, apertures, detectors)
            if error <= relative_error:
                break
    return kernel


def largest_relative_error(
    kernel: ScatteringKernel,
    apertures_mrad: Iterable[float],
    detectors_mrad: Iterable[tuple[float, float]],
) -> float:
    """Largest standard error over value, over apertures, detectors and thicknesses."""
    curves = [
        kernel.curve(aperture, inner, outer)
        for aperture in apertures_mrad
        for inner, outer in detectors_mrad
    ]
    return max(float(np.max(c.standard_error / c.ppiscs)) for c in curves)


def simulate(
    settings: Settings,
    relative_error: float = 0.005,
    seed: int = 0,
    *,
    n_atoms: int | None = None,
    mistilt_mrad: tuple[float, float] = (0.0, 0.0),
    max_waves: int = 1 << 20,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Curve:
    """PPISCS against thickness, converged, to a given relative standard error at every n.

    Args:
        settings: specimen and microscope.
        relative_error: standard error over value to be reached at every thickness.
        seed: seed of every random draw; the same seed gives the same numbers.
        n_atoms: largest thickness [atoms per column].
        mistilt_mrad: direction of the optical axis in the crystal's frame, (x, y) [mrad].
        max_waves: stop there even if the error is not reached.
        workers: batches computed at once.
        progress: called with a `Progress` after every batch.

    Returns:
        A Curve: ppiscs (n,) [Å²], standard_error (n,) [Å²], n_atoms, settings, seed, waves.

    Raises:
        InputError: before any work, naming what is out of range.
    """
    kernel = scattering_kernel(
        settings,
        angle_edges_mrad=[float(settings.inner_mrad), float(settings.outer_mrad)],
        n_atoms=n_atoms,
        mistilt_mrad=mistilt_mrad,
        relative_error=relative_error,
        max_waves=max_waves,
        seed=seed,
        workers=workers,
        progress=progress,
    )
    return kernel.curve()
