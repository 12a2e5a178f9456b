"""Image files: what they hold and how large their pixels are, if they say so."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from ppiscs_jax.errors import InputError
from ppiscs_jax.io.matfile import Other, read_mat
from ppiscs_jax.io.tiff import check_structure
from ppiscs_jax.reading import check_expansion

ANGSTROM = {
    **dict.fromkeys(("a", "å", "ang", "angstrom", "angstroms", "angström"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 10.0),
    **dict.fromkeys(("pm", "picometer", "picometre"), 0.01),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer"), 1e4),
    **dict.fromkeys(("mm",), 1e7),
    **dict.fromkeys(("cm",), 1e8),
    **dict.fromkeys(("m", "meter", "metre"), 1e10),
}
"""Å in units of length, by their names in lower case."""

ANISOTROPY = 1e-3
"""Relative difference of a pixel's edges up to which it counts as a square."""

TIFF_UNITS = {2: 2.54e8, 3: 1e8}
"""Å in the units of a TIFF file's resolution: inches and centimetres."""

LARGEST_PIXEL_ANGSTROM = 100.0
"""Larger pixel sizes come from print resolutions such as 72 dpi, and are ignored [Å]."""

PLUGINS = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".emd": "emd",
    ".ser": "tia",
    ".emi": "tia",
    ".mrc": "mrc",
    ".hspy": "hspy",
}
"""Endings of microscopes' files, and the part of rosettasciio that reads each."""


@dataclass(frozen=True)
class Found:
    """Contents of an image file.

    Attributes:
        pixels: shape (rows, columns) or (frames, rows, columns).
        pixel_angstrom: edge of a pixel [Å], None where the file does not say.
        positions_angstrom: x, y of columns, (n, 2) or (frames, n, 2), or None.
    """

    pixels: np.ndarray
    pixel_angstrom: float | None = None
    positions_angstrom: Float[np.ndarray, "..."] | None = None


MOST_VALUES = 2**28
"""Values of an image or a stack that are read into memory: 2 GB in double precision."""


def in_angstrom(size: float, unit: str, source: object) -> float:
    """A length in Å.

    Raises:
        InputError: the unit is not known.
    """
    name = unit.strip().lower().replace("\\u00b5", "µ")
    if name not in ANGSTROM:
        raise InputError(
            f"{source}: its pixel size is in {unit!r}; give pixel_angstrom (--pixel) [Å]"
        )
    return size * ANGSTROM[name]


def square(x: float, y: float, source: object) -> float:
    """The edge of a square pixel.

    Raises:
        InputError: it is none.
    """
    if abs(x - y) > ANISOTROPY * max(abs(x), abs(y)):
        raise InputError(
            f"{source}: its pixels are {x:g} × {y:g} Å; they must be squares, so resample it"
        )
    return (x + y) / 2


def read_npy(path: Path, name: str | None = None) -> Found:
    """An array; .npy files have no pixel size."""
    try:
        # Mapped, so that no memory is taken for what a damaged header declares.
        mapped = np.load(path, allow_pickle=False, mmap_mode="r")
        if not isinstance(mapped, np.ndarray) or mapped.dtype.kind not in "biuf":
            raise ValueError("it holds something else")
        _check_size(mapped.size)
        return Found(np.array(mapped))
    except Exception as error:  # NumPy's parser of headers raises all kinds on damaged files
        raise InputError(f"{path}: not a .npy file of numbers ({error})") from error


def read_tiff(path: Path, name: str | None = None) -> Found:
    """Pages of a TIFF file, with the pixel size of ImageJ, OME, Velox, or its resolution."""
    check_structure(path)
    try:
        return _tiff(path)
    except InputError:
        raise
    except Exception as error:  # tifffile and its decoders raise all kinds on damaged files
        raise InputError(f"{path}: not a TIFF file that can be read ({error})") from error


def _check_size(values: int) -> None:
    if values > MOST_VALUES:
        raise ValueError(f"{values} values; at most {MOST_VALUES} are read")


def _tiff(path: Path) -> Found:
    import tifffile  # slow to import

    with tifffile.TiffFile(path) as file:
        for series in file.series[:1]:
            _check_size(series.size)
            check_expansion(path, series.nbytes)
        pixels, page = file.asarray(), file.pages.first
        fei, ome, imagej = file.fei_metadata, file.ome_metadata, file.imagej_metadata
        tags = {name: page.tags[name].value for name in _RESOLUTION if name in page.tags}
    if fei and "PixelWidth" in fei.get("Scan", {}):
        scan = fei["Scan"]
        sizes = [1e10 * float(scan[f"Pixel{side}"]) for side in ("Width", "Height")]
        return Found(pixels, square(sizes[0], sizes[1], path))
    if ome and (found := re.findall(r'PhysicalSize([XY])(Unit)?="([^"]*)"', ome)):
        values = {axis + unit: value for axis, unit, value in found}
        edges = [
            in_angstrom(float(values[a]), values.get(a + "Unit", "µm"), path)
            for a in "XY"
            if a in values
        ]
        return Found(pixels, square(edges[0], edges[-1], path))
    if len(tags) < 2:
        return Found(pixels)
    per_unit = [n / d if d else 0.0 for n, d in (tags["XResolution"], tags["YResolution"])]
    if min(per_unit) <= 0:
        return Found(pixels)
    if unit := (imagej or {}).get("unit"):
        edges = [in_angstrom(1 / r, str(unit), path) for r in per_unit]
        return Found(pixels, square(edges[0], edges[1], path))
    factor = TIFF_UNITS.get(int(tags.get("ResolutionUnit", 1)))
    if factor is None or factor / per_unit[0] > LARGEST_PIXEL_ANGSTROM:
        return Found(pixels)
    return Found(pixels, square(factor / per_unit[0], factor / per_unit[1], path))


