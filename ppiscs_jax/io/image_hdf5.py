"""Images in HDF5 files: a data set of two or three dimensions and its pixel size."""

from pathlib import Path

import h5py
import numpy as np

from ppiscs_jax.errors import InputError
from ppiscs_jax.io.hdf5 import UNREADABLE, attribute, of_the_system, reading_hdf5
from ppiscs_jax.reading import check_expansion

MOST_PIXELS = 2**28
"""Pixels of all frames of a data set."""

MOST_VISITED = 1000
"""Data sets of a file that are looked at."""

PIXEL = "pixel_angstrom"
"""Attribute of the data set, or of the file, with the edge of a pixel [Å]."""


def read_pixels(path: Path, name: str | None = None) -> tuple[np.ndarray, float | None]:
    """Pixels, shape (rows, columns) or (frames, rows, columns), and their edge [Å] if it is known.

    Args:
        path: of the file.
        name: path of the data set in the file; needed where several could be images.

    Raises:
        InputError: there is no such data set, or it cannot be read.
        OSError: the system could not read the file.
    """
    try:
        with reading_hdf5(path) as file:
            images = _images(file)
            if name is None and len(images) == 1:
                name = next(iter(images))
            if name is None or name.strip("/") not in images:
                there = ", ".join(images) or "none"
                raise InputError(f"{path}: name one of its images ({there}) with name, not {name}")
            dataset = images[name.strip("/")]
            if dataset.size > MOST_PIXELS:
                raise InputError(f"{path}: {dataset.size} pixels; at most {MOST_PIXELS}")
            check_expansion(path, dataset.nbytes)
            pixel = None
            for holder in (dataset, file):
                if pixel is None and PIXEL in holder.attrs:
                    pixel = float(attribute(holder, PIXEL))
            return dataset[...], pixel
    except InputError:
        raise
    except UNREADABLE as error:
        if of_the_system(error):
            raise
        raise InputError(f"{path}: not an HDF5 file that can be read ({error})") from error


def _images(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Data sets of numbers, in the file itself, that could be images, by their paths."""
    found: dict[str, h5py.Dataset] = {}
    visited = 0

    def visit(name: str, item: object) -> bool | None:
        nonlocal visited
        visited += 1
        if isinstance(item, h5py.Dataset) and item.ndim >= 2 and item.dtype.kind in "iuf":
            created = item.id.get_create_plist()
            virtual = created.get_layout() == h5py.h5d.VIRTUAL
            if not virtual and not created.get_external_count() and min(item.shape[:2]) > 1:
                found[name] = item
        return True if visited > MOST_VISITED else None

    file.visititems(visit)
    return found
