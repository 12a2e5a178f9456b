"""ADF images with their pixel size: checked, normalised to the detector, read from files.

Pixels are indexed (row, column); positions x (along columns) and y (along rows) are in Å and count
from the centre of the first pixel.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ppiscs_jax.counting import formats
from ppiscs_jax.counting.formats import Found
from ppiscs_jax.errors import InputError, is_number, range_problem, shown
from ppiscs_jax.files import require_file

LIMITS_PIXEL_ANGSTROM = (0.005, 2.0)
"""Smallest and largest pixel that images of atomic columns have [Å]."""

LARGEST_INTENSITY = 1e30
"""Larger pixels are not intensities, and too large for single precision."""

MOST_PIXELS = 8192 * 8192

READERS: dict[str, Callable[[Path, str | None], Found]] = {
    ".npy": formats.read_npy,
    ".tif": formats.read_tiff,
    ".tiff": formats.read_tiff,
    ".h5": formats.read_hdf5,
    ".hdf5": formats.read_hdf5,
    ".mat": formats.read_matlab,
    **dict.fromkeys(formats.PLUGINS, formats.read_microscope),
}
"""Endings of the names of image files, and what reads each."""


@dataclass(frozen=True)
class AdfImage:
    """An ADF image.

    Attributes:
        pixels: intensities, shape (rows, columns); fractions of the incident beam where
            `normalised`, in arbitrary units elsewhere.
        pixel_angstrom: edge of a pixel [Å].
        normalised: whether intensities are fractions of the incident beam.
        positions_angstrom: positions x, y of columns that came with the image [Å], or None.
        source: where it came from, for captions.

    Example:
        >>> import numpy as np
        >>> import ppiscs_jax as pp
        >>> pixels = np.random.default_rng(0).uniform(0.0, 0.1, (64, 32))
        >>> image = pp.AdfImage(pixels, pixel_angstrom=0.2, normalised=True)
        >>> x, y = image.extent_angstrom
        >>> print(f"{x:.1f} Å × {y:.1f} Å")
        6.2 Å × 12.6 Å
    """

    pixels: Float[np.ndarray, "rows columns"]
    pixel_angstrom: float
    normalised: bool = False
    positions_angstrom: Float[np.ndarray, "n 2"] | None = None
    source: str = "array"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _checked_pixels(self.pixels, self.source))
        low, high = LIMITS_PIXEL_ANGSTROM
        if problem := range_problem("pixel_angstrom", self.pixel_angstrom, low, high, "Å"):
            raise InputError(f"{self.source}: {problem} to resolve atomic columns")
        if self.normalised and (highest := float(self.pixels.max())) > 1:
            raise InputError(
                f"{self.source}: the largest intensity is {highest:.4g} of the incident beam; "
                "must be at most 1. Check the intensities of vacuum and detector"
            )

    @property
    def pixel_area_angstrom2(self) -> float:
        """Area of a pixel [Å²]."""
        return self.pixel_angstrom**2

    @property
    def extent_angstrom(self) -> tuple[float, float]:
        """Largest x and y of the pixels' centres [Å]."""
        rows, columns = self.pixels.shape
        return (columns - 1) * self.pixel_angstrom, (rows - 1) * self.pixel_angstrom


