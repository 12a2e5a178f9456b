"""HDF5 files of scattering kernels: one group a simulation, each with its own checksum.

A file holds one kernel as it was computed, or many packed together; a kernel's group is the
same in both. Values and errors are kept as `dataset.compression` says.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from ppiscs_jax.dataset import compression
from ppiscs_jax.dataset.hdf5 import fixed_text, new_hdf5, of_the_system, plain, reading_hdf5
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing, require_file
from ppiscs_jax.kernel import ScatteringKernel
from ppiscs_jax.settings import VECTOR_ORDER, Settings

FORMAT = "ppiscs-jax kernels 3"
"""Name and version of what is written here."""

READ_FORMATS = (FORMAT, "ppiscs-jax kernels 2")
"""What is read: format 2 holds the same numbers, whole ones with their signs."""

SUFFIXES = (".h5", ".hdf5")

UNITS = {
    "ring_edges_mrad": "mrad",
    "angle_edges_mrad": "mrad",
    "lost": "fraction of the electrons",
    **compression.UNITS,
}
"""The arrays of a group, and what each is counted in."""

METADATA = (
    "package_version",
    "jax_version",
    "settings",
    "mistilt_mrad",
    "seed",
    "waves",
    "batches",
)
"""Attributes of a group, in the order in which they are written: it decides the bytes."""

UNREADABLE = (OSError, LookupError, TypeError, ValueError, RuntimeError)
"""What h5py raises at damage."""

Arrays = dict[str, np.ndarray]


def save_kernels(path: str | Path, kernels: Mapping[str, ScatteringKernel]) -> None:
    """Write kernels by name to a .h5 or .hdf5 file, whole or not at all.

    The bytes depend on the kernels and on the versions of the libraries only.

    Raises:
        InputError: the path cannot be written.
        OSError: writing failed; a file that was there before is as it was.
    """
    with _new_file(path) as file:
        for name, kernel in kernels.items():
            _write(file, name, _metadata(kernel), _arrays(kernel))


def load_kernels(path: str | Path) -> dict[str, ScatteringKernel]:
    """The kernels of a file by name; their batches reproduce means and errors.

    Raises:
        InputError: the file is damaged or not of this format; it names the damaged kernels.
        FileNotFoundError: there is no such file.
        OSError: the system could not read the file, which may be whole.
    """
    return {name: to_kernel(metadata, arrays) for name, metadata, arrays in read_kernels(path)}


def read_kernels(path: str | Path) -> Iterator[tuple[str, dict, Arrays]]:
    """Name, metadata and compressed arrays of each kernel of a file, checked.

    Errors as above, those of damaged kernels after all the others were given.
    """
    require_file(path)
    problems = []
    try:
        with reading_hdf5(Path(path)) as file:
            if (found := plain(file.attrs["format"])) not in READ_FORMATS:
                raise InputError(f"{path}: format is {found!r}, not {FORMAT!r}")
            if len(file) != file.attrs["kernels"]:
                raise InputError(
                    f"{path}: damaged, {len(file)} of {file.attrs['kernels']} kernels in it"
                )
            for name in file:
                try:
                    metadata, arrays = _read(name, file[name])
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
    settings = kernel.settings
    numbers = {f: float(getattr(settings, f)) for f in VECTOR_ORDER[2:]}
    names = {"element": settings.element, "zone_axis": settings.zone_axis}
    values = (
        version("ppiscs-jax"),
        version("jax"),
        json.dumps({**names, **numbers}),
        json.dumps(list(map(float, kernel.mistilt_mrad))),
        kernel.seed,
        kernel.waves,
        len(kernel.batch_means),
    )
    return dict(zip(METADATA, values, strict=True))


def _arrays(kernel: ScatteringKernel) -> Arrays:
    return {
        "ring_edges_mrad": np.asarray(kernel.ring_edges_mrad, dtype=float),
        "angle_edges_mrad": np.asarray(kernel.angle_edges_mrad, dtype=float),
        "lost": kernel.lost.astype(np.float32),
        **compression.compress(
            kernel.batch_means, kernel.angle_edges_mrad, kernel.ring_edges_mrad[-1]
        ),
    }


def to_kernel(metadata: dict, arrays: Arrays) -> ScatteringKernel:
    """The kernel whose metadata and arrays `read_kernels` gives."""
    x, y = json.loads(metadata["mistilt_mrad"])
    return ScatteringKernel(
        settings=Settings(**json.loads(metadata["settings"])),
        ring_edges_mrad=arrays["ring_edges_mrad"],
        angle_edges_mrad=arrays["angle_edges_mrad"],
        batch_means=compression.expand(arrays, arrays["angle_edges_mrad"]),
        lost=arrays["lost"],
        seed=metadata["seed"],
        waves=metadata["waves"],
        mistilt_mrad=(x, y),
    )


def _write(file: h5py.File, name: str, metadata: dict, arrays: Arrays) -> None:
    group = file.create_group(name)
    checked = metadata | {"sha256": _checksum(name, metadata, arrays)}
    group.attrs.update({key: fixed_text(value) for key, value in checked.items()})
    for key, array in arrays.items():
        array = compression.unsigned(array)
        packed = {"chunks": array.shape, "compression": 9, "shuffle": True}
        dataset = group.create_dataset(key, data=array, **(packed if array.nbytes > 256 else {}))
        dataset.attrs["unit"] = fixed_text(UNITS[key])


def _read(name: str, group: h5py.Group) -> tuple[dict, Arrays]:
    stored = {key: plain(group.attrs[key]) for key in METADATA}
    arrays = {key: compression.signed(group[key][...]) for key in UNITS}
    if plain(group.attrs["sha256"]) != _checksum(name, stored, arrays):
        raise ValueError("does not match its checksum")
    return stored, arrays


def _checksum(name: str, metadata: dict, arrays: Arrays) -> str:
    digest = hashlib.sha256(json.dumps([name, metadata], sort_keys=True).encode())
    for key in sorted(arrays):
        digest.update(f"{key} {arrays[key].dtype.str} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).tobytes())
    return digest.hexdigest()
