"""Libraries: PPISCS against thickness in the plain files that users of StatSTEM have.

One value a line, or the number of atoms and a value, as text (.txt, .csv) or as the one variable
of a .mat file. What else is known stands beside it, in `FILE.settings.json`.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.io import loadmat, savemat
from scipy.io.matlab import MatReadError

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing, require_file
from ppiscs_jax.kernel import Curve
from ppiscs_jax.settings import VECTOR_ORDER, Settings

FORMAT = "ppiscs-jax library 1"
"""Name and version of the sidecar."""

SUFFIXES = (".txt", ".csv", ".mat")
"""Endings that `write_library` knows."""

CURVE_SUFFIXES = (".json", ".h5", ".hdf5")
"""Endings of files that only `save_curves` writes."""

VARIABLE = "library"
"""Name of the variable in .mat files written here."""


@dataclass(frozen=True)
class Library:
    """Measured or simulated PPISCS against thickness.

    Attributes:
        ppiscs: cross-sections, shape (n,), in Å² unless the file's owner has another unit; NaN
            where there is none.
        n_atoms: atoms per column of each, as in the file, shape (n,).
        standard_error: of ppiscs, shape (n,); None where not known.
        settings: what was measured or simulated; None where not known.
    """

    ppiscs: Float[np.ndarray, " n"]
    n_atoms: Int[np.ndarray, " n"]
    standard_error: Float[np.ndarray, " n"] | None = None
    settings: Settings | None = None


def read_library(path: str | Path) -> Library:
    """Read a library, or a file of `save_curves` that holds one curve.

    Text: one value a line, or the number of atoms and a value, apart by whitespace, comma or
    semicolon; NaN, or nothing after the comma, is a gap; lines that begin with # or % are
    comments, and the first line may name the columns. MATLAB: one variable, N×1, 1×N or N×2.
    Values alone are those of 1, 2, … atoms.

    Raises:
        InputError: the file holds something else; its sidecar is of another file; a number of
            atoms is not whole, or there twice.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, *CURVE_SUFFIXES):
        allowed = ", ".join((*SUFFIXES, *CURVE_SUFFIXES))
        raise InputError(f"{path}: its name must end in one of {allowed}")
    require_file(path)
    if suffix in CURVE_SUFFIXES or (suffix == ".csv" and path.read_bytes().startswith(b"# format")):
        return _of_curves(path)
    table = _read_mat(path) if suffix == ".mat" else _read_text(path)
    atoms, values = table.T if table.shape[1] == 2 else (np.arange(len(table)) + 1.0, table[:, 0])
    whole = (atoms >= 1) & (atoms == np.round(atoms))
    if not np.all(whole) or len(np.unique(atoms)) < len(atoms):
        raise InputError(
            f"{path}: of two columns the first must be the number of atoms, whole numbers from 1, "
            f"each once; it begins {', '.join(f'{a:g}' for a in atoms[:5])}"
        )
    if not np.any(np.isfinite(values)):
        raise InputError(f"{path}: holds no values")
    return Library(values, atoms.astype(int), *_read_sidecar(path, len(values)))


