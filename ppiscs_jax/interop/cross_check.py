"""The same displaced atoms and tilts through this package and through abTEM."""

import dataclasses
import itertools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.errors import InputError, as_numbers, range_problem
from ppiscs_jax.interop.abtem import import_abtem, potential, scattered_fractions, slab
from ppiscs_jax.inverse.record import Record
from ppiscs_jax.multislice.grid import CrystalGrid, pixels_for
from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH, sample_tilts
from ppiscs_jax.multislice.wave import (
    Specimen,
    displaced_layer,
    make_specimen,
    scatter_batch,
    wave_key,
)
from ppiscs_jax.progress import Callback, callback_of, time_left
from ppiscs_jax.settings import LARGEST_MRAD, LARGEST_SEED, MOST_ATOMS, Settings
from ppiscs_jax.simulation.grids import simulation_grid

CROSS_CHECK_ATOMS = 5
"""Atoms per column of a cross-check, if not otherwise asked for."""

WIDEST_BIN_MRAD = 20.0
"""Bins of collection angle are at most this wide [mrad]."""

MOST_WAVES = 1024
LEAST_SAMPLING_ANGSTROM = 0.002
ABTEM_BAND_FRACTION = 2 / 3
"""Fraction of the Nyquist frequency that abTEM keeps."""


@dataclass(frozen=True)
class CrossCheckProgress:
    """Progress of a cross-check.

    Attributes:
        waves: waves finished.
        total: waves asked for.
        seconds_left: estimated time left [s], NaN until known.
    """

    waves: int
    total: int
    seconds_left: float

    def __str__(self) -> str:
        return f"abTEM: {self.waves} of {self.total} waves{time_left(self.seconds_left)}"


@dataclass(frozen=True, eq=False)
class CrossCheck(Record):
    """Fractions scattered by the same displaced atoms and tilts, by this package and by abTEM.

    There is no statistical error: only the two programs differ.

    Attributes:
        settings: specimen and microscope.
        detectors_mrad: inner and outer angles of the detectors [mrad], shape (detectors, 2).
        angle_edges_mrad: edges of the bins of collection angle [mrad], shape (bins + 1,); those of
            the detectors are among them.
        fractions: fraction of the electrons that this package scatters into each bin, mean over
            the waves, shape (bins,).
        abtem_fractions: the same by abTEM, shape (bins,).
        n_atoms: thickness [atoms per column].
        waves: number of tilted plane waves, each through displaced atoms of its own.
        seed: of tilts and displacements.
        sampling_angstrom: pixel size of abTEM's grid along x and y [Å].
        abtem_version: which abTEM.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Al", "100", 200.0, 15.0, 20.0, 40.0, 0.1)
        >>> check = pp.cross_check(settings, n_atoms=1, waves=1, sampling_angstrom=0.02)
        >>> [row["outer_mrad"] for row in check.rows()]  # two bins, then the detector
        [20.0, 40.0, 40.0]
    """

    settings: Settings
    detectors_mrad: Float[np.ndarray, "detectors 2"]
    angle_edges_mrad: Float[np.ndarray, " edges"]
    fractions: Float[np.ndarray, " bins"]
    abtem_fractions: Float[np.ndarray, " bins"]
    n_atoms: int
    waves: int
    seed: int
    sampling_angstrom: tuple[float, float]
    abtem_version: str

    @property
    def ratio(self) -> Float[np.ndarray, " bins"]:
        """`fractions` over `abtem_fractions`; NaN or infinite in bins that abTEM leaves empty."""
        return _ratio(self.fractions, self.abtem_fractions)

    def contents(self) -> dict[str, Any]:
        """Everything, with the settings by name."""
        numbers = dataclasses.asdict(self.settings)
        names = (numbers.pop("element"), numbers.pop("zone_axis"))
        settings = {
            "element": names[0],
            "zone_axis": names[1],
            **{name: np.asarray(value, dtype=float).tolist() for name, value in numbers.items()},
        }
        return {**super().contents(), "settings": settings, "ratio": self.ratio}

    def rows(self) -> list[dict[str, float]]:
        """One row per bin, then one per detector."""
        edges = self.angle_edges_mrad
        annuli = [*itertools.pairwise(edges), *self.detectors_mrad]
        return [self._row(inner, outer) for inner, outer in annuli]

    def _row(self, inner_mrad: float, outer_mrad: float) -> dict[str, float]:
        bins = slice(*np.searchsorted(self.angle_edges_mrad, (inner_mrad, outer_mrad)))
        ours, theirs = self.fractions[bins].sum(), self.abtem_fractions[bins].sum()
        return {
            "inner_mrad": float(inner_mrad),
            "outer_mrad": float(outer_mrad),
            "fraction": float(ours),
            "abtem_fraction": float(theirs),
            "ratio": float(_ratio(ours, theirs)),
        }


