"""What an image of the detector tells: levels of intensity, and sensitivity against angle."""

import numpy as np
from jaxtyping import Float

from ppiscs_jax.errors import InputError

BINS = 24
"""Of the radial sensitivity."""

FEWEST_PIXELS = 16
"""In each of them."""

LEAST_SHARE = 0.8
"""The bright ring must cover this share of the stated range of angles."""


def detector_levels(scan: Float[np.ndarray, "rows columns"]) -> tuple[float, float]:
    """Intensities of vacuum and detector, from an image of the detector.

    The beam is scanned over the detector: pixels above the middle of the range are on it, whose
    mean is its intensity; the median of the others is that of vacuum.

    Raises:
        InputError: less than 1 % of the pixels are on one of the two.
    """
    on = _on_detector(scan)
    share = float(on.mean())
    if not 0.01 <= share <= 0.99:
        raise InputError(
            f"detector scan: {share:.2%} of its pixels are bright; detector and vacuum must both "
            "take 1 % or more"
        )
    return float(np.median(scan[~on])), float(scan[on].mean(dtype=float))


def radial_sensitivity(
    scan: Float[np.ndarray, "rows columns"], inner_mrad: float, outer_mrad: float
) -> tuple[Float[np.ndarray, " edges"], Float[np.ndarray, " bins"]]:
    """Radial sensitivity S(θ) of an annular detector, from an image of it.

    The hole in the detector gives the centre, and its radius the scale of angles, as it lies at
    the inner collection angle. S is the mean over all azimuths, in parts of the mean over the
    detector: images that `detector_levels` normalises have the same unit.

    Args:
        scan: the beam was scanned over the detector, without a specimen.
        inner_mrad, outer_mrad: collection angles [mrad].

    Returns:
        Edges of BINS bins of equal width from the inner to the outer angle [mrad], and S between
        them.

    Raises:
        InputError: the scan shows no hole, or its bright ring does not fit the angles.

    Example:
        >>> import numpy as np
        >>> import ppiscs_jax as pp
        >>> radius = np.hypot(*(np.indices((256, 256)) - 127.5))  # a pixel is 1 mrad
        >>> scan = np.where((radius > 40) & (radius < 120), 5.0 - radius / 100, 0.1)
        >>> edges_mrad, sensitivity = pp.radial_sensitivity(scan, 40.0, 120.0)
        >>> bool(sensitivity[0] > 1.0 > sensitivity[-1])
        True
    """
    vacuum, detector = detector_levels(scan)
    row, column, hole = _hole(scan)
    rows, columns = np.indices(scan.shape)
    angle = np.hypot(rows - row, columns - column) * inner_mrad / hole
    edges = np.linspace(inner_mrad, outer_mrad, BINS + 1)
    pixels, _ = np.histogram(angle, edges)
    if pixels.min() < FEWEST_PIXELS:
        raise InputError(
            f"detector scan: with the edge of the hole at inner_mrad = {inner_mrad:g} mrad it "
            f"reaches {angle.max():.0f} mrad in steps of {inner_mrad / hole:.3g} mrad; must show "
            f"the detector up to outer_mrad = {outer_mrad:g} mrad in finer steps"
        )
    fractions = (np.asarray(scan, float) - vacuum) / (detector - vacuum)
    signal, _ = np.histogram(angle, edges, weights=fractions)
    sensitivity = np.maximum(signal / pixels, 0.0)
    bright = edges[1:][sensitivity > 0.5]
    covered = (bright.max(initial=inner_mrad) - inner_mrad) / (outer_mrad - inner_mrad)
    if covered < LEAST_SHARE:
        raise InputError(
            f"detector scan: its bright ring ends at {bright.max(initial=inner_mrad):.0f} mrad if "
            f"the hole's edge is at inner_mrad = {inner_mrad:g} mrad; this does not fit "
            f"outer_mrad = {outer_mrad:g} mrad"
        )
    return edges, sensitivity


def _on_detector(scan: Float[np.ndarray, "rows columns"]) -> np.ndarray:
    return scan > float(np.mean(np.quantile(scan, [0.02, 0.98])))


def _hole(scan: Float[np.ndarray, "rows columns"]) -> tuple[float, float, float]:
    """Row and column of the hole's centre, and its radius, in pixels."""
    from scipy import ndimage

    labels, _ = ndimage.label(~_on_detector(scan))
    at_border = np.concatenate([labels[[0, -1]].ravel(), labels[:, [0, -1]].ravel()])
    sizes = np.bincount(labels.ravel())
    sizes[np.unique([0, *at_border])] = 0
    if sizes.max() < FEWEST_PIXELS:
        raise InputError(
            "detector scan: shows no hole; a dark region that the bright ring encloses is needed"
        )
    largest = int(np.argmax(sizes))
    row, column = ndimage.center_of_mass(labels == largest)
    return float(row), float(column), float(np.sqrt(sizes[largest] / np.pi))
