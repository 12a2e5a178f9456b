"""Cross-sections of the columns of a periodic image."""

import numpy as np
import scipy

from experiments.crosstalk.slabs import Slabs
from ppiscs_jax.counting.columns import spacing_of
from ppiscs_jax.counting.cross_sections import START_WIDTH
from ppiscs_jax.counting.gaussians import fit_gaussians
from ppiscs_jax.counting.probe_tails import tail_filter
from ppiscs_jax.counting.widths import fit_widths
from ppiscs_jax.settings import Settings


def interpolated(
    image: np.ndarray,
    box: np.ndarray,
    source: float,
    pixel: float,
    without_tails: Settings | None = None,
) -> np.ndarray:
    """A periodic image on pixels of at most a size [Å], blurred by a Gaussian source [Å].

    The scan samples all frequencies of the image, so that the interpolation is exact.
    """
    shape = np.maximum(np.ceil(box / pixel).astype(int), image.shape)
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    before = [m // 2 - n // 2 for n, m in zip(image.shape, shape, strict=True)]
    after = [m - n - b for n, m, b in zip(image.shape, shape, before, strict=True)]
    spectrum = np.fft.ifftshift(np.pad(spectrum, list(zip(before, after, strict=True))))
    gx, gy = (np.fft.fftfreq(n, edge / n) for n, edge in zip(shape, box, strict=True))
    g = np.hypot(gx[:, None], gy)
    spectrum *= np.exp(-2 * (np.pi * source * g) ** 2)
    if without_tails:
        spectrum *= tail_filter(g, without_tails)
    return np.fft.ifft2(spectrum).real * (shape.prod() / image.size)


def voronoi(image: np.ndarray, slabs: Slabs, occupied: np.ndarray) -> np.ndarray:
    """Integrals over Voronoi cells [Å²], cut as those of images; 0 where there is no column."""
    box = slabs.box_angstrom
    pixel = box / image.shape
    places = np.indices(image.shape).reshape(2, -1).T * pixel
    columns = slabs.columns * box
    tree = scipy.spatial.cKDTree(columns[occupied] % box, boxsize=box)
    distance, nearest = tree.query(places, distance_upper_bound=spacing_of(columns))
    inside = np.isfinite(distance)
    values = np.zeros(len(columns))
    values[occupied] = pixel.prod() * np.bincount(
        nearest[inside], image.ravel()[inside], np.count_nonzero(occupied)
    )
    return values


def gaussians(
    image: np.ndarray, slabs: Slabs, occupied: np.ndarray, one_width: bool = False
) -> np.ndarray:
    """Volumes of Gaussians [Å²], fitted to nine copies of the box in vacuum, of the middle one."""
    box = slabs.box_angstrom
    pixel = box / image.shape
    columns = (slabs.columns * box)[occupied]
    shifts = np.array([(i, j) for i in (1, 0, 2) for j in (1, 0, 2)]) * box
    every = (columns + shifts[:, None]).reshape(-1, 2)
    # The copies begin between two rows of columns, and vacuum is as wide as the box.
    begin = slabs.columns[slabs.columns > 1e-6].min() / 2 * box
    rolled = np.roll(image, np.rint(begin / pixel).astype(int), (0, 1))
    padded = np.pad(np.tile(rolled, (3, 3)), [(n, n) for n in image.shape])
    places = every + box + np.rint(begin / pixel) * pixel
    fit = fit_gaussians(padded.T, places / pixel, START_WIDTH * spacing_of(columns) / pixel.mean())
    if not one_width:
        fit = fit_widths(padded.T, fit)
    values = np.zeros(len(occupied))
    values[occupied] = pixel.prod() * fit.volumes[: len(columns)]
    return values
