"""PPISCS curves of one simulation as CSV, JSON or HDF5, with settings, seed and versions.

All three hold the same: the settings, seed, waves, batches and versions by name; the arrays of
`UNITS`; and their units. Numbers survive the round trip to the last digit.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppiscs_jax.config import first_problem
from ppiscs_jax.errors import InputError, shown
from ppiscs_jax.files import output_problem, replacing, require_file
from ppiscs_jax.io.hdf5 import (
    UNREADABLE,
    attribute,
    fixed_text,
    new_hdf5,
    read_arrays,
    read_variable_texts,
    variable_text,
)
from ppiscs_jax.io.schema import Numbers, Schema, must_fit
from ppiscs_jax.reading import parse_json, read_text, split_lines
from ppiscs_jax.settings import MOST_ATOMS, RANGES, VECTOR_ORDER, Settings
from ppiscs_jax.simulation.curve import Curve

FORMAT = "ppiscs-jax curves 1"
"""Name and version of what is written here."""

FORMAT_HDF5 = "ppiscs-jax curves 2"
"""In HDF5 there is a checksum since format 2, and text is of fixed length. Format 1 is read too."""

FORMAT_SENSITIVITY = "ppiscs-jax curves 3"
"""Files of curves with a radial sensitivity. Programs for formats 1 and 2 would take these
curves for those of ideal annuli."""

MODES = "error_modes_angstrom2"
SENSITIVITY = "sensitivity"

MOST_DETECTORS = 1000
MOST_MODES = 1000
LARGEST_ANGSTROM2 = 1e6
"""More than any cross-section: nothing exceeds the projected area of a column, 25 Å² at most."""

ARRAYS = Schema(
    {
        "n_atoms": Numbers(("n",), "atoms per column", 1, MOST_ATOMS, kinds="iu", rising=True),
        "detectors_mrad": Numbers(("detectors", "2"), "mrad", 0, RANGES["outer_mrad"][1]),
        "ppiscs_angstrom2": Numbers(
            ("detectors", "n"), "Å²", -LARGEST_ANGSTROM2, LARGEST_ANGSTROM2
        ),
        "standard_error_angstrom2": Numbers(
            ("detectors", "n"), "Å²", 0, LARGEST_ANGSTROM2, gaps=True
        ),
        MODES: Numbers(
            ("detectors", "modes", "n"),
            "Å²",
            -LARGEST_ANGSTROM2,
            LARGEST_ANGSTROM2,
            optional=True,
        ),
        SENSITIVITY: Numbers(("detectors", "2", "angles"), "mrad, and 1", -1e3, 1e3, optional=True),
    },
    longest={"n": MOST_ATOMS, "detectors": MOST_DETECTORS, "modes": MOST_MODES, "angles": 100_000},
)
"""Arrays of a file: thicknesses, collection angles, values and their errors, NaN where one sample
does not have any; what the errors are made of, where that is known; angles and S(θ) of detectors
that are not ideal annuli."""

UNITS = {name: array.unit for name, array in ARRAYS.arrays.items()}

Text = Annotated[str, Field(max_length=200)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Metadata(BaseModel):
    """Metadata that the curves of a file share. `Settings` checks those of its fields."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    format: Text
    package_version: Text
    jax_version: Text
    element: Text
    zone_axis: Text
    voltage_kv: float
    c30_mm: float
    c10_angstrom: float
    convergence_mrad: float
    rmsd_angstrom: float
    mistilt_mrad: tuple[float, float]
    seed: Count
    waves: Count
    batches: Count
    model: Text | None = None


_SHARED = tuple(f for f in VECTOR_ORDER if f not in ("inner_mrad", "outer_mrad"))

Arrays = dict[str, np.ndarray]


