"""HDF5 files of scattering kernels: one group a simulation, each with its own checksum.

A file holds one kernel as it was computed, or many packed together; a kernel's group is the
same in both. Values and errors are kept as `io.compression` says.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppiscs_jax.config import first_problem
from ppiscs_jax.errors import InputError, shown
from ppiscs_jax.files import output_problem, replacing, require_file
from ppiscs_jax.io import compression
from ppiscs_jax.io.hdf5 import (
    UNREADABLE,
    attribute,
    fixed_text,
    new_hdf5,
    of_the_system,
    read_arrays,
    reading_hdf5,
)
from ppiscs_jax.io.schema import Numbers, Schema
from ppiscs_jax.reading import parse_json
from ppiscs_jax.settings import MOST_ATOMS, Settings
from ppiscs_jax.simulation.kernel import ScatteringKernel

FORMAT = "ppiscs-jax kernels 4"
"""Name and version of what is written here."""

READ_FORMATS = (FORMAT, "ppiscs-jax kernels 3", "ppiscs-jax kernels 2")
"""Formats that are read. The settings of formats 2 and 3 also name an aperture and a detector,
which are ignored, as in kernels packed from such files; whole numbers of format 2 have signs."""

SUFFIXES = (".h5", ".hdf5")

NAME = re.compile(r"\w[\w.+-]{0,99}", re.ASCII)
"""Names of kernels: they become names of files."""

MOST_KERNELS = 10_000
"""Kernels of a file; a campaign of all elements, zone axes and voltages has fewer than 1000."""

MOST_BATCHES = 4096
MOST_FRACTIONS = 25_000_000
"""Fractions of a kernel: batches × rings × thicknesses × bins, sixteen times those of the largest
kernel here; working with it takes 1 GB."""

EXPANSION, LEAST_LIMIT = 300, 2**26
"""Limit on the number of fractions in all kernels of a file: EXPANSION for each byte of the file,
three times the typical ratio, but at least LEAST_LIMIT (512 MB)."""

ARRAYS = Schema(
    {
        "ring_edges_mrad": Numbers(("rings+1",), "mrad", 0, 200, rising=True),
        "angle_edges_mrad": Numbers(("bins+1",), "mrad", 0, 1000, rising=True),
        "lost": Numbers(("rings", "n"), "fraction of the electrons", -0.1, 1.1),
        **compression.NUMBERS,
    },
    longest={"rings": 1000, "bins": 10_000, "n": MOST_ATOMS, "batches less one": MOST_BATCHES},
)
"""The arrays of a group. Those of whole numbers are as they are in memory, with signs."""


class Metadata(BaseModel):
    """Attributes of a group, in the order in which they are written: it decides the bytes.

    Settings and mistilt are JSON.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    package_version: Annotated[str, Field(max_length=100)]
    jax_version: Annotated[str, Field(max_length=100)]
    settings: Annotated[str, Field(max_length=2000)]
    mistilt_mrad: Annotated[str, Field(max_length=200)]
    seed: Annotated[int, Field(ge=0, lt=2**63)]
    waves: Annotated[int, Field(ge=0, lt=2**63)]
    batches: Annotated[int, Field(ge=2, le=MOST_BATCHES)]


METADATA = tuple(Metadata.model_fields)

SETTINGS = ("element", "zone_axis", "voltage_kv", "rmsd_angstrom")
"""Settings of a kernel beside its mistilt."""

Arrays = dict[str, np.ndarray]


def save_kernels(path: str | Path, kernels: Mapping[str, ScatteringKernel]) -> None:
    """Write kernels by name to a .h5 or .hdf5 file, whole or not at all.

    The bytes depend on the kernels and on the versions of the libraries only.

    Raises:
        InputError: the path cannot be written.
        OSError: writing failed; a file that was there before is as it was.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 40.0, 100.0, rmsd_angstrom=0.085)
        >>> kernel = pp.scattering_kernel(
        ...     settings, angle_edges_mrad=range(101), n_atoms=2, relative_error=0.1
        ... )
        >>> pp.save_kernels("gold.h5", {"gold": kernel})
        >>> list(pp.load_kernels("gold.h5"))
        ['gold']
    """
    with _new_file(path) as file:
        for name, kernel in kernels.items():
            metadata, arrays = _metadata(kernel), _arrays(kernel)
            try:
                check(name, metadata, arrays)
            except ValueError as error:
                raise InputError(f"kernel {shown(name)}: {error}") from error
            _write(file, name, metadata, arrays)


