"""The field's own protocol: a focused probe scanned over frozen-phonon configurations.

PPISCS of Lobato et al., Ultramicroscopy 251 (2023) 113769, section 2.1, and ADF images, from
the same atoms, planes and propagation as the tilt average. A probe scan takes hours where the tilt
average takes seconds; it serves to validate the tilt average and to simulate images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.crystal import ZONE_AXES
from ppiscs_jax.errors import InputError, as_numbers, range_problem
from ppiscs_jax.multislice.grid import CrystalGrid, Grid
from ppiscs_jax.multislice.probe import Planes, scan_positions
from ppiscs_jax.multislice.wave import Specimen, make_specimen
from ppiscs_jax.settings import LARGEST_MRAD, LARGEST_SEED, MOST_ATOMS, RANGES, Settings
from ppiscs_jax.simulation.curve import Curve


@dataclass(frozen=True)
class Scan:
    """Result of a probe scan.

    Attributes:
        curves: PPISCS against thickness, one Curve per detector; its standard error is over
            the frozen-phonon configurations (NaN for one configuration), its `waves` the
            number of probe positions times configurations times defocus nodes.
        images: scattered fractions, shape (detectors, n, nx, ny), averaged over
            configurations; x and y from 0 in steps of `step_angstrom`.
        step_angstrom: scan steps along x and y [Å].
        detectors_mrad: inner and outer angle of each detector [mrad].

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> options = pp.ScanOptions(pixels=360, scan_step_angstrom=1.0, configurations=2)
        >>> scan = pp.simulate_scan(settings, options, n_atoms=1, supercell_angstrom=12.0)
        >>> scan.images.shape  # detectors, thicknesses, x, y
        (1, 1, 2, 4)
        >>> scan.curves[0].ppiscs.shape  # Å²
        (1,)
    """

    curves: list[Curve]
    images: np.ndarray
    step_angstrom: tuple[float, float]
    detectors_mrad: list[tuple[float, float]]


def defocus_quadrature(c10_angstrom: float, spread_angstrom: float, nodes: int) -> Any:
    """C10 values [Å] and weights of a Gaussian defocus distribution (Gauss–Hermite).

    `spread_angstrom` is its standard deviation.
    """
    if spread_angstrom == 0:
        return np.array([c10_angstrom]), np.array([1.0])
    x, w = np.polynomial.hermite.hermgauss(nodes)
    return c10_angstrom + np.sqrt(2) * spread_angstrom * x, w / np.sqrt(np.pi)


def paper_grid(
    zone_axis: str,
    lattice_angstrom: float,
    *,
    supercell_angstrom: float = 50.0,
    pixels: int | tuple[int, int] = 1536,
    band_fraction: float = 1.0,
) -> CrystalGrid:
    """The paper's supercell: ⌊50 Å/a⌋ × ⌊50 Å/b⌋ cells, 1536 pixels along the longer edge.

    One number of pixels makes them as square as they come; two are taken as they are. (Read
    literally, the paper's 1536 n_a/n_max × 1536 n_b/n_max pixels for n_a × n_b cells would be
    1.4 times coarser along one axis of [110]; the published network has the values of square
    ones.)
    """
    cell = np.array(ZONE_AXES[zone_axis].cell)
    repeats = np.floor(supercell_angstrom / (cell * lattice_angstrom) + 1e-9).astype(int)
    lengths = repeats * cell
    if np.ndim(pixels) == 0:
        shape = 2 * np.floor(0.5 * np.asarray(pixels) * lengths / lengths.max() + 1e-9).astype(int)
    else:
        shape = np.array(pixels)
    return CrystalGrid(
        tuple(lengths.tolist()),
        tuple(shape.tolist()),
        band_fraction,
        zone_axis,
        tuple(repeats.tolist()),
    )


@dataclass(frozen=True)
class ScanOptions:
    """Options of a probe scan. The defaults are the paper's protocol.

    Attributes:
        pixels: of the numerical grid along its longer edge, or along both, as in `paper_grid`.
        scan_step_angstrom: scan step Δ [Å]: steps are a / ⌊a / Δ⌋, as in the paper.
        configurations: frozen-phonon configurations, each drawn from (seed, its number).
        defocus_spread_angstrom: standard deviation of a Gaussian defocus spread [Å].
        defocus_nodes: Gauss–Hermite nodes that integrate over it.
        core_correction: whether to apply the core correction (`multislice.core_correction`).
        positions_at_once: probe positions propagated together through one crystal.
        own_displacements: whether every batch of probe positions has thermal displacements of
            its own. The noise of the few configurations then averages out over the image of a
            column, which it does not where all positions share the displacements.
        seed: seed of every random draw.

    Raises:
        InputError: naming every option that is out of range.

    Example:
        >>> import ppiscs_jax as pp
        >>> options = pp.ScanOptions(pixels=480, scan_step_angstrom=0.4, configurations=4)
        >>> options.configurations, options.seed
        (4, 0)
    """

    pixels: int | tuple[int, int] = 1536
    scan_step_angstrom: float = 0.15
    configurations: int = 30
    defocus_spread_angstrom: float = 0.0
    defocus_nodes: int = 7
    core_correction: bool = False
    positions_at_once: int = 8
    own_displacements: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [
            *(range_problem("pixels", n, 16, 16384, "", whole=True) for n in np.ravel(self.pixels)),
            range_problem("scan_step_angstrom", self.scan_step_angstrom, 0.01, 2.0, "Å"),
            range_problem("configurations", self.configurations, 1, 10000, "", whole=True),
            range_problem("defocus_spread_angstrom", self.defocus_spread_angstrom, 0.0, 1e5, "Å"),
            range_problem("defocus_nodes", self.defocus_nodes, 1, 200, "", whole=True),
            range_problem("positions_at_once", self.positions_at_once, 1, 100000, "", whole=True),
            range_problem("seed", self.seed, 0, LARGEST_SEED, "", whole=True),
        ]
        if any(problems):
            raise InputError(p for p in problems if p)

    def defocus(self, c10_angstrom: float) -> tuple[np.ndarray, np.ndarray]:
        """C10 values [Å] and weights of the defocus distribution."""
        return defocus_quadrature(c10_angstrom, self.defocus_spread_angstrom, self.defocus_nodes)


def detector_problems(detectors_mrad: Sequence[tuple[float, float]]) -> list[str]:
    """Problems of inner and outer angles."""
    problems = []
    for inner, outer in detectors_mrad:
        problems.append(range_problem("inner_mrad", inner, *RANGES["inner_mrad"]))
        problems.append(range_problem("outer_mrad", outer, *RANGES["outer_mrad"]))
        problems.append(
            range_problem("outer_mrad", outer, inner, LARGEST_MRAD, "mrad", open_low=True)
        )
    return [p for p in problems if p]


def mistilt_problems(settings: Settings) -> list[str]:
    """The problem that probe scans do not support a mistilt, if there is one."""
    if not any(settings.mistilt_mrad):
        return []
    x, y = settings.mistilt_mrad
    return [f"mistilt_mrad = ({x:g}, {y:g}) mrad: must be (0, 0) for probe scans; use simulate"]


def check_band(
    grid: Grid,
    unit_angstrom: float,
    settings: Settings,
    detectors_mrad: Sequence[tuple[float, float]],
) -> None:
    """Raise InputError where probe or detectors do not fit between the grid's frequencies."""
    mrad = 1e3 * float(wavelength_angstrom(settings.voltage_kv)) / unit_angstrom
    finest, limit = mrad / min(grid.lengths), mrad * grid.band_limit
    alpha = float(settings.convergence_mrad)
    problems = [
        f"outer_mrad = {outer:g} mrad: past the grid's band limit of {limit:.4g} mrad; raise pixels"
        for _, outer in detectors_mrad
        if outer > limit
    ]
    if alpha > limit:
        problems.append(
            f"convergence_mrad = {alpha:g} mrad: past the grid's band limit of {limit:.4g} mrad; "
            "raise pixels"
        )
    if alpha < finest:
        problems.append(
            f"convergence_mrad = {alpha:g} mrad: below the {finest:.4g} mrad that a cell of this "
            "size resolves; raise its size"
        )
    if problems:
        raise InputError(problems)


