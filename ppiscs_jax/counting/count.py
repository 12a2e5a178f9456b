"""From an image to the number of atoms of every column."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ppiscs_jax.counting.columns import (
    check_crystal,
    crystal_spacings,
    estimate_spacing,
    find_columns,
)
from ppiscs_jax.counting.cross_sections import By, cross_sections
from ppiscs_jax.counting.images import AdfImage
from ppiscs_jax.counting.methods import (
    STD,
    Method,
    Sensitivity,
    counted_by,
    method_problems,
    simulated_for,
)
from ppiscs_jax.counting.result import Counted
from ppiscs_jax.errors import InputError
from ppiscs_jax.settings import Settings

SATURATED, FEWEST_SATURATED = 1e-3, 20
"""Part and number of the pixels that may have the largest intensity."""

ANOTHER_SPACING = 0.4
"""If the column spacing in the image differs from the crystal's by more than this fraction, the
spacing in the image is used to find columns."""


def count(
    image: AdfImage,
    settings: Settings | None = None,
    *,
    method: Method | None = None,
    positions_angstrom: Float[np.ndarray, "n 2"] | None = None,
    by: By = "gaussians",
    dose_per_angstrom2: float | None = None,
    std: dict[str, float] | None = None,
    mistilt_std_mrad: float | None = None,
    sensitivity: Sensitivity | None = None,
    components: int | None = None,
    offset: int = 0,
    plane: bool = False,
    plain: bool = False,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Counted:
    """Count the atoms of every column of an ADF image.

    Args:
        image: from `load_image`, or `AdfImage(pixels, pixel_angstrom, normalised=True)`.
        settings: of specimen and microscope; None for statistics alone.
        method: "joint" (default with settings and normalised intensities), "hybrid",
            "library", or "statistics" (default without), which needs no settings.
        positions_angstrom: x, y of the columns [Å]; default: those that came with the image, or
            else they are found.
        by: cross-sections by overlapping "gaussians" or by "voronoi" cells.
        dose_per_angstrom2: electrons per Å², for standard errors.
        std: standard deviations of uncertain settings and of "gain" and "offset_angstrom2", by
            name, for the joint method; of the gain for the hybrid one. Default: `STD`.
        mistilt_std_mrad: standard deviation of each of the two components of the crystal's mistilt
            [mrad], for the joint method, which then simulates what a mistilt takes from the
            cross-sections, in about two seconds per atom of the thickest column. A radial
            sensitivity does not count there. Default: none.
        sensitivity: radial sensitivity of the detector, as `radial_sensitivity` gives it: edges
            from the inner to the outer angle [mrad], and S between them. Default: an ideal annulus.
        components, offset: of the statistics: number of components, and number of atoms by which
            the first exceeds one.
        plane: whether the background is a plane rather than a constant.
        plain: whether to measure without the settings. Otherwise the tails of the probe are given
            back to their columns, and Gaussians become wider with the thickness
            (`cross_sections`).
        seed: of all random draws.
        progress: called with what is being done.

    Raises:
        InputError: bad input, before the work that it concerns.

    Example:
        >>> import numpy as np
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "100", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> atoms = np.arange(5, 21).reshape(4, 4)  # of 4 × 4 columns, 2.04 Å apart
        >>> peak = np.exp(-0.5 * ((np.arange(12) - 5.5) / 2) ** 2)
        >>> peak /= peak.sum() * 0.17  # integral 1 over pixels of 0.17 Å
        >>> pixels = np.kron(pp.predict(settings).ppiscs[atoms - 1], np.outer(peak, peak))
        >>> image = pp.AdfImage(np.pad(pixels, 12), pixel_angstrom=0.17, normalised=True)
        >>> counted = pp.count(image, settings, method="library")
        >>> sorted(counted.n_atoms.tolist()) == atoms.ravel().tolist()
        True
    """
    if method is None:
        method = "joint" if settings is not None and image.normalised else "statistics"
    std = STD if std is None else std
    problems = method_problems(method, settings, std, mistilt_std_mrad)
    if method != "statistics" and not image.normalised:
        problems.append(
            f"{image.source}: the method {method} needs intensities as fractions of the "
            "incident beam: give the levels of vacuum and detector, or use statistics"
        )
    problems.append(_saturation_problem(image))
    if any(problems):
        raise InputError(p for p in problems if p)
    say = progress or (lambda _: None)
    simulated = simulated_for(method, settings, std, sensitivity)
    if positions_angstrom is None:
        positions_angstrom = image.positions_angstrom
    if positions_angstrom is None:
        say("finding columns")
        positions_angstrom = _found(image, settings)
    if settings is not None:
        check_crystal(positions_angstrom, settings, image.source)
    say(f"measuring {len(positions_angstrom)} columns")
    sections = cross_sections(
        image,
        positions_angstrom,
        by=by,
        dose_per_angstrom2=dose_per_angstrom2,
        plane=plane,
        settings=None if plain else settings,
        progress=progress,
    )
    say("counting atoms")
    counts = counted_by(
        method,
        sections.values,
        sections.standard_error,
        simulated,
        std,
        mistilt_std_mrad=mistilt_std_mrad,
        components=components,
        offset=offset,
        seed=seed,
        say=say,
    )
    used = simulated and simulated.curve.sensitivity
    options = {
        "method": method,
        "by": by,
        "dose_per_angstrom2": dose_per_angstrom2,
        "std": std if method in ("joint", "hybrid") else None,
        "mistilt_std_mrad": mistilt_std_mrad,
        "sensitivity": None
        if used is None
        else dict(zip(("angles_mrad", "values"), used.tolist(), strict=True)),
        "components": components,
        "offset": offset,
        "plane": plane,
        "plain": plain or settings is None,
        "seed": seed,
    }
    return Counted(image, sections, counts, settings, options)


def _saturation_problem(image: AdfImage) -> str | None:
    """Say that the brightest pixels are cut off, or None."""
    highest = image.pixels.max()
    cut = int(np.count_nonzero(image.pixels == highest))
    if cut <= max(FEWEST_SATURATED, SATURATED * image.pixels.size):
        return None
    return (
        f"{image.source}: {cut} pixels have the largest intensity, {highest:.5g}: the detector or "
        "its converter is saturated, and the cross-sections of thick columns would be too small"
    )


def _found(image: AdfImage, settings: Settings | None) -> Float[np.ndarray, "n 2"]:
    """Columns, found with the crystal's spacing unless the image clearly has another."""
    if settings is None:
        return find_columns(image)
    spacing, _ = crystal_spacings(settings.element, settings.zone_axis)
    try:
        own = estimate_spacing(image)
    except InputError:
        return find_columns(image, spacing)
    # With a wrong calibration, the spacing of the crystal would not find the columns.
    return find_columns(image, spacing if abs(own / spacing - 1) < ANOTHER_SPACING else own)
