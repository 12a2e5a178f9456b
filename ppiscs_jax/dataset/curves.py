"""PPISCS curves of one simulation as CSV, JSON or HDF5, with settings, seed and versions.

All three hold the same: the settings, seed, waves, batches and versions by name; the arrays of
`UNITS`; and their units. Numbers survive the round trip to the last digit.
"""

import csv
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ppiscs_jax.dataset.hdf5 import new_hdf5
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing, require_file
from ppiscs_jax.kernel import Curve
from ppiscs_jax.settings import VECTOR_ORDER, Settings

FORMAT = "ppiscs-jax curves 1"
"""Name and version of what is written here."""

UNITS = {
    "n_atoms": "atoms per column",
    "detectors_mrad": "mrad",
    "ppiscs_angstrom2": "Å²",
    "standard_error_angstrom2": "Å²",
}
"""Arrays of a file: thicknesses (n,), collection angles (detectors, 2), values (detectors, n)."""

_SHARED = tuple(f for f in VECTOR_ORDER if f not in ("inner_mrad", "outer_mrad"))

Metadata = dict[str, Any]
Arrays = dict[str, np.ndarray]


def save_curves(path: str | Path, curves: Sequence[Curve]) -> None:
    """Write curves of one simulation to a .csv, .json, .h5 or .hdf5 file, whole or not at all.

    Args:
        path: the file; its ending chooses the format.
        curves: one per detector. They share all but the collection angles.

    Raises:
        InputError: the path cannot be written, or the curves do not belong together.
    """
    if problem := output_problem(path, SUFFIXES):
        raise InputError(problem)
    metadata, arrays = _pack(curves)
    write, _ = _FORMATS[Path(path).suffix.lower()]
    with replacing(path) as temporary:
        write(temporary, metadata, arrays)


