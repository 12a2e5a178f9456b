"""From settings to PPISCS with standard errors: the tilt average over plane waves.

In expectation the probe-position integrated cross-section of a laterally infinite crystal is
the column area times the mean, over the tilts inside the aperture, of the fraction that one
tilted plane wave scatters into the detector. Aberrations drop out. Tilts are drawn by
`multislice.illumination.sample_tilts`.
"""

import warnings
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from ppiscs_jax.errors import InputError, as_numbers, range_problem
from ppiscs_jax.progress import Callback, callback_of
from ppiscs_jax.settings import LARGEST_SEED, MOST_ATOMS, RANGES, Settings
from ppiscs_jax.simulation.averaging import run_levels
from ppiscs_jax.simulation.curve import Curve
from ppiscs_jax.simulation.grids import on_accelerator, simulation_grid
from ppiscs_jax.simulation.kernel import ScatteringKernel
from ppiscs_jax.simulation.levels import level_grids, levels_of
from ppiscs_jax.simulation.plan import Plan, power_of_two_rings
from ppiscs_jax.units import LEAST_RELATIVE_ERROR

MAX_WAVES = 1 << 20
"""Waves after which simulations stop by default."""


def _problems(
    apertures: np.ndarray,
    angle_edges: np.ndarray,
    detectors: np.ndarray,
    n_atoms: int,
    relative_error: float,
    max_waves: int,
    seed: int,
    workers: int | None,
) -> list[str]:
    """Problems of the arguments of `scattering_kernel`."""
    found = [range_problem("apertures_mrad", a, *RANGES["convergence_mrad"]) for a in apertures]
    found += [range_problem("angle_edges_mrad", a, *RANGES["inner_mrad"]) for a in angle_edges]
    found += [
        range_problem("n_atoms", n_atoms, 1, MOST_ATOMS, "atoms", whole=True),
        range_problem("relative_error", relative_error, LEAST_RELATIVE_ERROR, 1.0, ""),
        range_problem("max_waves", max_waves, 128, 2**40, "waves", whole=True),
        range_problem("seed", seed, 0, LARGEST_SEED, "", whole=True),
    ]
    if workers is not None:
        found.append(range_problem("workers", workers, 1, 4096, "", whole=True))
    if len(apertures) == 0:
        found.append("apertures_mrad: must be one or more angles [mrad]")
    if len(angle_edges) < 2 or np.any(np.diff(angle_edges) <= 0):
        found.append("angle_edges_mrad: must be two or more increasing angles [mrad]")
    else:
        low, high = angle_edges[[0, -1]]
        for inner, outer in detectors:
            found.append(range_problem("inner_mrad", inner, low, high, "mrad, the angle edges"))
            found.append(range_problem("outer_mrad", outer, *RANGES["outer_mrad"]))
            found.append(
                range_problem(
                    "outer_mrad", outer, inner, high, "mrad, the angle edges", open_low=True
                )
            )
    return [problem for problem in found if problem]


