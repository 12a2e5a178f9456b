"""Scattering cross-sections of all columns of an image, with their standard errors.

A cross-section is the pixel area times the sum of a column's intensities, in Å² where intensities
are fractions of the incident beam. It is measured either by integrating over the Voronoi cell of a
column or from the volume of a fitted Gaussian.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Bool, Float

from ppiscs_jax.counting.columns import at_edge, check_positions, spacing_of
from ppiscs_jax.counting.gaussians import GaussianFit, fit_gaussians
from ppiscs_jax.counting.images import AdfImage
from ppiscs_jax.counting.position_prior import PositionPrior
from ppiscs_jax.counting.probe_tails import noise_gain, without_probe_tails
from ppiscs_jax.counting.rows import fit_rows
from ppiscs_jax.counting.widths import fit_widths, model_image
from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.settings import Settings

By = Literal["gaussians", "voronoi"]

START_WIDTH = 0.3
"""Width ρ from which fits start, in distances of neighbouring columns."""

NEAREST = 24
"""Neighbours whose Gaussians are fitted together where standard errors are concerned."""

VACUUM = 2.0
"""Distances of neighbouring columns from the nearest of them at which there is vacuum."""

FEWEST_VACUUM = 100
"""Pixels of vacuum from which the background of Voronoi cells is taken."""


@dataclass(frozen=True)
class CrossSections:
    """Cross-sections of the columns of an image.

    Attributes:
        positions_angstrom: x, y of the columns [Å], shape (n, 2).
        values: cross-sections [Å²], shape (n,); in arbitrary units times Å² where `normalised` is
            False.
        standard_error: of the values, from the dose where it is known, and otherwise from what
            the model leaves of the image; NaN where neither is there.
        edge: whether a column lacks a neighbour.
        by: "gaussians" or "voronoi".
        background: intensity of the background in the middle of the image.
        width_angstrom: ρ of the Gaussians [Å], NaN for Voronoi cells.
        normalised: whether intensities are fractions of the incident beam.
    """

    positions_angstrom: Float[np.ndarray, "n 2"]
    values: Float[np.ndarray, " n"]
    standard_error: Float[np.ndarray, " n"]
    edge: Bool[np.ndarray, " n"]
    by: By
    background: float
    width_angstrom: float
    normalised: bool


def cross_sections(
    image: AdfImage,
    positions_angstrom: Float[np.ndarray, "n 2"],
    *,
    by: By = "gaussians",
    dose_per_angstrom2: float | None = None,
    plane: bool = False,
    radius_angstrom: float | None = None,
    settings: Settings | None = None,
    progress: Callable[[str], None] | None = None,
) -> CrossSections:
    """Measure the cross-sections of all columns.

    Args:
        image: whose columns they are.
        positions_angstrom: x, y of the columns [Å]; Gaussians refine them.
        by: "gaussians" or "voronoi".
        dose_per_angstrom2: electrons per Å², for standard errors; the image must be normalised.
        plane: whether the background of the Gaussians is a plane rather than a constant.
        radius_angstrom: where Voronoi cells are cut [Å]; default: the distance of neighbours.
        settings: if given, the tails of the probe, which no Gaussian has and Voronoi cells cut, are
            given back to their columns (`counting.probe_tails`; voltage and convergence semi-angle
            are used), and Gaussians of thicker columns are wider (`counting.widths`).
        progress: called with what is being done.

    Raises:
        InputError: positions outside of the image, too few of them; a dose without normalised
            intensities.
    """
    problems = [choice_problem("by", by, ("gaussians", "voronoi"))]
    if dose_per_angstrom2 is not None:
        problems.append(
            range_problem("dose_per_angstrom2", dose_per_angstrom2, 0, 1e10, "e⁻/Å²", open_low=True)
        )
        if not image.normalised:
            problems.append("dose_per_angstrom2: needs normalised intensities")
    if radius_angstrom is not None:
        problems.append(range_problem("radius_angstrom", radius_angstrom, 0.1, 100, "Å"))
    if any(problems):
        raise InputError(p for p in problems if p)
    positions = check_positions(image, positions_angstrom)
    pixel, pixels, fit, gain = image.pixel_angstrom, image.pixels, None, 1.0
    if settings is not None:
        pixels, fit = _corrected(image, positions, plane, settings, progress)
        if pixels is not image.pixels:
            gain = noise_gain(fit.width * pixel, settings)
    if by == "voronoi":
        return _voronoi(image, pixels, positions, dose_per_angstrom2, radius_angstrom)
    fit = fit or _fit(pixels, positions / pixel, plane, progress)[0]
    return CrossSections(
        positions_angstrom=fit.positions * pixel,
        values=fit.volumes * pixel**2,
        standard_error=gain * _errors(image, fit, dose_per_angstrom2),
        edge=at_edge(positions),
        by="gaussians",
        background=float(fit.background[0]),
        width_angstrom=fit.width * pixel,
        normalised=image.normalised,
    )


def _fit(
    pixels: Float[np.ndarray, "rows columns"],
    positions: Float[np.ndarray, "n 2"],
    plane: bool,
    progress: Callable[[str], None] | None,
    prior: PositionPrior | None = None,
) -> tuple[GaussianFit, PositionPrior]:
    """Gaussians of one width, and the prior of their positions; these are in pixels."""
    width = START_WIDTH * spacing_of(positions)
    steps = partial(_tell_step, progress) if progress else None
    if prior is None:
        fit, prior = fit_rows(pixels, positions, width, plane=plane, progress=steps)
    else:
        fit = fit_gaussians(pixels, positions, width, plane=plane, prior=prior, progress=steps)
    if not fit.converged and progress:
        progress("the fit of the Gaussians has not converged")
    return fit, prior


def _tell_step(progress: Callable[[str], None], step: int, move: float) -> None:
    progress(f"fitting Gaussians: step {step}, {move:.2g} pixels")


def _corrected(
    image: AdfImage,
    positions: Float[np.ndarray, "n 2"],
    plane: bool,
    settings: Settings,
    progress: Callable[[str], None] | None,
) -> tuple[Float[np.ndarray, "rows columns"], GaussianFit]:
    """The image with or without the tails of the probe, whichever is described better, and its fit.

    Gaussians of both have the same prior and are compared with the image itself, so that noise
    counts alike.
    """
    pixel, pixels = image.pixel_angstrom, image.pixels
    flat = without_probe_tails(pixels, pixel, settings)
    of_image, prior = _fit(pixels, positions / pixel, plane, progress)
    of_flat, _ = _fit(flat, positions / pixel, plane, progress, prior)
    with_tails, without = fit_widths(pixels, of_image), fit_widths(flat, of_flat)
    left = flat - model_image(without, flat.shape)
    left = without_probe_tails(left, pixel, settings, inverse=True)
    if np.mean(left**2) < np.mean((pixels - model_image(with_tails, pixels.shape)) ** 2):
        return flat, without
    if progress:
        progress("the columns show no tails of a probe")
    return pixels, with_tails


def _voronoi(
    image: AdfImage,
    measured: Float[np.ndarray, "rows columns"],
    positions: Float[np.ndarray, "n 2"],
    dose_per_angstrom2: float | None,
    radius_angstrom: float | None,
) -> CrossSections:
    spacing = spacing_of(positions)
    radius = radius_angstrom or spacing
    rows, columns = image.pixels.shape
    y, x = np.mgrid[:rows, :columns].astype(np.float32) * np.float32(image.pixel_angstrom)
    tree = scipy.spatial.cKDTree(positions)
    distance, nearest = tree.query(
        np.stack([x.ravel(), y.ravel()], axis=1), distance_upper_bound=VACUUM * spacing, workers=-1
    )
    pixels = measured.ravel().astype(float)
    vacuum = pixels[np.isinf(distance)]
    if len(vacuum) >= FEWEST_VACUUM:
        background = float(np.mean(vacuum))
    else:
        background = 0.0 if image.normalised else float(np.quantile(pixels, 0.01))
    inside = distance <= radius
    count = len(positions)
    area = image.pixel_area_angstrom2
    cells = nearest[inside]
    total = area * np.bincount(cells, pixels[inside], count)
    covered = area * np.bincount(cells, minlength=count)
    error = np.full(count, np.nan)
    if dose_per_angstrom2 is not None:
        error = np.sqrt(np.maximum(total, 0) / dose_per_angstrom2)
    return CrossSections(
        positions_angstrom=positions,
        values=total - background * covered,
        standard_error=error,
        edge=at_edge(positions),
        by="voronoi",
        background=background,
        width_angstrom=np.nan,
        normalised=image.normalised,
    )


def _errors(
    image: AdfImage, fit: GaussianFit, dose_per_angstrom2: float | None
) -> Float[np.ndarray, " n"]:
    """Standard errors of the volumes [Å²], heights of neighbours being fitted with each.

    With G the inner products of the Gaussians and N those weighted with the variance of the
    pixels, the covariance of the heights is G⁻¹ N G⁻¹. A product of two Gaussians is one of width
    ρ/√2 between them, so that N is G times the image, smoothed with it, at the middles. The errors
    of the positions and of the width, which all columns share, are not in it.
    """
    count = len(fit.positions)
    most = min(NEAREST + 1, count)
    _, near = scipy.spatial.cKDTree(fit.positions).query(fit.positions, k=most)
    places = fit.positions[near]
    between = places[:, :, None] - places[:, None]
    gram = np.pi * fit.width**2 * np.exp(-np.sum(between**2, axis=-1) / (4 * fit.width**2))
    first = np.zeros((count, most, 1))
    first[:, 0] = 1
    weights = np.linalg.solve(gram, first)[..., 0]
    if dose_per_angstrom2 is None:
        variance = fit.residual_variance * weights[:, 0]
    else:
        smooth = scipy.ndimage.gaussian_filter(image.pixels, fit.width / np.sqrt(2))
        middles = (places[:, :, None] + places[:, None]) / 2
        at = middles[..., ::-1].reshape(-1, 2).T
        intensity = scipy.ndimage.map_coordinates(smooth, at, order=1, mode="nearest")
        noise = np.maximum(intensity, 0) / (dose_per_angstrom2 * image.pixel_area_angstrom2)
        variance = np.einsum("ni,nij,nj->n", weights, gram * noise.reshape(gram.shape), weights)
    return 2 * np.pi * fit.width**2 * image.pixel_area_angstrom2 * np.sqrt(np.maximum(variance, 0))