def load_curves(path: str | Path) -> list[Curve]:
    """The curves of a file of `save_curves`, one per detector.

    Raises:
        InputError: the file does not hold curves of this format.
        FileNotFoundError: there is no such file.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: its name must end in one of {', '.join(SUFFIXES)}")
    require_file(path)
    _, read = _FORMATS[suffix]
    try:
        metadata, arrays = read(Path(path))
        if metadata["format"] != FORMAT:
            raise InputError(f"{path}: format is {metadata['format']!r}, not {FORMAT!r}")
        return _unpack(metadata, arrays)
    except (OSError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a file of {FORMAT!r} ({error})") from error


def _shared_metadata(curve: Curve) -> Metadata:
    numbers = {f: float(getattr(curve.settings, f)) for f in _SHARED[2:]}
    return {
        "element": curve.settings.element,
        "zone_axis": curve.settings.zone_axis,
        **numbers,
        "mistilt_mrad": [float(angle) for angle in curve.mistilt_mrad],
        "seed": int(curve.seed),
        "waves": int(curve.waves),
        "batches": int(curve.batches),
        **({} if curve.model is None else {"model": curve.model}),
    }


def _pack(curves: Sequence[Curve]) -> tuple[Metadata, Arrays]:
    if not curves:
        raise InputError("curves: there are none to save")
    first, *others = curves
    shared = _shared_metadata(first)
    for other in others:
        if _shared_metadata(other) != shared or len(other.n_atoms) != len(first.n_atoms):
            raise InputError("curves: those of one file must share all but collection angles")
    versions = {p: version(p) for p in ("ppiscs-jax", "jax")}
    metadata = {
        "format": FORMAT,
        "package_version": versions["ppiscs-jax"],
        "jax_version": versions["jax"],
        **shared,
    }
    arrays = {
        "n_atoms": np.asarray(first.n_atoms),
        "detectors_mrad": np.array(
            [[c.settings.inner_mrad, c.settings.outer_mrad] for c in curves], dtype=float
        ),
        "ppiscs_angstrom2": np.stack([c.ppiscs for c in curves]),
        "standard_error_angstrom2": np.stack([c.standard_error for c in curves]),
    }
    return metadata, arrays


def _unpack(metadata: Metadata, arrays: Arrays) -> list[Curve]:
    shared = {f: metadata[f] for f in _SHARED}
    mistilt_x, mistilt_y = map(float, metadata["mistilt_mrad"])
    return [
        Curve(
            n_atoms=np.asarray(arrays["n_atoms"], dtype=int),
            ppiscs=ppiscs,
            standard_error=standard_error,
            settings=Settings(**shared, inner_mrad=inner, outer_mrad=outer),
            seed=int(metadata["seed"]),
            waves=int(metadata["waves"]),
            batches=int(metadata["batches"]),
            mistilt_mrad=(mistilt_x, mistilt_y),
            model=metadata.get("model"),
        )
        for (inner, outer), ppiscs, standard_error in zip(
            arrays["detectors_mrad"].tolist(),
            arrays["ppiscs_angstrom2"],
            arrays["standard_error_angstrom2"],
            strict=True,
        )
    ]


def _write_csv(path: Path, metadata: Metadata, arrays: Arrays) -> None:
    """Comment lines `# name: JSON value`, one line of column names, one row per thickness."""
    detectors = arrays["detectors_mrad"].tolist()
    values, errors = arrays["ppiscs_angstrom2"], arrays["standard_error_angstrom2"]
    names, columns = ["n_atoms"], [arrays["n_atoms"].tolist()]
    for (inner, outer), value, error in zip(detectors, values, errors, strict=True):
        label = f"[{inner:g}-{outer:g} mrad]"
        names += [f"ppiscs_angstrom2{label}", f"standard_error_angstrom2{label}"]
        columns += [value.tolist(), error.tolist()]
    header = {**metadata, "detectors_mrad": detectors, "units": UNITS}
    with open(path, "w", encoding="utf-8", newline="") as file:
        for name, entry in header.items():
            file.write(f"# {name}: {json.dumps(entry, ensure_ascii=False)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))


def _read_csv(path: Path) -> tuple[Metadata, Arrays]:
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("# ") for line in lines if line.startswith("#")]
    pairs = (comment.split(": ", 1) for comment in comments)
    metadata = {name: json.loads(entry) for name, entry in pairs}
    rows = csv.reader(lines[len(comments) + 1 :])
    columns = np.array([[float(entry) for entry in row] for row in rows]).T
    return metadata, {
        "n_atoms": columns[0],
        "detectors_mrad": np.array(metadata["detectors_mrad"]),
        "ppiscs_angstrom2": columns[1::2],
        "standard_error_angstrom2": columns[2::2],
    }


def _write_json(path: Path, metadata: Metadata, arrays: Arrays) -> None:
    content = {
        "metadata": metadata,
        "units": UNITS,
        # JSON knows no NaN, the unknown error of a single sample: null stands for it.
        "arrays": {
            name: np.where(np.isfinite(array), array.astype(object), np.array(None)).tolist()
            for name, array in arrays.items()
        },
    }
    path.write_text(
        json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def _read_json(path: Path) -> tuple[Metadata, Arrays]:
    content = json.loads(path.read_text(encoding="utf-8"))
    arrays = content["arrays"].items()
    return content["metadata"], {n: np.array(a, dtype=float) for n, a in arrays}


def _write_hdf5(path: Path, metadata: Metadata, arrays: Arrays) -> None:
    with new_hdf5(path) as file:
        file.attrs.update(metadata)
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["unit"] = UNITS[name]


def _read_hdf5(path: Path) -> tuple[Metadata, Arrays]:
    with h5py.File(path, "r") as file:
        metadata = {n: a.item() if isinstance(a, np.generic) else a for n, a in file.attrs.items()}
        return metadata, {name: file[name][...] for name in UNITS}


_Write = Callable[[Path, Metadata, Arrays], None]
_Read = Callable[[Path], tuple[Metadata, Arrays]]
_FORMATS: dict[str, tuple[_Write, _Read]] = {
    ".csv": (_write_csv, _read_csv),
    ".json": (_write_json, _read_json),
    ".h5": (_write_hdf5, _read_hdf5),
    ".hdf5": (_write_hdf5, _read_hdf5),
}
SUFFIXES = tuple(_FORMATS)
"""Endings that `save_curves` knows."""