def load_kernels(path: str | Path) -> dict[str, ScatteringKernel]:
    """The kernels of a file by name; their batches reproduce means and errors.

    Raises:
        InputError: the file is damaged or not of this format; it names the damaged kernels.
        FileNotFoundError: there is no such file.
        OSError: the system could not read the file, which may be whole.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 40.0, 100.0, rmsd_angstrom=0.085)
        >>> kernel = pp.scattering_kernel(
        ...     settings, angle_edges_mrad=range(101), n_atoms=2, relative_error=0.1
        ... )
        >>> pp.save_kernels("gold.h5", {"gold": kernel})
        >>> pp.load_kernels("gold.h5")["gold"].curve(inner_mrad=60.0).ppiscs.shape
        (2,)
    """
    limit = max(LEAST_LIMIT, EXPANSION * Path(path).stat().st_size) if Path(path).is_file() else 0
    kernels = {}
    for name, _, kernel in each_kernel(path):
        limit -= kernel.batch_means.size
        if limit < 0:
            raise InputError(f"{path}: its kernels take more memory than such a file should")
        kernels[name] = kernel
    return kernels


def each_kernel(path: str | Path) -> Iterator[tuple[str, dict, ScatteringKernel]]:
    """Name, metadata and kernel, one after the other, as `load_kernels`."""
    for name, metadata, arrays in read_kernels(path):
        try:
            yield name, metadata, _kernel(metadata, arrays)
        except ValueError as error:
            raise InputError(f"{path}: kernel {name}: {error}") from error


def check(name: str, metadata: dict, arrays: Arrays) -> None:
    """Refuse what is not a kernel.

    Raises:
        ValueError: saying why.
    """
    if not NAME.fullmatch(name):
        raise ValueError("its name must be up to 100 letters, digits and any of _ . + -")
    try:
        said = Metadata.model_validate(metadata)
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    try:
        settings_of(metadata)
    except (TypeError, KeyError) as error:
        raise ValueError(f"settings: {error}") from None
    sizes = ARRAYS.check(arrays)
    if sizes["batches less one"] + 1 != said.batches or arrays["ring_edges_mrad"][0] != 0:
        raise ValueError("its arrays do not belong to its metadata")
    fractions = said.batches * sizes["rings"] * sizes["n"] * sizes["bins"]
    if fractions > MOST_FRACTIONS:
        raise ValueError(f"{fractions} fractions; at most {MOST_FRACTIONS} are read")
    compression.check_lengths(sizes)


def read_kernels(path: str | Path) -> Iterator[tuple[str, dict, Arrays]]:
    """Name, metadata and compressed arrays of each kernel of a file, checked.

    Errors as above, those of damaged kernels after all the others were given.
    """
    require_file(path)
    problems = []
    try:
        with reading_hdf5(Path(path)) as file:
            if (found := attribute(file, "format")) not in READ_FORMATS:
                raise InputError(f"{path}: format is {shown(found)}, not {FORMAT!r}")
            number = attribute(file, "kernels")
            if len(file) != number or len(file) > MOST_KERNELS:
                raise InputError(f"{path}: damaged, {len(file)} of {number} kernels in it")
            for name in file:
                try:
                    metadata, arrays = _read(file, name)
                except UNREADABLE as error:
                    if of_the_system(error):
                        raise
                    problems.append(f"{path}: damaged, kernel {name} ({error})")
                else:
                    yield name, metadata, arrays
    except UNREADABLE as error:
        if isinstance(error, InputError) or of_the_system(error):
            raise
        raise InputError(f"{path}: damaged, or not a file of {FORMAT!r} ({error})") from error
    if problems:
        raise InputError(problems)


def pack_kernels(path: str | Path, sources: Iterable[str | Path]) -> None:
    """Write the kernels of several files to one, as they are, whole or not at all.

    Raises:
        InputError: a source is damaged, a name appears twice, or the path cannot be written.
    """
    with _new_file(path) as file:
        for source in sources:
            for name, metadata, arrays in read_kernels(source):
                if name in file:
                    raise InputError(f"{source}: kernel {name} is in another source too")
                _write(file, name, metadata, arrays)


