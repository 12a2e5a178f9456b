"""Gaussians whose width grows with their volume, as that of thicker columns does.

The more atoms a column has, the wider it is in the image, since the beam spreads on its way. One
width for all takes several percent from thick columns and gives it to thin ones beside them. Here
ρ_i² = ρ² (1 + c (V_i / V̄ − 1)), with one number c for all columns and the mean V̄ of the volumes
weighted by their squares. For each ρ and c, heights and the constant of the background follow by
linear least squares; all integrals but those of the image have closed forms. A weak prior keeps
c near 0 where the image has too much noise to show it.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Float

from ppiscs_jax.counting.gaussians import OVERLAP, REACH, GaussianFit

LARGEST_GROWTH = 0.6
"""Bound of c."""

GROWTH_STD = 0.15
"""Standard deviation of the prior of c around 0."""

FIRST, LAST = 0.05, 3e-4
"""Initial and final radius of the trust region in the search for ln ρ and c."""

MOST = 60
"""Evaluations at which the search ends."""

BLOCK = 256
"""Columns whose pixels are looked up at once."""


def fit_widths(pixels: np.ndarray, fit: GaussianFit) -> GaussianFit:
    """Let widths grow with volumes; positions stay.

    Args:
        pixels: the image, shape (rows, columns).
        fit: the fit of one width.
    """
    if not np.isfinite(fit.volumes).all():
        return fit
    flat = np.asarray(pixels, float) - fit.background_image(pixels.shape)
    volumes = np.maximum(fit.volumes, 0)
    # With weights of squares, as large columns have in the sum, the best ρ hardly depends on c.
    part = volumes * np.sum(volumes**2) / max(float(np.sum(volumes**3)), 1e-300) - 1

    def widths(shared: np.ndarray) -> Float[np.ndarray, " n"]:
        growth = np.maximum(1 + shared[1] * part, 0.2)
        return fit.width * np.exp(shared[0]) * np.sqrt(growth)

    square = float(np.sum(flat**2))

    def left(shared: np.ndarray) -> float:
        """Sum of squares of image − model."""
        heights, projections = _heights(flat, fit.positions, widths(shared))
        return square - float(heights @ projections)

    variance = max(left(np.zeros(2)), 1e-12 * square) / flat.size
    end = scipy.optimize.minimize(
        lambda shared: left(shared) / variance + (shared[1] / GROWTH_STD) ** 2,
        np.zeros(2),
        method="COBYQA",
        bounds=[(-0.3, 0.3), (-LARGEST_GROWTH, LARGEST_GROWTH)],
        options={"initial_tr_radius": FIRST, "final_tr_radius": LAST, "maxfev": MOST},
    )
    best = widths(end.x)
    heights, _ = _heights(flat, fit.positions, best)
    background = fit.background.copy()
    background[0] += heights[-1]
    return replace(fit, heights=heights[:-1], widths=best, background=background)


def model_image(fit: GaussianFit, shape: tuple[int, ...]) -> Float[np.ndarray, "rows columns"]:
    """All Gaussians on their background; NaN where the fit has failed."""
    if not np.isfinite(fit.volumes).all():
        return np.full(shape, np.nan)
    widths = np.broadcast_to(fit.width if fit.widths is None else fit.widths, len(fit.heights))
    reach = int(np.ceil(REACH * widths.max()))
    padded = np.zeros([n + 2 * (reach + 1) for n in shape])
    for columns, place, y, x in _windows(shape, fit.positions, widths, reach):
        np.add.at(padded, place, fit.heights[columns, None, None] * y[:, :, None] * x[:, None])
    inside = tuple(slice(reach + 1, reach + 1 + n) for n in shape)
    return fit.background_image(shape) + padded[inside]


def _heights(
    image: np.ndarray, positions: Float[np.ndarray, "n 2"], widths: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, np.ndarray]:
    """Heights, and a constant, that fit best, and inner products of the image with the model."""
    matrix = _products(image.shape, positions, widths)
    right = np.append(_projections(image, positions, widths), image.sum())
    # A faint column may have left the image while it was fitted.
    diagonal = matrix.diagonal()
    scale = 1 / np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max()))
    scaled = scipy.sparse.diags(scale) @ matrix @ scipy.sparse.diags(scale)
    solution, _ = scipy.sparse.linalg.cg(scaled, scale * right, rtol=1e-8, maxiter=1000)
    return scale * solution, right


def _products(
    shape: tuple[int, ...], positions: np.ndarray, widths: np.ndarray
) -> scipy.sparse.csr_matrix:
    """Inner products over the image of all Gaussians and of a constant, the last row."""
    pairs = scipy.spatial.cKDTree(positions).query_pairs(
        OVERLAP * float(widths.max()), output_type="ndarray"
    )
    own = np.arange(len(widths))
    i = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    j = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    a, b = (widths[k, None] ** 2 for k in (i, j))
    ends = np.array(shape[::-1]) - 0.5
    both = _integral(
        (b * positions[i] + a * positions[j]) / (a + b), np.sqrt(a * b / (a + b)), ends
    ) * np.exp(-0.5 * np.sum((positions[i] - positions[j]) ** 2, axis=1) / (a + b)[:, 0])
    alone = _integral(positions, widths[:, None], ends)[:, None]
    inner = scipy.sparse.csr_matrix((both, (i, j)), (len(widths), len(widths)))
    return scipy.sparse.bmat([[inner, alone], [alone.T, [[np.prod(shape)]]]], format="csr")


def _integral(centre: np.ndarray, width: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Integrals of Gaussians of height 1 over the pixels, from −½ to `ends` along both axes."""
    low, high = ((e - centre) / (np.sqrt(2) * width) for e in (-0.5, ends))
    halves = 0.5 * (scipy.special.erf(high) - scipy.special.erf(low))
    return np.prod(np.sqrt(2 * np.pi) * width * halves, axis=1)


def _projections(image: np.ndarray, positions: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Sums of the image times each Gaussian."""
    reach = int(np.ceil(REACH * widths.max()))
    padded = np.pad(image, reach + 1)
    return np.concatenate(
        [
            np.einsum("kyx,ky,kx->k", padded[place], y, x, optimize=True)
            for _, place, y, x in _windows(image.shape, positions, widths, reach)
        ]
    )


def _windows(
    shape: tuple[int, ...], positions: np.ndarray, widths: np.ndarray, reach: int
) -> Iterator[tuple[slice, tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray]]:
    """Blocks of columns, the places of their pixels, and their Gaussians along y and x.

    Places are those in an image with reach + 1 more pixels on each side.
    """
    along = np.arange(-reach, reach + 1)
    last = np.array(shape[::-1])
    for begin in range(0, len(widths), BLOCK):
        columns = slice(begin, begin + BLOCK)
        place, width = positions[columns], widths[columns, None]
        pixel = np.clip(np.rint(place), -1, last).astype(int)[..., None] + along
        x, y = (np.exp(-0.5 * ((pixel[:, k] - place[:, k, None]) / width) ** 2) for k in (0, 1))
        pixel += reach + 1
        yield columns, (pixel[:, 1, :, None], pixel[:, 0, None]), y, x
