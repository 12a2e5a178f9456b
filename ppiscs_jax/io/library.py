"""Libraries: PPISCS against thickness in the plain files that users of StatSTEM have.

One value a line, or the number of atoms and a value, as text (.txt, .csv) or as the one variable
of a .mat file. Settings and standard errors are stored in a sidecar file, `FILE.settings.json`.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppiscs_jax.config import first_problem
from ppiscs_jax.errors import InputError, shown
from ppiscs_jax.files import output_problem, replacing, require_file
from ppiscs_jax.io.delimited import LARGEST
from ppiscs_jax.io.library_text import parse_table
from ppiscs_jax.io.matfile import described, read_mat
from ppiscs_jax.reading import parse_json, read_text
from ppiscs_jax.settings import MOST_ATOMS, VECTOR_ORDER, Settings
from ppiscs_jax.simulation.curve import Curve

FORMAT = "ppiscs-jax library 1"
"""Name and version of the sidecar."""

SUFFIXES = (".txt", ".csv", ".mat")
"""Endings that `save_library` accepts."""

CURVE_SUFFIXES = (".json", ".h5", ".hdf5")
"""Endings of files that only `save_curves` writes."""

SHAPES = "must be N×1, 1×N, N×2 or 2×N (atoms, value)"

VARIABLE = "library"
"""Name of the variable in .mat files written here."""


Error = Annotated[float, Field(ge=0, le=LARGEST)]


class Sidecar(BaseModel):
    """Schema of the sidecar of a library.

    Attributes:
        format: FORMAT.
        package_version, unit: of the writer, and of its values.
        sha256: of the library's file.
        settings: fields of `Settings`.
        standard_error_angstrom2: of each value, null where not known.
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    format: Literal["ppiscs-jax library 1"]
    package_version: str = ""
    unit: str = "Å²"
    sha256: str
    settings: dict[str, float | str | tuple[float, float]] | None = None
    standard_error_angstrom2: Annotated[list[Error | None], Field(max_length=MOST_ATOMS)] | None = (
        None
    )


@dataclass(frozen=True)
class Library:
    """Measured or simulated PPISCS against thickness.

    Attributes:
        ppiscs: cross-sections, shape (n,), in Å² unless the file's owner has another unit; NaN
            where there is none.
        n_atoms: atoms per column of each, as in the file, shape (n,).
        standard_error: of ppiscs, shape (n,); None where not known.
        settings: what was measured or simulated; None where not known.
        error_modes: of curves of this package, what their errors are made of, shape (modes, n),
            as in `Curve`; None where not known.
        degrees_of_freedom: with which the modes estimate a covariance.

    Example:
        >>> import numpy as np
        >>> import ppiscs_jax as pp
        >>> library = pp.Library(np.array([0.031, 0.060, 0.088]), np.array([1, 2, 3]))
        >>> pp.save_library("library.csv", library)
        >>> pp.load_library("library.csv").n_atoms.tolist()
        [1, 2, 3]
    """

    ppiscs: Float[np.ndarray, " n"]
    n_atoms: Int[np.ndarray, " n"]
    standard_error: Float[np.ndarray, " n"] | None = None
    settings: Settings | None = None
    error_modes: Float[np.ndarray, "modes n"] | None = None
    degrees_of_freedom: float = np.inf


def load_library(path: str | Path) -> Library:
    """Read a library, or a file of `save_curves` that holds one curve.

    Text: one value a line, all values on one line, or the number of atoms and a value on each
    line, separated by whitespace, commas, semicolons or tabs. Decimal commas are read where the
    separator is a semicolon or a tab. NaN, #N/A, an empty entry and, between the values of one
    column, a blank line are gaps. Lines that begin with # or % are comments, and the first line
    may name the columns. MATLAB: one variable, N×1, 1×N, N×2 or 2×N. Values alone are those of
    1, 2, … atoms; the value at 0 atoms, where there is one, must be 0 and is left out.

    Raises:
        InputError: the file holds something else, with its line; its sidecar is of another file;
            a number of atoms is not whole, larger than MOST_ATOMS, or there twice; a value is
            larger than LARGEST.
        FileNotFoundError: there is no such file.

    Example:
        >>> import numpy as np
        >>> import ppiscs_jax as pp
        >>> np.savetxt("library.txt", [0.031, 0.060, 0.088])
        >>> library = pp.load_library("library.txt")
        >>> library.n_atoms.tolist(), library.ppiscs.tolist()
        ([1, 2, 3], [0.031, 0.06, 0.088])
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*SUFFIXES, *CURVE_SUFFIXES):
        allowed = ", ".join((*SUFFIXES, *CURVE_SUFFIXES))
        raise InputError(f"{path}: its name must end in one of {allowed}")
    require_file(path)
    if suffix in CURVE_SUFFIXES or (suffix == ".csv" and _is_of_curves(path)):
        return _of_curves(path)
    if suffix == ".mat":
        table, lines = _read_mat(path), None
    else:
        table, lines = parse_table(path, read_text(path))
    atoms, values = _atoms_and_values(path, table, lines)
    return Library(values, atoms, *_read_sidecar(path, len(values)))


def save_library(path: str | Path, curve: Curve | Library) -> None:
    """Write a library as .txt, .csv or .mat, whole or not at all, and its sidecar.

    .txt and .mat hold one value a line, at 1, 2, … atoms, as the examples of StatSTEM do, NaN in
    gaps; .csv holds the number of atoms and the value. Standard errors and settings, where known,
    go into the sidecar.

    Raises:
        InputError: the path cannot be written.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> pp.save_library("gold.txt", pp.predict(settings))
        >>> pp.load_library("gold.txt").settings == settings
        True
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
            from scipy.io import savemat  # slow to import

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
        if any(curve.settings.mistilt_mrad):
            content["settings"]["mistilt_mrad"] = list(map(float, curve.settings.mistilt_mrad))
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
        content = Sidecar.model_validate(parse_json(read_text(sidecar)))
        if content.sha256 != _checksum(path):
            raise ValueError(f"{path.name} was changed since; remove the one that is wrong")
        errors = content.standard_error_angstrom2
        if errors is not None and len(errors) != length:
            raise ValueError(f"{len(errors)} standard errors, {length} values")
        known = None if errors is None else np.array(errors, dtype=float)
        settings: dict[str, Any] | None = content.settings
        return known, None if settings is None else Settings(**settings)
    except ValidationError as error:
        raise InputError(f"{sidecar}: {first_problem(error)}") from error
    except (TypeError, ValueError) as error:
        raise InputError(f"{sidecar}: {error}") from error