def unpack_kernels(path: str | Path, folder: str | Path) -> list[Path]:
    """Write each kernel of a file to one of its own, named like it; those that are there stay.

    The folder is made if it is not there, once a kernel was read.

    Returns:
        The files written.

    Raises:
        InputError: the file is damaged, or the folder is none or cannot be written.
        OSError: the folder cannot be made.
    """
    folder, written = Path(folder), []
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {folder}: is not a folder")
    for name, metadata, arrays in read_kernels(path):
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{name}.h5"
        if not target.exists():
            with _new_file(target) as file:
                _write(file, name, metadata, arrays)
            written.append(target)
    return written


@contextmanager
def _new_file(path: str | Path) -> Iterator[h5py.File]:
    if problem := output_problem(path, SUFFIXES):
        raise InputError(problem)
    with replacing(path) as temporary, new_hdf5(temporary, libver="latest") as file:
        file.attrs["format"] = fixed_text(FORMAT)
        yield file
        file.attrs["kernels"] = len(file)


def _metadata(kernel: ScatteringKernel) -> dict:
    values = (
        version("ppiscs-jax"),
        version("jax"),
        json.dumps({field: getattr(kernel, field) for field in SETTINGS}),
        json.dumps(list(kernel.mistilt_mrad)),
        kernel.seed,
        kernel.waves,
        len(kernel.batch_means),
    )
    return dict(zip(METADATA, values, strict=True))


def settings_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a kernel by name, checked by `Settings` with some aperture and detector."""
    of_file = parse_json(metadata["settings"])
    checked = Settings(
        **{field: of_file[field] for field in SETTINGS},
        mistilt_mrad=parse_json(metadata["mistilt_mrad"]),
        convergence_mrad=20,
        inner_mrad=60,
        outer_mrad=200,
    )
    return {field: getattr(checked, field) for field in (*SETTINGS, "mistilt_mrad")}


def _arrays(kernel: ScatteringKernel) -> Arrays:
    return {
        "ring_edges_mrad": np.asarray(kernel.ring_edges_mrad, dtype=float),
        "angle_edges_mrad": np.asarray(kernel.angle_edges_mrad, dtype=float),
        "lost": kernel.lost.astype(np.float32),
        **compression.compress(
            kernel.batch_means, kernel.angle_edges_mrad, kernel.ring_edges_mrad[-1]
        ),
    }


def _kernel(metadata: dict, arrays: Arrays) -> ScatteringKernel:
    """The kernel whose metadata and arrays `read_kernels` gives."""
    return ScatteringKernel(
        **settings_of(metadata),
        ring_edges_mrad=arrays["ring_edges_mrad"],
        angle_edges_mrad=arrays["angle_edges_mrad"],
        batch_means=compression.expand(arrays, arrays["angle_edges_mrad"]),
        lost=arrays["lost"],
        seed=metadata["seed"],
        waves=metadata["waves"],
    )


def _write(file: h5py.File, name: str, metadata: dict, arrays: Arrays) -> None:
    group = file.create_group(name)
    checked = metadata | {"sha256": _checksum(name, metadata, arrays)}
    group.attrs.update({key: fixed_text(value) for key, value in checked.items()})
    for key, array in arrays.items():
        array = compression.unsigned(array)
        packed = {"chunks": array.shape, "compression": 9, "shuffle": True}
        dataset = group.create_dataset(key, data=array, **(packed if array.nbytes > 256 else {}))
        dataset.attrs["unit"] = fixed_text(ARRAYS.arrays[key].unit)


def _read(file: h5py.File, name: str) -> tuple[dict, Arrays]:
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise ValueError("is elsewhere")
    group = file[name]
    stored = {key: attribute(group, key) for key in METADATA}
    packed = read_arrays(group, ARRAYS)
    arrays = {key: compression.signed(packed[key]) for key in ARRAYS.arrays}
    if attribute(group, "sha256") != _checksum(name, stored, arrays):
        raise ValueError("does not match its checksum")
    check(name, stored, arrays)
    return stored, arrays


def _checksum(name: str, metadata: dict, arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps([name, metadata], sort_keys=True).encode())
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype.str} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()