def cross_check(
    settings: Settings,
    *,
    detectors_mrad: Iterable[tuple[float, float]] | None = None,
    n_atoms: int = CROSS_CHECK_ATOMS,
    waves: int = 4,
    seed: int = 0,
    sampling_angstrom: float = 0.006,
    progress: Callback = None,
) -> CrossCheck:
    """Compare with abTEM, an independent multislice program; needs the extra `abtem`.

    Tilted plane waves from the whole aperture go through displaced atoms, once through the code
    and on the grid that `simulate` uses, and once through abTEM with a potential, propagation and
    pixels of its own. The potentials of single atoms are those of Lobato & Van Dyck (2014) in both.

    abTEM spreads every atom over the pixels around it, so that it deviates at high angles, by a
    part that falls with the square of `sampling_angstrom`; docs/python.md has an example.

    Args:
        settings: specimen and microscope.
        detectors_mrad: (inner, outer) [mrad] of the detectors. Default: that of the settings.
        n_atoms: thickness [atoms per column].
        waves: number of tilted plane waves.
        seed: of tilts and displacements; the same seed gives the same numbers.
        sampling_angstrom: largest pixel size of abTEM's grid [Å].
        progress: called with a `CrossCheckProgress` after every wave of abTEM; True prints a line
            every few seconds.

    Returns:
        A CrossCheck: fractions scattered into bins of collection angle by both, and their ratio.

    Raises:
        InputError: before any work, naming what is out of range, or that abTEM is not installed.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Al", "100", 200.0, 15.0, 20.0, 40.0, 0.1)
        >>> check = pp.cross_check(settings, n_atoms=1, waves=1, sampling_angstrom=0.02)
        >>> check.angle_edges_mrad, check.ratio.round(1)
        (array([ 0., 20., 40.]), array([1., 1.]))
    """
    abtem = import_abtem()
    if detectors_mrad is None:
        detectors_mrad = [(float(settings.inner_mrad), float(settings.outer_mrad))]
    detectors = as_numbers("detectors_mrad", list(detectors_mrad), (None, 2), "mrad")
    if problems := _problems(settings, detectors, n_atoms, waves, seed, sampling_angstrom):
        raise InputError(problems)
    n_atoms, waves, seed = int(n_atoms), int(waves), int(seed)
    edges = _bin_edges(detectors)
    axis = np.array(settings.mistilt_mrad, dtype=float)
    convergence = float(settings.convergence_mrad)
    grid = simulation_grid(settings, edges[-1], n_atoms, convergence)
    specimen = make_specimen(settings, grid)
    key = jax.random.key(seed)
    tilts, _ = sample_tilts(
        WHOLE_AZIMUTH, np.array([0.0, convergence]), (seed,), 0, 1 << (waves - 1).bit_length()
    )
    tilts = (tilts[:waves] + axis).astype(np.float32)
    fractions = scatter_batch(
        grid,
        specimen,
        key,
        jnp.asarray(tilts),
        jnp.asarray(edges, jnp.float32),
        jnp.asarray(axis, jnp.float32),
        n_atoms=n_atoms,
        n_planes=0,
    )[:, -1, :-1]
    size = np.array(grid.lengths) * settings.element_data.lattice_angstrom
    pixels = pixels_for(tuple(size), 0.5 / sampling_angstrom)

    def by_abtem(wave: int) -> np.ndarray:
        layers = _displaced_layers(grid, specimen, wave_key(key, wave), n_atoms)
        made = potential(slab(settings, size, layers), len(layers), pixels)
        return scattered_fractions(made, float(settings.voltage_kv), tilts[wave], edges, axis)

    report = callback_of(progress)
    abtem_fractions, started = np.zeros((waves, len(edges) - 1)), time.monotonic()
    for wave in range(waves):
        abtem_fractions[wave] = by_abtem(wave)
        if report:
            left = (time.monotonic() - started) / (wave + 1) * (waves - wave - 1)
            report(CrossCheckProgress(wave + 1, waves, left))
    return CrossCheck(
        settings=settings,
        detectors_mrad=detectors,
        angle_edges_mrad=edges,
        fractions=np.asarray(fractions, dtype=float).mean(axis=0),
        abtem_fractions=abtem_fractions.mean(axis=0),
        n_atoms=n_atoms,
        waves=waves,
        seed=seed,
        sampling_angstrom=tuple((size / pixels).tolist()),
        abtem_version=abtem.__version__,
    )