_RESOLUTION = ("XResolution", "YResolution", "ResolutionUnit")


def read_hdf5(path: Path, name: str | None = None) -> Found:
    """A data set of an HDF5 file, with `pixel_angstrom` as an attribute of it or the file."""
    from ppiscs_jax.io.image_hdf5 import read_pixels  # h5py is slow to import

    return Found(*read_pixels(path, name))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever readers of others raise at damage into an error that names the file."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def read_microscope(path: Path, name: str | None = None) -> Found:
    """An image of a microscope's file, by rosettasciio.

    Data that are no images, which may be larger than the memory, are not read, unless the file
    can only be read as a whole.
    """
    try:
        plugin = import_module(f"rsciio.{PLUGINS[path.suffix.lower()]}")
    except ImportError as error:
        raise InputError(
            f"{path}: needs rosettasciio; install it with pip install 'ppiscs-jax[io]'"
        ) from error
    with _reading(path):
        # Of Velox files, spectrum images would be decoded even if read lazily.
        options = {"select_type": "images"} if path.suffix.lower() == ".emd" else {}
        try:
            signals = plugin.file_reader(str(path), lazy=True, **options)
        except ValueError:  # coloured pictures beside the image
            signals = plugin.file_reader(str(path), **options)
    images = [s for s in signals if np.ndim(s["data"]) in (2, 3) and s["data"].dtype.kind in "iuf"]
    titles = [str(s.get("metadata", {}).get("General", {}).get("title", "")) for s in images]
    if name is not None:
        images = [s for s, title in zip(images, titles, strict=True) if title == name]
    if not images:
        shapes = ", ".join(str(np.shape(s["data"])) for s in signals)
        wanted = f"named {name!r}, but {titles}" if name else f"but data of shape {shapes}"
        raise InputError(f"{path}: holds no image {wanted}")
    if len(images) > 1:
        raise InputError(f"{path}: holds {len(images)} images; choose one with name: {titles}")
    with _reading(path):
        _check_size(images[0]["data"].size)
        pixels = np.asarray(images[0]["data"])
    axes = images[0]["axes"][-2:]
    units = [str(axis.get("units", "")) for axis in axes]
    if any(unit in ("", "None", "<undefined>", "px") for unit in units):
        return Found(pixels)
    edges = [
        in_angstrom(float(a["scale"]), unit, path) for a, unit in zip(axes, units, strict=True)
    ]
    return Found(pixels, square(edges[1], edges[0], path))


def read_matlab(path: Path, name: str | None = None) -> Found:
    """StatSTEM's input, output or time series, saved as structs or objects; or one array."""
    variables = read_mat(path)
    if any(isinstance(v, Other) and v.kind == "an object of a MATLAB class"
           for v in variables.values()):  # fmt: skip
        variables = _objects(path)
    for value in variables.values():
        if isinstance(value, Mapping) and (found := _statstem(value)):
            return found
    if found := _statstem(variables):
        return found
    arrays = {n: v for n, v in variables.items() if isinstance(v, np.ndarray) and v.size > 1}
    if len(arrays) == 1 and (name is None or name in arrays):
        return Found(next(iter(arrays.values())))
    if name in arrays:
        return Found(arrays[name])
    raise InputError(
        f"{path}: holds {', '.join(variables) or 'nothing'}; must hold one array, or StatSTEM's "
        "input with obs and dx"
    )


def _statstem(fields: Mapping[str, Any]) -> Found | None:
    """The image among the fields of StatSTEM's input, whose first pixel is at (dx, dx)."""
    series = "obs_T" in fields
    pixels = fields.get("obs_T" if series else "obs")
    if not isinstance(pixels, np.ndarray):
        return None
    size = np.ravel(fields.get("dx", []))
    pixel = float(size[0]) if size.size and size.dtype.kind in "iuf" else None
    places = fields.get("coordinates_T" if series else "coordinates")
    positions = None
    if pixel and isinstance(places, np.ndarray) and places.size and places.shape[1] >= 2:
        positions = np.asarray(places[:, :2], float) - pixel
    if series and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 2, 0)
        positions = None if positions is None else np.moveaxis(positions, 2, 0)
    return Found(pixels, pixel, positions)


def _objects(path: Path) -> dict[str, Any]:
    """Variables of a .mat file, objects of classes as their properties."""
    try:
        from matio import load_from_mat
    except ImportError as error:
        raise InputError(
            f"{path}: holds an object of a MATLAB class, which needs mat-io; install it with "
            "pip install 'ppiscs-jax[io]'"
        ) from error
    with _reading(path):
        loaded = load_from_mat(str(path))
    return {name: getattr(value, "properties", value) for name, value in loaded.items()}