def save_curves(path: str | Path, curves: Sequence[Curve]) -> None:
    """Write curves of one simulation to a .csv, .json, .h5 or .hdf5 file, whole or not at all.

    Args:
        path: the file; its ending chooses the format.
        curves: one per detector. They share all but the collection angles.

    Raises:
        InputError: the path cannot be written, or the curves do not belong together.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> curve = pp.predict(settings)
        >>> pp.save_curves("gold.h5", [curve])
        >>> pp.load_curves("gold.h5") == [curve]
        True
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

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> pp.save_curves("gold.csv", [pp.predict(settings)])
        >>> [curve] = pp.load_curves("gold.csv")
        >>> curve.ppiscs.shape, curve.settings.element
        ((87,), 'Au')
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: its name must end in one of {', '.join(SUFFIXES)}")
    require_file(path)
    _, read = _FORMATS[suffix]
    try:
        content, arrays = read(Path(path))
        usual = FORMAT_HDF5 if read is _read_hdf5 else FORMAT
        if content["format"] not in (FORMAT, usual, FORMAT_SENSITIVITY):
            raise ValueError(f"format is {shown(content['format'])}, not {usual!r}")
        return _unpack(content, arrays)
    except UNREADABLE as error:
        why = first_problem(error) if isinstance(error, ValidationError) else error
        raise InputError(f"{path}: not a file of {FORMAT!r} ({why})") from error


def _shared_metadata(curve: Curve) -> dict[str, Any]:
    numbers = {f: float(getattr(curve.settings, f)) for f in _SHARED[2:]}
    return {
        "element": curve.settings.element,
        "zone_axis": curve.settings.zone_axis,
        **numbers,
        "mistilt_mrad": [float(angle) for angle in curve.settings.mistilt_mrad],
        "seed": int(curve.seed),
        "waves": int(curve.waves),
        "batches": int(curve.batches),
        **({} if curve.model is None else {"model": curve.model}),
    }


def _pack(curves: Sequence[Curve]) -> tuple[dict[str, Any], Arrays]:
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
    modes = [c.error_modes for c in curves if c.error_modes is not None]
    if len(modes) == len(curves) and len({m.shape for m in modes}) == 1:
        arrays[MODES] = np.stack(modes)
    if sensitivities := [c.sensitivity for c in curves if c.sensitivity is not None]:
        if len(sensitivities) < len(curves) or len({s.shape for s in sensitivities}) > 1:
            raise InputError(
                "curves: those of one file must all have a radial sensitivity, or none"
            )
        arrays[SENSITIVITY] = np.stack(sensitivities)
        metadata["format"] = FORMAT_SENSITIVITY
    must_fit(ARRAYS, arrays, "curves")
    try:
        Metadata.model_validate(metadata)
    except ValidationError as error:
        raise InputError(f"curves: {first_problem(error)}") from error
    return metadata, arrays


def _unpack(content: dict[str, Any], arrays: Arrays) -> list[Curve]:
    """The curves, once everything is as the schema says.

    Raises:
        ValueError: it is not.
    """
    metadata = Metadata.model_validate(content)
    whole = arrays["n_atoms"]
    if whole.dtype.kind == "f" and np.all(whole == np.round(whole)) and np.all(abs(whole) < 1e9):
        arrays["n_atoms"] = whole.astype(int)
    ARRAYS.check(arrays)
    errors, modes = arrays["standard_error_angstrom2"], arrays.get(MODES)
    if modes is not None and not np.allclose(np.sum(modes**2, axis=1), errors**2, rtol=1e-3):
        raise ValueError(f"{MODES} do not add up to the standard errors")
    shared: dict[str, Any] = {f: getattr(metadata, f) for f in (*_SHARED, "mistilt_mrad")}
    return [
        Curve(
            n_atoms=np.asarray(arrays["n_atoms"], dtype=int),
            ppiscs=ppiscs,
            standard_error=standard_error,
            settings=Settings(**shared, inner_mrad=inner, outer_mrad=outer),
            seed=metadata.seed,
            waves=metadata.waves,
            batches=metadata.batches,
            model=metadata.model,
            error_modes=own_modes,
            sensitivity=own_sensitivity,
        )
        for (inner, outer), ppiscs, standard_error, own_modes, own_sensitivity in zip(
            arrays["detectors_mrad"].tolist(),
            arrays["ppiscs_angstrom2"],
            errors,
            [None] * len(errors) if modes is None else modes,
            arrays.get(SENSITIVITY, [None] * len(errors)),
            strict=True,
        )
    ]


def _write_csv(path: Path, metadata: dict[str, Any], arrays: Arrays) -> None:
    """Comment lines `# name: JSON value`, one line of column names, one row per thickness."""
    detectors = arrays["detectors_mrad"].tolist()
    values, errors = arrays["ppiscs_angstrom2"], arrays["standard_error_angstrom2"]
    names, columns = ["n_atoms"], [arrays["n_atoms"].tolist()]
    for number, (value, error) in enumerate(zip(values, errors, strict=True)):
        inner, outer = detectors[number]
        label = f"[S{number}]" if SENSITIVITY in arrays else f"[{inner:g}-{outer:g} mrad]"
        names += [f"ppiscs_angstrom2{label}", f"standard_error_angstrom2{label}"]
        columns += [value.tolist(), error.tolist()]
    header = {**metadata, "detectors_mrad": detectors, "units": UNITS}
    header |= {name: arrays[name].tolist() for name in (MODES, SENSITIVITY) if name in arrays}
    with open(path, "w", encoding="utf-8", newline="") as file:
        for name, entry in header.items():
            file.write(f"# {name}: {json.dumps(entry, ensure_ascii=False)}\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))


def _read_csv(path: Path) -> tuple[dict[str, Any], Arrays]:
    lines = [line for line in split_lines(read_text(path)) if line.strip()]
    comments = [line.removeprefix("# ") for line in lines if line.startswith("#")]
    pairs = [comment.split(": ", 1) for comment in comments]
    metadata = {name: parse_json(entry) for name, entry in pairs}
    rows = lines[len(comments) + 1 :]
    detectors = _numbers(metadata["detectors_mrad"])
    if len(rows) > MOST_ATOMS or len(detectors) > MOST_DETECTORS:
        raise ValueError(f"{len(rows)} thicknesses, {len(detectors)} detectors are too many")
    wanted = 1 + 2 * len(detectors)
    entries = [row.split(",", wanted) for row in rows]
    columns = np.array([[_number(entry) for entry in row] for row in entries]).T
    if columns.ndim != 2 or len(columns) != wanted:
        raise ValueError(f"{len(columns)} columns, not {wanted}")
    optional = {n: _numbers(metadata[n]) for n in (MODES, SENSITIVITY) if n in metadata}
    return metadata, optional | {
        "n_atoms": columns[0],
        "detectors_mrad": detectors,
        "ppiscs_angstrom2": columns[1::2],
        "standard_error_angstrom2": columns[2::2],
    }


def _number(text: str) -> float:
    """A number as `repr` writes it; Python itself would take 1_0 too."""
    if len(text) > 40 or "_" in text:
        raise ValueError(f"{shown(text)} is not a number")
    return float(text)


def _numbers(values: Any) -> np.ndarray:
    """Nested lists of numbers as an array, NaN for null."""
    try:
        return np.array(values, dtype=float)
    except (TypeError, OverflowError):
        raise ValueError(f"{shown(values)} are not numbers") from None


def _write_json(path: Path, metadata: dict[str, Any], arrays: Arrays) -> None:
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


def _read_json(path: Path) -> tuple[dict[str, Any], Arrays]:
    content = parse_json(read_text(path))
    metadata, arrays = content["metadata"], content["arrays"]
    if not isinstance(metadata, dict) or not isinstance(arrays, dict):
        raise ValueError("metadata and arrays are not objects")
    return metadata, {name: _numbers(arrays[name]) for name in ARRAYS.names(arrays)}


def _write_hdf5(path: Path, metadata: dict[str, Any], arrays: Arrays) -> None:
    if metadata.get("format") == FORMAT:
        metadata = metadata | {"format": FORMAT_HDF5}
    checksum = _checksum(metadata, arrays)
    with new_hdf5(path) as file:
        for name, value in (metadata | {"sha256": checksum}).items():
            file.attrs[name] = fixed_text(value)
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["unit"] = fixed_text(UNITS[name])


def _read_hdf5(path: Path) -> tuple[dict[str, Any], Arrays]:
    with h5py.File(path, "r") as file:
        names = [name for name in (*Metadata.model_fields, "sha256") if name in file.attrs]
        variable = [name for name in names if variable_text(file, name)]
        texts = read_variable_texts(path, variable) if variable else {}
        metadata = {n: texts[n] if n in texts else attribute(file, n) for n in names}
        arrays = read_arrays(file, ARRAYS)
    checksum = metadata.pop("sha256", None)
    if metadata["format"] != FORMAT and checksum != _checksum(metadata, arrays):
        raise ValueError("damaged, does not match its checksum")
    return metadata, arrays


def _checksum(metadata: dict[str, Any], arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


_Write = Callable[[Path, dict[str, Any], Arrays], None]
_Read = Callable[[Path], tuple[dict[str, Any], Arrays]]
_FORMATS: dict[str, tuple[_Write, _Read]] = {
    ".csv": (_write_csv, _read_csv),
    ".json": (_write_json, _read_json),
    ".h5": (_write_hdf5, _read_hdf5),
    ".hdf5": (_write_hdf5, _read_hdf5),
}
SUFFIXES = tuple(_FORMATS)
"""Endings that `save_curves` accepts."""