def write_library(path: str | Path, curve: Curve | Library) -> None:
    """Write a library as .txt, .csv or .mat, whole or not at all, and its sidecar.

    .txt and .mat hold one value a line, at 1, 2, … atoms, as the examples of StatSTEM do, NaN in
    gaps; .csv holds the number of atoms and the value. Standard errors and settings, where known,
    go into the sidecar.

    Raises:
        InputError: the path cannot be written.
    """
    path = Path(path)
    if problem := output_problem(path, SUFFIXES):
        raise InputError(problem)
    thickest = int(np.max(curve.n_atoms))
    values, errors = np.full((2, thickest), np.nan)
    values[np.asarray(curve.n_atoms) - 1] = curve.ppiscs
    if curve.standard_error is not None:
        errors[np.asarray(curve.n_atoms) - 1] = curve.standard_error
    with replacing(path) as temporary:
        if path.suffix.lower() == ".mat":
            savemat(temporary, {VARIABLE: values[:, None]})
        else:
            head = "" if path.suffix.lower() == ".txt" else "n_atoms,ppiscs_angstrom2\n"
            lines = [
                f"{n},{v!r}\n" if head else f"{v!r}\n" for n, v in enumerate(values.tolist(), 1)
            ]
            temporary.write_text(head + "".join(lines), encoding="utf-8")
        checksum = _checksum(temporary)
    content: dict[str, Any] = {
        "format": FORMAT,
        "package_version": version("ppiscs-jax"),
        "unit": "Å²",
        "sha256": checksum,
    }
    if curve.settings is not None:
        fields = {name: getattr(curve.settings, name) for name in VECTOR_ORDER}
        content["settings"] = {k: v if isinstance(v, str) else float(v) for k, v in fields.items()}
    if curve.standard_error is not None:
        known = [None if math.isnan(e) else e for e in errors.tolist()]
        content["standard_error_angstrom2"] = known
    with replacing(sidecar_of(path)) as temporary:
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def sidecar_of(path: Path) -> Path:
    """The file beside a library that holds what else is known of it."""
    return path.with_name(path.name + ".settings.json")


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_sidecar(
    path: Path, length: int
) -> tuple[Float[np.ndarray, " n"] | None, Settings | None]:
    """Standard errors and settings, where they are known."""
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        return None, None
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise InputError(f"format is {content['format']!r}, not {FORMAT!r}")
        if content["sha256"] != _checksum(path):
            raise InputError(f"{path.name} was changed since; remove the one that is wrong")
        errors = content.get("standard_error_angstrom2")
        known = None if errors is None else np.array(errors, dtype=float).reshape(length)
        settings = content.get("settings")
        return known, None if settings is None else Settings(**settings)
    except (LookupError, TypeError, ValueError) as error:
        raise InputError(f"{sidecar}: {error}") from error


def _of_curves(path: Path) -> Library:
    from ppiscs_jax.dataset.curves import load_curves  # h5py is slow to import

    first, *others = load_curves(path)
    if others:
        raise InputError(f"{path}: holds curves of {1 + len(others)} detectors; save one alone")
    return Library(first.ppiscs, first.n_atoms, first.standard_error, first.settings)


def _read_text(path: Path) -> Float[np.ndarray, "n columns"]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error})") from None
    numbered = [
        (i, line) for i, line in enumerate(lines, 1) if line.strip()[:1] not in ("#", "%", "")
    ]
    rows: list[list[float]] = []
    for place, (number, line) in enumerate(numbered):
        separator = next((s for s in ",;" if s in line), None)
        try:
            rows.append([float(e) if e.strip() else math.nan for e in line.split(separator)])
        except ValueError:
            if place > 0 or any(character.isdigit() for character in line.split(separator)[0]):
                raise InputError(f"{path}, line {number}: {line.strip()!r} is no number") from None
    widths = {len(row) for row in rows}
    if not rows or len(widths) > 1 or widths.pop() > 2:
        raise InputError(
            f"{path}: must hold one value a line, or the number of atoms and a value, on all lines"
        )
    return np.array(rows)


def _read_mat(path: Path) -> Float[np.ndarray, "n columns"]:
    try:
        content = loadmat(path)
    except NotImplementedError:
        raise InputError(f"{path}: of MATLAB 7.3; save it with -v7") from None
    except (MatReadError, OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a .mat file ({error})") from None
    variables = {name: value for name, value in content.items() if not name.startswith("__")}
    there = ", ".join(f"{name} ({_what(value)})" for name, value in variables.items()) or "nothing"
    values = next(iter(variables.values())) if len(variables) == 1 else None
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" or values.ndim != 2:
        raise InputError(
            f"{path}: holds {there}; must hold one numeric variable: in MATLAB, take the library "
            "out as a column of numbers and save that alone"
        )
    if values.shape == (1, 2):
        raise InputError(f"{path}: holds {there}: two values, or one at n atoms? Give a column")
    values = values.T if values.shape[0] == 1 else values
    if values.shape[1] not in (1, 2) or not len(values):
        raise InputError(f"{path}: holds {there}; must be N×1, 1×N, or N×2 (atoms, value)")
    return values.astype(float)


def _what(value: Any) -> str:
    """Shape and kind of a MATLAB variable, for people."""
    if type(value).__name__ == "MatlabOpaque":
        return "an object of a MATLAB class"
    kinds = {
        "f": "numbers",
        "i": "numbers",
        "u": "numbers",
        "V": "struct",
        "O": "cell",
        "U": "text",
    }
    return f"{'×'.join(map(str, np.shape(value)))} {kinds.get(value.dtype.kind, 'others')}"