def _displaced_layers(
    grid: CrystalGrid, specimen: Specimen, key: jax.Array, n_atoms: int
) -> np.ndarray:
    """The atoms that a wave of `scatter_batch` meets, shape (layers, atoms, 2)."""
    layers = jnp.arange(n_atoms * len(grid.sites))
    drawn = jax.vmap(partial(displaced_layer, grid, specimen, key))(layers)
    return np.asarray(drawn, dtype=float)


def _bin_edges(detectors_mrad: np.ndarray) -> np.ndarray:
    """From 0 to the largest angle, those of the detectors among them [mrad]."""
    fixed = np.unique([0.0, *detectors_mrad.ravel()])
    parts = [
        np.linspace(low, high, math.ceil((high - low) / WIDEST_BIN_MRAD), endpoint=False)
        for low, high in itertools.pairwise(fixed)
    ]
    return np.concatenate([*parts, fixed[-1:]])


def _ratio(ours: Any, theirs: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(ours, theirs)


def _problems(
    settings: Settings,
    detectors_mrad: np.ndarray,
    n_atoms: int,
    waves: int,
    seed: int,
    sampling_angstrom: float,
) -> list[str]:
    found = [
        range_problem("n_atoms", n_atoms, 1, MOST_ATOMS, "atoms", whole=True),
        range_problem("waves", waves, 1, MOST_WAVES, "waves", whole=True),
        range_problem("seed", seed, 0, LARGEST_SEED, "", whole=True),
    ]
    for inner, outer in detectors_mrad:
        found += [
            range_problem("inner_mrad", inner, 0.0, LARGEST_MRAD, "mrad"),
            range_problem("outer_mrad", outer, inner, LARGEST_MRAD, "mrad", open_low=True),
        ]
    if not any(found):
        # abTEM's grid is centred on the tilted beam.
        reach = float(np.max(detectors_mrad) + settings.convergence_mrad)
        largest = 0.5 * ABTEM_BAND_FRACTION * 1e3 * float(wavelength_angstrom(settings.voltage_kv))
        found.append(
            range_problem(
                "sampling_angstrom",
                sampling_angstrom,
                LEAST_SAMPLING_ANGSTROM,
                largest / reach,
                f"Å, so that abTEM's grid holds {reach:g} mrad",
            )
        )
    return [problem for problem in found if problem]