def _is_of_curves(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(20).removeprefix(b"\xef\xbb\xbf").startswith(b"# format")


def _of_curves(path: Path) -> Library:
    from ppiscs_jax.io.curves import load_curves  # h5py is slow to import

    first, *others = load_curves(path)
    if others:
        raise InputError(f"{path}: holds curves of {1 + len(others)} detectors; save one alone")
    return Library(
        first.ppiscs,
        first.n_atoms,
        first.standard_error,
        first.settings,
        first.error_modes,
        first.degrees_of_freedom,
    )


def _atoms_and_values(
    path: Path, table: Float[np.ndarray, "rows columns"], lines: list[int] | None
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Atoms per column and values of a table in any of the shapes that libraries have."""
    rows, columns = table.shape
    if max(rows, columns) > MOST_ATOMS + (min(rows, columns) == 2):  # one more of 0 atoms
        raise InputError(f"{path}: {rows}×{columns} numbers; at most {MOST_ATOMS} thicknesses")
    if (rows, columns) == (1, 2):
        raise InputError(f"{path}: two values, or one at n atoms? Give a column")
    if min(rows, columns) > 2:
        raise InputError(f"{path}: {rows}×{columns} numbers; {SHAPES}")
    if rows == 2 and columns == 2:
        transposed = bool(_atoms_problem(table[:, 0])) and not _atoms_problem(table[0])
    else:
        transposed = rows == 1 or columns > 2
    if transposed:
        table, lines = table.T, None
    place = [f"line {line}" for line in lines or ()] or [
        f"value {i + 1}" for i in range(len(table))
    ]
    if table.shape[1] == 1:
        atoms, values = np.arange(len(table)) + 1.0, table[:, 0]
        if len(values) > 1 and values[0] == 0:
            raise InputError(
                f"{path}, {place[0]}: 0 at 1 atom; if the library begins from 0 atoms, remove "
                "this value or add a column with the number of atoms"
            )
    else:
        atoms, values = table.T
        if problem := _atoms_problem(atoms):
            raise InputError(f"{path}: {problem}")
    for bad in np.flatnonzero(abs(values) > LARGEST):
        raise InputError(
            f"{path}, {place[bad]}: {values[bad]:g} must be between {-LARGEST:g} and {LARGEST:g}"
        )
    for bad in np.flatnonzero((atoms == 0) & ~(np.isnan(values) | (values == 0))):
        raise InputError(
            f"{path}, {place[bad]}: {values[bad]:g} at 0 atoms, which scatter nothing; remove "
            "it, and give a background as offset"
        )
    there = atoms > 0
    if not np.any(np.isfinite(values[there])):
        raise InputError(f"{path}: holds no values")
    return atoms[there].astype(int), values[there]


def _atoms_problem(atoms: Float[np.ndarray, " n"]) -> str | None:
    """Say why numbers are not numbers of atoms, or None."""
    whole = (atoms >= 0) & (atoms <= MOST_ATOMS) & (atoms == np.round(atoms))
    if np.all(whole) and len(np.unique(atoms)) == len(atoms):
        return None
    return (
        f"of two columns or rows the first must be the number of atoms, whole numbers up to "
        f"{MOST_ATOMS}, each once; it begins {', '.join(f'{a:g}' for a in atoms[:5])}"
    )


def _read_mat(path: Path) -> Float[np.ndarray, "rows columns"]:
    variables = read_mat(path)
    there = ", ".join(f"{shown(n)[1:-1]} ({described(v)})" for n, v in variables.items())
    values = next(iter(variables.values())) if len(variables) == 1 else None
    if not isinstance(values, np.ndarray) or values.ndim != 2:
        raise InputError(
            f"{path}: holds {there or 'nothing'}; must hold one numeric variable: in MATLAB, take "
            "the library out as a column of numbers and save that alone"
        )
    if not values.size or min(values.shape) > 2:
        raise InputError(f"{path}: holds {there}; {SHAPES}")
    return values.astype(float)
