"""Gaussians fitted to noisy images, whose columns are taken to lie in rows.

Where an image has few electrons, free positions follow the noise, and the shared width and all
volumes come out too small. Rows of columns are nearly straight, and how much they bend, by strain
or by drift of the scan, is measured in the image itself: by how far its columns pull away from
straight rows, beyond what noise explains.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Float, Int

from ppiscs_jax.counting.columns import spacing_of
from ppiscs_jax.counting.gaussians import (
    FAINT,
    POSITION_STD,
    GaussianFit,
    fit_gaussians,
    into_tiles,
    loss,
)
from ppiscs_jax.counting.position_prior import (
    PositionPrior,
    neighbours_in_line,
    second_differences,
)
from ppiscs_jax.counting.widths import model_image

UNCERTAIN = 0.02
"""Median error of positions, in widths ρ, from which columns are taken to lie in rows; noise then
begins to change volumes. What the shape of Gaussians misses counts as noise."""

STRAIGHT, BENT = 0.005, 0.25
"""Smallest and largest standard deviation of bends, in distances of neighbours."""

USUAL = 0.03
"""Standard deviation of the half-normal prior of the standard deviation of bends, in distances of
neighbours."""

_gradient = jax.jit(jax.grad(loss))


def fit_rows(
    pixels: np.ndarray,
    positions: Float[np.ndarray, "n 2"],
    width: float,
    *,
    plane: bool = False,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[GaussianFit, PositionPrior]:
    """Fit Gaussians; where positions are uncertain, with the prior that columns lie in rows.

    The arguments are those of `fit_gaussians`; returned are the fit and the prior that it used.
    """
    fitted = partial(fit_gaussians, pixels, positions, width, plane=plane, progress=progress)
    free = PositionPrior.of(positions, POSITION_STD * width)
    fit = fitted(prior=free)
    triples, spacing = neighbours_in_line(positions), spacing_of(positions)
    uncertain = np.median(position_errors(pixels, fit)) > UNCERTAIN * fit.width
    if not uncertain or not len(triples):
        return fit, free
    straight = PositionPrior.of(positions, POSITION_STD * width, triples, STRAIGHT * spacing)
    fit = fitted(prior=straight)
    errors = position_errors(pixels, fit)
    bend = likely_bend(free_positions(pixels, fit), errors, triples, spacing)
    prior = replace(straight, bend_std=jnp.float32(bend))
    return fitted(prior=prior), prior


def position_errors(pixels: np.ndarray, fit: GaussianFit) -> Float[np.ndarray, " n"]:
    """Standard errors of each coordinate of the positions, from what a fit leaves around them.

    A derivative by x has the inner product πη²/2 with itself, if columns do not overlap; the noise
    at a distance d counts with d² exp(−d²/ρ²), nearly as in an average of width ρ.
    """
    left = np.square(pixels - model_image(fit, pixels.shape))
    noise = scipy.ndimage.gaussian_filter(left, fit.width, mode="nearest")
    at = scipy.ndimage.map_coordinates(noise, fit.positions.T[::-1], order=1, mode="nearest")
    return np.sqrt(at / _curvature(fit))


def free_positions(pixels: np.ndarray, fit: GaussianFit) -> Float[np.ndarray, "n 2"]:
    """Where columns would be without a prior, to first order and all else unchanged."""
    parameters = {
        "positions": jnp.asarray(fit.positions, jnp.float32),
        "heights": jnp.asarray(fit.heights, jnp.float32),
        "log_width": jnp.float32(np.log(fit.width)),
        "background": jnp.asarray(fit.background, jnp.float32),
    }
    gradient = _gradient(parameters, into_tiles(pixels, fit.positions, fit.width))
    return fit.positions - np.asarray(gradient["positions"], float) / _curvature(fit)[:, None]


def _curvature(fit: GaussianFit) -> Float[np.ndarray, " n"]:
    heights = np.abs(fit.heights)
    return np.pi / 2 * np.square(np.maximum(heights, FAINT * heights.max()))


def likely_bend(
    positions: Float[np.ndarray, "n 2"],
    errors: Float[np.ndarray, " n"],
    triples: Int[np.ndarray, "m 3"],
    spacing: float,
) -> float:
    """The most probable standard deviation of bends, given measured positions.

    Args:
        positions: measured ones.
        errors: their standard errors.
        triples: neighbours in line.
        spacing: distance of neighbouring columns, all in the same unit.
    """
    bent = second_differences(triples, len(positions)) @ positions
    squares = np.sum(np.square(bent), axis=1)
    noise = np.square(errors[triples]) @ np.array([1.0, 4.0, 1.0])

    def cost(log_std: float) -> float:
        variance = np.exp(2 * log_std) + noise
        usual = np.exp(2 * log_std) / (USUAL * spacing) ** 2
        return float(np.sum(squares / (2 * variance) + np.log(variance)) + usual / 2)

    ends = tuple(np.log([STRAIGHT * spacing, BENT * spacing]))
    return float(np.exp(scipy.optimize.minimize_scalar(cost, bounds=ends, method="bounded").x))
