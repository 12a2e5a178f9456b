"""Positions of atomic columns in an image: found, read, and compared with the crystal.

Positions are x, y in Å from the centre of the first pixel, shape (n, 2).
"""

import csv
from pathlib import Path

import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Bool, Float

from ppiscs_jax.counting.images import AdfImage
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.errors import InputError, as_numbers
from ppiscs_jax.reading import read_text, split_lines
from ppiscs_jax.settings import Settings

FEWEST = 5
"""Columns that an image must have."""

MOST = 100_000

SHELL = 1.3
"""Neighbours are nearer than so many times the distance of the nearest ones: four along [100], six
along [110] and [111]."""

WIDEST_GAP_DEG = 100.0
"""Neighbours of a column inside the crystal leave no larger gap: it is 90° at most along all zone
axes, and at least 109° where one of them is missing."""

SPACING_TOLERANCE = 0.15
"""Relative difference of the spacing from the crystal's up to which a calibration is accepted."""

NOISE = 5.0
"""Peaks must be so many standard deviations of the noise high."""

SMOOTHING = 0.17
"""Width of the Gaussian by which images are smoothed, in distances of neighbouring columns."""

FAINTEST = 0.08
"""Peaks must have this part of a typical height."""


def crystal_spacings(element: str, zone: str) -> tuple[float, float]:
    """Mean distances [Å] to the nearest four, and to the next two columns of a crystal."""
    axis = ZONE_AXES[zone]
    sites = np.concatenate([np.array(layer) for layer in axis.layers])
    cells = np.array([(i, j) for i in range(-3, 4) for j in range(-3, 4)])
    every = (sites[None] + cells[:, None] - sites[0]).reshape(-1, 2) * axis.cell
    distances = np.sort(np.hypot(*every.T))[1:7] * ELEMENTS[element].lattice_angstrom
    return float(distances[:4].mean()), float(distances[4:].mean())