def load_image(
    path: str | Path,
    *,
    pixel_angstrom: float | None = None,
    frame: int | None = None,
    name: str | None = None,
    normalised: bool = False,
) -> AdfImage:
    """Read an image from a file.

    Args:
        path: .npy, TIFF, HDF5 (`pixel_angstrom` as an attribute), .mat of StatSTEM, or a file of
            a microscope (.dm3, .dm4, .emd, .ser, .mrc, .hspy), for which the extra `io` is needed.
        pixel_angstrom: edge of a pixel [Å]; default: as the file says.
        frame: which image of a stack, from 0.
        name: which of several images of an HDF5 or microscope file.
        normalised: whether intensities are fractions of the incident beam.

    Raises:
        InputError: the file holds no such image, or no pixel size and none is given.
        FileNotFoundError: there is no such file.

    Example:
        >>> import numpy as np
        >>> import ppiscs_jax as pp
        >>> np.save("image.npy", np.random.default_rng(0).uniform(0.0, 0.1, (64, 32)))
        >>> image = pp.load_image("image.npy", pixel_angstrom=0.2, normalised=True)
        >>> image.pixels.shape, image.pixel_angstrom
        ((64, 32), 0.2)
    """
    path = Path(path)
    require_file(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: its name must end in one of {', '.join(sorted(READERS))}")
    found = reader(path, name)
    pixel = pixel_angstrom if pixel_angstrom is not None else found.pixel_angstrom
    if pixel is None:
        raise InputError(
            f"{path}: does not say how large its pixels are; give pixel_angstrom (--pixel) [Å]"
        )
    pixels, positions = _frame(path, found, frame)
    return AdfImage(pixels, float(pixel), normalised, positions, str(path))


def normalise(image: AdfImage, vacuum: float, detector: float) -> AdfImage:
    """Intensities as fractions of the incident beam: (I − I_vacuum) / (I_detector − I_vacuum).

    Args:
        image: in the units of the two.
        vacuum: intensity without any beam on the detector.
        detector: mean intensity with the whole beam on the detector.

    Raises:
        InputError: the two are not numbers, or not in this order; a fraction is larger than 1.
    """
    problems = [
        f"{field} = {shown(value)}: must be a finite number, in the units of the image"
        for field, value in (("vacuum", vacuum), ("detector", detector))
        if not is_number(value) or not np.isfinite(value)
    ]
    if not problems and detector <= vacuum:
        problems = [f"detector = {detector:g}: must be above vacuum = {vacuum:g}"]
    if problems:
        raise InputError(problems)
    fractions = (image.pixels - np.float32(vacuum)) / np.float32(detector - vacuum)
    return replace(image, pixels=fractions, normalised=True)


def read_pixels(path: str | Path, name: str | None = None) -> Float[np.ndarray, "rows columns"]:
    """Pixels of an image whose pixel size does not matter, such as a detector scan.

    Raises:
        InputError, FileNotFoundError: as `load_image`.
    """
    return load_image(path, pixel_angstrom=1.0, name=name).pixels


def _frame(
    path: Path, found: Found, frame: int | None
) -> tuple[np.ndarray, Float[np.ndarray, "n 2"] | None]:
    """One image of what a file holds, and its positions."""
    pixels, positions = found.pixels, found.positions_angstrom
    if pixels.ndim == 3 and pixels.shape[0] == 1:
        pixels = pixels[0]
    if pixels.ndim != 3:
        if frame not in (None, 0):
            raise InputError(f"frame = {frame}: {path} holds one image")
        return pixels, positions
    if frame is None:
        raise InputError(f"{path}: holds {len(pixels)} images; choose one with frame, from 0")
    if problem := range_problem("frame", frame, 0, len(pixels) - 1, "", whole=True):
        raise InputError(problem)
    if positions is not None and positions.ndim == 3:
        positions = positions[frame]
    return pixels[frame], positions


def _checked_pixels(pixels: Any, source: str) -> np.ndarray:
    """Pixels in single precision, or InputError."""
    array = np.asarray(pixels)
    if array.ndim == 3 and array.shape[-1] in (3, 4):
        raise InputError(
            f"{source}: a colour image, shape {array.shape}; must be the detector's intensities, "
            "not a screenshot or export for viewing"
        )
    if array.ndim != 2:
        kind = "4-D data: integrate them over a detector first" if array.ndim == 4 else "shape"
        raise InputError(f"{source}: {kind} {array.shape}; must be an image (rows, columns)")
    if array.dtype.kind not in "iuf":
        raise InputError(f"{source}: pixels of type {array.dtype}; must be real numbers")
    if min(array.shape) < 16 or array.size > MOST_PIXELS:
        raise InputError(
            f"{source}: {array.shape[0]} × {array.shape[1]} pixels; must be 16 × 16 or more, and "
            f"at most {MOST_PIXELS} in all"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~(np.abs(array.astype(float)) <= LARGEST_INTENSITY)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{source}: {int(bad.sum())} pixels are not finite, or beyond "
            f"±{LARGEST_INTENSITY:g}, the first in row {row}, column {column}; crop the image or "
            "replace them"
        )
    if array.min() == array.max():
        raise InputError(f"{source}: all pixels are the same")
    return array.astype(np.float32)