def standard_error(samples: np.ndarray) -> np.ndarray:
    """Standard error of the mean along the first axis, NaN for a single sample."""
    if len(samples) == 1:
        return np.full(samples.shape[1:], np.nan)
    return samples.std(axis=0, ddof=1) / np.sqrt(len(samples))


def run_scan(
    grid: Grid,
    specimen: Specimen,
    planes: Planes,
    settings: Settings,
    detectors: Sequence[tuple[float, float]],
    steps: np.ndarray,
    extent: tuple[float, float],
    options: ScanOptions,
    progress: Callable[[float], None] | None,
) -> np.ndarray:
    """Fractions of every configuration, shape (configurations, planes, detectors, positions).

    The scan takes so many `steps` along x and y over `extent`, a fraction of the cell.
    """
    x, y = (np.arange(n) / n * part for n, part in zip(steps, extent, strict=True))
    positions = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    defocus = options.defocus(float(settings.c10_angstrom))
    configurations, at_once = options.configurations, options.positions_at_once
    shape = (configurations, len(planes.positions), len(detectors), len(positions))
    fractions = np.zeros(shape)
    edges = jnp.asarray(detectors, jnp.float32)
    # Positions of a batch are far apart, so that neighbouring ones do not share displacements.
    # Batches are padded: one shape, one compilation.
    number_of_batches = -(-len(positions) // at_once)
    batches = [np.arange(b, len(positions), number_of_batches) for b in range(number_of_batches)]
    total, done = configurations * len(batches), 0
    for configuration in range(configurations):
        key = jax.random.fold_in(jax.random.key(options.seed), configuration)
        for number, batch in enumerate(batches):
            of_batch = jax.random.fold_in(key, number) if options.own_displacements else key
            padded = np.resize(positions[batch], (at_once, 2))
            for c10, weight in zip(*defocus, strict=True):
                probe = (settings.convergence_mrad, float(c10), settings.c30_mm)
                out = scan_positions(
                    grid, specimen, planes, of_batch, probe, edges, jnp.asarray(padded, jnp.float32)
                )
                fractions[configuration][..., batch] += weight * np.asarray(out)[..., : len(batch)]
            done += 1
            if progress:
                progress(done / total)
    return fractions


def simulate_scan(
    settings: Settings,
    options: ScanOptions | None = None,
    *,
    n_atoms: int | None = None,
    detectors_mrad: Sequence[tuple[float, float]] | None = None,
    supercell_angstrom: float = 50.0,
    band_fraction: float = 1.0,
    progress: Callable[[float], None] | None = None,
) -> Scan:
    """PPISCS by the paper's protocol, and the ADF images of the projected cell.

    A probe is scanned over one projected cell of a supercell, in steps of a / ⌊a / 0.15 Å⌋,
    through frozen-phonon configurations with one slice an atomic plane. The summed image times
    the pixel area times (atoms on a column / projected atoms in the image) is the PPISCS.

    Args:
        settings: specimen and microscope; C10 and C30 shape the probe here.
        options: how the probe is scanned. Default: the paper's protocol.
        n_atoms: largest thickness [atoms per column]. Default: that of the zone axis.
        detectors_mrad: (inner, outer) of each detector [mrad]. Default: that of the settings.
        supercell_angstrom: largest edge of the supercell, whole projected cells [Å].
        band_fraction: band limit over the Nyquist frequency: 1, or 2/3 free of aliases.
        progress: called with the finished fraction.

    Returns:
        A Scan: a Curve per detector, images, scan steps.

    Raises:
        InputError: before any work, naming what is out of range.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> options = pp.ScanOptions(pixels=360, scan_step_angstrom=1.0, configurations=2)
        >>> scan = pp.simulate_scan(settings, options, n_atoms=1, supercell_angstrom=12.0)
        >>> scan.curves[0].ppiscs.shape, scan.images.shape
        ((1,), (1, 1, 2, 4))
    """
    options = options or ScanOptions()
    zone, a = settings.zone_axis_data, settings.element_data.lattice_angstrom
    if n_atoms is None:
        n_atoms = zone.thickest(settings.element_data)
    if detectors_mrad is None:
        detectors_mrad = [(float(settings.inner_mrad), float(settings.outer_mrad))]
    angles = as_numbers("detectors_mrad", list(detectors_mrad), (None, 2), "mrad")
    detectors = [(inner, outer) for inner, outer in angles.tolist()]
    problems = [
        range_problem("n_atoms", n_atoms, 1, MOST_ATOMS, "atoms", whole=True),
        range_problem("supercell_angstrom", supercell_angstrom, max(zone.cell) * a, 1000.0, "Å"),
        range_problem("band_fraction", band_fraction, 0.1, 1.5, ""),
        *detector_problems(detectors),
        *mistilt_problems(settings),
    ]
    if any(problems):
        raise InputError(p for p in problems if p)
    grid = paper_grid(
        settings.zone_axis,
        a,
        supercell_angstrom=supercell_angstrom,
        pixels=options.pixels,
        band_fraction=band_fraction,
    )
    check_band(grid, a, settings, detectors)
    cell = np.array(zone.cell) * a
    steps = np.floor(cell / options.scan_step_angstrom + 1e-9).astype(int)
    layers = np.tile(grid.sites, (n_atoms, 1, 1))
    planes = Planes(jnp.asarray(layers, jnp.float32), jnp.ones(layers.shape[:2], jnp.float32))
    fractions = run_scan(
        grid,
        make_specimen(settings, grid, core_correction=options.core_correction),
        planes,
        settings,
        detectors,
        steps,
        (1 / grid.repeats[0], 1 / grid.repeats[1]),
        options,
        progress,
    )[:, len(zone.layers) - 1 :: len(zone.layers)]
    cross_sections = settings.column_area_angstrom2 * fractions.mean(axis=-1)
    nodes = len(options.defocus(0.0)[0])
    errors = standard_error(cross_sections)
    curves = [
        Curve(
            n_atoms=np.arange(1, n_atoms + 1),
            ppiscs=cross_sections[..., d].mean(axis=0),
            standard_error=errors[..., d],
            settings=replace(settings, inner_mrad=inner, outer_mrad=outer),
            seed=int(options.seed),
            waves=int(np.prod(steps)) * options.configurations * nodes,
            batches=options.configurations,
        )
        for d, (inner, outer) in enumerate(detectors)
    ]
    images = fractions.mean(axis=0).swapaxes(0, 1).reshape(len(detectors), n_atoms, *steps)
    return Scan(curves, images, tuple((cell / steps).tolist()), detectors)