def scattering_kernel(
    settings: Settings,
    *,
    apertures_mrad: Sequence[float] | None = None,
    angle_edges_mrad: Sequence[float] | np.ndarray | None = None,
    detectors_mrad: Iterable[tuple[float, float]] | None = None,
    n_atoms: int | None = None,
    relative_error: float = 0.005,
    max_waves: int = MAX_WAVES,
    seed: int = 0,
    workers: int | None = None,
    progress: Callback = None,
) -> ScatteringKernel:
    """Simulate once for every aperture, detector and radial sensitivity.

    Sixteen independently scrambled Sobol batches of tilted plane waves grow together until the
    largest relative standard error, over all thicknesses and the watched detectors at every
    aperture asked for, is at most `relative_error`. Batches run in threads of their own, in
    float32 and outside of JAX's thread-local contexts.

    Most waves are computed on a coarse grid, which is not converged. A few waves are computed on
    both the coarse and the converged grid, and their differences correct the result without bias
    (`levels`). Zernike polynomials correct what the sampled tilts miss (`tilt_control`). The
    numbers of waves are chosen for the detectors in `detectors_mrad`; other detectors can have
    larger errors, which their standard errors include.

    Args:
        settings: specimen and voltage; their aperture and detector are simulated if no others are
            given. `kernel.curve()` does not use them.
        apertures_mrad: convergence semi-angles that will be asked for [mrad]; others between
            two that are at most 6 mrad apart are interpolated. Default: that of the settings.
        angle_edges_mrad: edges of the collection-angle bins [mrad], within 0 … 250. Default:
            every mrad from 0 to 250.
        detectors_mrad: (inner, outer) [mrad] of the detectors whose error is watched: name all
            that have to reach `relative_error`. Default: that of the settings.
        n_atoms: largest thickness [atoms per column]. Default: 87 for [110], 61 for [100],
            25 nm for [111].
        relative_error: standard error over value to be reached at every thickness.
        max_waves: stop there, with a warning, even if the error is not reached; at least one
            round of each level is made: 8 waves a batch on the coarsest.
        seed: seed of every random draw; the same seed gives the same numbers.
        workers: batches computed at once. Default: one per CPU core. A GPU computes all of them.
        progress: called with a `SimulationProgress` after every batch; True prints a line every few
            seconds.

    Returns:
        A ScatteringKernel with the means of every batch.

    Raises:
        InputError: before any work, naming what is out of range.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 40.0, 100.0, rmsd_angstrom=0.085)
        >>> kernel = pp.scattering_kernel(
        ...     settings, angle_edges_mrad=range(101), n_atoms=2, relative_error=0.1
        ... )
        >>> kernel.curve(inner_mrad=60.0, outer_mrad=90.0).ppiscs.shape  # at 1 and 2 atoms
        (2,)
    """
    if any(isinstance(number, jax.core.Tracer) for number in jax.tree.leaves(settings)):
        raise InputError(
            "settings: simulate and scattering_kernel cannot be traced by grad, jit or vmap; "
            "differentiate simulator(settings, n_atoms) instead"
        )
    if apertures_mrad is None:
        apertures_mrad = [float(settings.convergence_mrad)]
    if angle_edges_mrad is None:
        angle_edges_mrad = np.arange(0.0, 251.0)
    if detectors_mrad is None:
        detectors_mrad = [(float(settings.inner_mrad), float(settings.outer_mrad))]
    if n_atoms is None:
        n_atoms = settings.zone_axis_data.thickest(settings.element_data)
    apertures = np.sort(as_numbers("apertures_mrad", apertures_mrad, (None,), "mrad"))
    angle_edges = as_numbers("angle_edges_mrad", angle_edges_mrad, (None,), "mrad")
    detectors = as_numbers("detectors_mrad", list(detectors_mrad), (None, 2), "mrad")
    problems = _problems(
        apertures,
        angle_edges,
        detectors,
        n_atoms,
        relative_error,
        max_waves,
        seed,
        workers,
    )
    if problems:
        raise InputError(problems)

    n_atoms, rings = int(n_atoms), power_of_two_rings(apertures)
    grid = simulation_grid(settings, angle_edges[-1], n_atoms, apertures[0])
    plan = Plan.of(
        settings,
        grid,
        rings,
        angle_edges,
        n_atoms,
        int(seed),
    )

    def watch(kernel: ScatteringKernel) -> tuple[np.ndarray, np.ndarray]:
        curves = [kernel.curve(a, i, o) for a in apertures for i, o in detectors]
        errors = [curve.standard_error for curve in curves]
        return np.array([curve.ppiscs for curve in curves]), np.array(errors)

    accelerated = on_accelerator()
    grids = level_grids(
        settings,
        grid,
        detectors,
        angle_edges[-1],
        n_atoms,
        relative_error,
        max_waves,
        accelerated,
    )
    plans = [plan.on(g) for g in grids]
    # A GPU would need further programs for fewer batches.
    spared = angle_edges[-1] <= np.max(detectors) and not accelerated
    levels = levels_of(plans, spared=spared)
    kernel, error = run_levels(
        levels, watch, relative_error, max_waves, workers, callback_of(progress)
    )
    if not error <= relative_error:
        warnings.warn(
            f"relative_error = {error:.2g} after {kernel.waves} waves: {relative_error:g} asked "
            f"for, max_waves = {max_waves}",
            stacklevel=2,
        )
    return kernel


def simulate(
    settings: Settings,
    relative_error: float = 0.005,
    seed: int = 0,
    *,
    n_atoms: int | None = None,
    max_waves: int = MAX_WAVES,
    workers: int | None = None,
    progress: Callback = None,
) -> Curve:
    """PPISCS against thickness, converged, to a given relative standard error at every n.

    Args:
        settings: specimen and microscope.
        relative_error: standard error over value to be reached at every thickness.
        seed: seed of every random draw; the same seed gives the same numbers.
        n_atoms: largest thickness [atoms per column].
        max_waves: stop there even if the error is not reached.
        workers: batches computed at once.
        progress: called with a `SimulationProgress` after every batch; True prints a line every few
            seconds.

    Returns:
        A Curve: ppiscs (n,) [Å²], standard_error (n,) [Å²], n_atoms, settings, seed, waves.

    Raises:
        InputError: before any work, naming what is out of range.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> curve = pp.simulate(settings, relative_error=0.05, n_atoms=2)
        >>> curve.ppiscs.shape  # Å², at 1 and 2 atoms
        (2,)
        >>> bool((curve.standard_error <= 0.05 * curve.ppiscs).all())
        True
    """
    kernel = scattering_kernel(
        settings,
        angle_edges_mrad=[settings.inner_mrad, settings.outer_mrad],
        n_atoms=n_atoms,
        relative_error=relative_error,
        max_waves=max_waves,
        seed=seed,
        workers=workers,
        progress=progress,
    )
    return kernel.curve_of(settings)