def find_columns(
    image: AdfImage, spacing_angstrom: float | None = None
) -> Float[np.ndarray, "n 2"]:
    """Positions of columns [Å]: maxima of the negative Laplacian of the smoothed image.

    Good enough for clean particles on vacuum; other positions can be given instead.

    Args:
        image: with columns brighter than their surroundings.
        spacing_angstrom: distance of neighbouring columns [Å]; default: from the image's
            autocorrelation.

    Raises:
        InputError: there are too few of them.
    """
    spacing = spacing_angstrom or estimate_spacing(image)
    scale = spacing / image.pixel_angstrom
    curved = -scipy.ndimage.gaussian_laplace(image.pixels, SMOOTHING * scale)
    reach = max(1, int(0.35 * scale))
    disc = np.hypot(*np.mgrid[-reach : reach + 1, -reach : reach + 1]) <= reach
    highest = scipy.ndimage.maximum_filter(curved, footprint=disc) == curved
    rows, columns = np.nonzero(highest & (curved > 0))
    heights = curved[rows, columns]
    # The noise is that of the quietest parts of the image.
    block = max(4, int(scale))
    shape = [n // block for n in curved.shape]
    blocks = curved[: shape[0] * block, : shape[1] * block]
    blocks = blocks.reshape(shape[0], block, shape[1], block)
    noise = np.quantile(blocks.std(axis=(1, 3)), 0.05)
    chosen = heights > max(NOISE * noise, FAINTEST * _typical(heights))
    positions = np.stack([columns[chosen], rows[chosen]], axis=1) * image.pixel_angstrom
    return check_positions(image, positions)


def _typical(heights: Float[np.ndarray, " n"]) -> float:
    """The height of which peaks above and below have equal sums: small ones hardly count."""
    falling = np.sort(heights)[::-1]
    sums = np.cumsum(falling)
    return float(falling[np.searchsorted(sums, sums[-1] / 2)]) if len(falling) else np.inf


def estimate_spacing(image: AdfImage) -> float:
    """Distance of neighbouring columns [Å]: the nearest maximum of the autocorrelation.

    Raises:
        InputError: there is none.
    """
    pixels = image.pixels
    size = max(pixels.shape)
    blur = scipy.ndimage.gaussian_filter
    smooth = blur(pixels, 1.0)
    # Slow variations of the thickness would hide the lattice.
    fine = smooth - blur(smooth, max(4.0, min(size / 20, 3.0 / image.pixel_angstrom)))
    spectrum = np.abs(np.fft.rfft2(fine, s=[2 * n for n in fine.shape])) ** 2
    correlation = np.fft.fftshift(np.fft.irfft2(spectrum))
    correlation = blur(correlation, 1.0)
    middle = np.array(correlation.shape) // 2
    peaks = scipy.ndimage.maximum_filter(correlation, 5) == correlation
    peaks &= correlation > 0.1 * correlation[tuple(middle)]
    places = np.argwhere(peaks) - middle
    distances = np.sort(np.hypot(*places.T))
    distances = distances[distances > 2]
    if not len(distances):
        raise InputError(f"{image.source}: no lattice of columns is found; give their positions")
    return float(distances[0] * image.pixel_angstrom)


def read_positions(path: str | Path) -> Float[np.ndarray, "n 2"]:
    """Positions [Å] from a CSV file, with or without a header.

    The columns are `x_angstrom` and `y_angstrom`, or the first two where there are no names.

    Raises:
        InputError: the file holds something else, with its line.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    rows = [r for r in csv.reader(split_lines(read_text(path))) if r and not r[0].startswith("#")]
    names = ["x_angstrom", "y_angstrom"]
    places = [0, 1]
    if rows and not _numbers(rows[0][:2]):
        head = [name.strip() for name in rows.pop(0)]
        if not set(names) <= set(head):
            raise InputError(f"{path}: its columns are {head}; two must be {' and '.join(names)}")
        places = [head.index(name) for name in names]
    found = []
    for number, row in enumerate(rows, 1):
        values = [row[i] for i in places] if len(row) > max(places) else row
        if not _numbers(values) or len(values) != 2:
            raise InputError(f"{path}, row {number}: {','.join(row)!r} are not positions x, y [Å]")
        found.append([float(v) for v in values])
    if not found:
        raise InputError(f"{path}: holds no positions")
    return np.array(found)


def check_positions(image: AdfImage, positions_angstrom: object) -> Float[np.ndarray, "n 2"]:
    """Positions as an array, inside the image, enough of them and none twice.

    Raises:
        InputError: they are not.
    """
    positions = as_numbers("positions", positions_angstrom, (None, 2), "Å")
    count = len(positions)
    if not FEWEST <= count <= MOST:
        raise InputError(f"{image.source}: {count} columns; must be {FEWEST} to {MOST}")
    # A position may be half a pixel beyond the centres of the outermost pixels.
    edge = image.pixel_angstrom / 2
    x_end, y_end = image.extent_angstrom
    inside = np.all((positions >= -edge) & (positions <= [x_end + edge, y_end + edge]), axis=1)
    if not inside.all():
        x, y = positions[np.argmin(inside)]
        raise InputError(
            f"positions: {int((~inside).sum())} of {count} are outside of the image, the first at "
            f"({x:.4g}, {y:.4g}) Å; must be within 0 to {x_end:.4g} and 0 to {y_end:.4g} Å"
        )
    pairs = scipy.spatial.cKDTree(positions).query_pairs(image.pixel_angstrom / 2)
    if pairs:
        first = positions[min(pairs)[0]]
        raise InputError(f"positions: two columns are at ({first[0]:.4g}, {first[1]:.4g}) Å")
    return positions


def spacing_of(positions: Float[np.ndarray, "n 2"]) -> float:
    """Median distance of the nearest column [Å]."""
    distances, _ = scipy.spatial.cKDTree(positions).query(positions, k=2)
    return float(np.median(distances[:, 1]))


def at_edge(positions: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    """Which columns lack a neighbour."""
    reach = SHELL * spacing_of(positions)
    neighbours = scipy.spatial.cKDTree(positions).query_ball_point(positions, reach)
    edge = np.ones(len(positions), bool)
    for i, near in enumerate(neighbours):
        others = [j for j in near if j != i]
        if len(others) > 2:
            angles = np.sort(np.arctan2(*(positions[others] - positions[i]).T))
            gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
            edge[i] = np.degrees(gaps.max()) > WIDEST_GAP_DEG
    return edge


def check_crystal(
    positions: Float[np.ndarray, "n 2"], settings: Settings, source: str = "image"
) -> None:
    """Make sure that columns are as far apart, and arranged, as in the crystal.

    Raises:
        InputError: the calibration or the zone axis cannot be right.
    """
    near, far = _spacings(positions)
    expected, _ = crystal_spacings(settings.element, settings.zone_axis)
    crystal = f"{settings.element} [{settings.zone_axis}]"
    ratio = near / expected
    if abs(ratio - 1) > SPACING_TOLERANCE:
        raise InputError(
            f"{source}: neighbouring columns are {near:.3g} Å apart, {ratio:.3g} times the "
            f"{expected:.3g} Å of {crystal}; check pixel_angstrom (--pixel) and its unit, the "
            "element and the zone axis"
        )
    if np.isnan(far):
        return
    ratios = {}
    for zone in ZONE_AXES:
        nearest, next_ones = crystal_spacings(settings.element, zone)
        ratios[zone] = next_ones / nearest
    fits = min(ratios, key=lambda zone: abs(ratios[zone] - far / near))
    if fits != settings.zone_axis:
        raise InputError(
            f"{source}: zone_axis = {settings.zone_axis} does not match the columns, which are "
            f"arranged as along [{fits}]: the fifth and sixth neighbours are {far / near:.3g} "
            f"times as far away as the nearest four, not {ratios[settings.zone_axis]:.3g} times"
        )


def _spacings(positions: Float[np.ndarray, "n 2"]) -> tuple[float, float]:
    """Median distances [Å] to the nearest four and the next two columns, of those inside."""
    inside = ~at_edge(positions)
    if np.count_nonzero(inside) < 3 or len(positions) < 7:
        return spacing_of(positions), np.nan
    distances, _ = scipy.spatial.cKDTree(positions).query(positions[inside], k=7)
    return float(np.median(distances[:, 1:5])), float(np.median(distances[:, 5:7].mean(axis=1)))


def _numbers(texts: list[str]) -> bool:
    """Whether all texts are finite numbers."""
    try:
        return bool(texts) and all(np.isfinite(float(text)) for text in texts)
    except ValueError:
        return False
