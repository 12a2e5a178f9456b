"""Scattering kernels as HDF5 files: small, with errors of any detector, and self-checking.

A kernel is smooth and its batches scatter around it, so three parts are kept:

- the mean, rounded to steps of about `ROUNDING` standard errors and stored as differences
  along thickness;
- the deviations of the batches, summed into groups of collection angles and at every
  `STRIDE`-th thickness, as principal components (`RANK`, at most batches − 1);
- everything needed to make the kernel again, and a checksum of it all.

What is lost is less than the standard error of what is kept: see tests/dataset.
"""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing
from ppiscs_jax.kernel import ScatteringKernel
from ppiscs_jax.settings import VECTOR_ORDER, Settings

FORMAT = "ppiscs-jax kernel 1"
SUFFIXES = (".h5", ".hdf5")

ROUNDING = 0.02
"""Steps of the stored mean, in standard errors of a bin. Fine, because neighbouring bins move
against each other where Bragg disks end: a detector's error can be much below its bins'."""

RANK = 15
"""Principal components kept of the batches' deviations: all of 16 batches."""

STRIDE = 4
"""Deviations are kept at every so many atoms; between them they are interpolated."""

GROUP_MRAD = 5.0
"""Least width of a group of collection-angle bins whose deviations are kept together. Errors of
detectors that cut through a group are interpolated, which is rough inside the bright field."""

UNITS = {
    "ring_edges_mrad": "mrad",
    "angle_edges_mrad": "mrad",
    "mean_steps": "fraction of the electrons, in steps; differences along thickness",
    "thickness_step": "fraction of the electrons: steps are thickness_step × angle_step",
    "angle_step": "1",
    "lost": "fraction of the electrons",
    "group_starts": "index of a collection-angle bin",
    "component_thickness": "atoms per column",
    "components": "fraction of the electrons, in units of component_scale",
    "component_scale": "fraction of the electrons",
    "scores": "1",
}
"""What each array of a file is counted in."""


def save_kernel(path: str | Path, kernel: ScatteringKernel) -> None:
    """Write a kernel to a .h5 or .hdf5 file, whole or not at all.

    Raises:
        InputError: the path cannot be written.
    """
    if problem := output_problem(path, SUFFIXES):
        raise InputError(problem)
    settings = kernel.settings
    metadata = {
        "format": FORMAT,
        "package_version": version("ppiscs-jax"),
        "jax_version": version("jax"),
        "settings": json.dumps(
            {
                "element": settings.element,
                "zone_axis": settings.zone_axis,
                **{f: float(getattr(settings, f)) for f in VECTOR_ORDER[2:]},
            }
        ),
        "mistilt_mrad": list(map(float, kernel.mistilt_mrad)),
        "seed": kernel.seed,
        "waves": kernel.waves,
        "batches": len(kernel.batch_means),
    }
    arrays = _compress(kernel)
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs.update(metadata)
        file.attrs["sha256"] = _checksum(metadata, arrays)
        for name, array in arrays.items():
            packed = {"compression": "gzip", "shuffle": True} if array.size > 64 else {}
            file.create_dataset(name, data=array, **packed).attrs["unit"] = UNITS[name]


def load_kernel(path: str | Path) -> ScatteringKernel:
    """The kernel of a file of `save_kernel`; its batches reproduce mean and errors.

    Raises:
        InputError: the file is damaged or not of this format.
        FileNotFoundError: there is no such file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            stored = {
                n: a.item() if isinstance(a, np.generic) else a for n, a in file.attrs.items()
            }
            arrays = {name: file[name][...] for name in UNITS}
        if stored["format"] != FORMAT:
            raise InputError(f"{path}: format is {stored['format']!r}, not {FORMAT!r}")
        checksum = stored.pop("sha256")
        stored["mistilt_mrad"] = list(map(float, stored["mistilt_mrad"]))
        if _checksum(stored, arrays) != checksum:
            raise InputError(f"{path}: damaged, its content does not match its checksum")
        x, y = stored["mistilt_mrad"]
        return ScatteringKernel(
            settings=Settings(**json.loads(stored["settings"])),
            ring_edges_mrad=arrays["ring_edges_mrad"],
            angle_edges_mrad=arrays["angle_edges_mrad"],
            batch_means=_expand(arrays),
            lost=arrays["lost"],
            seed=stored["seed"],
            waves=stored["waves"],
            mistilt_mrad=(x, y),
        )
    except (OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged, or not a file of {FORMAT!r} ({error})") from error


def _checksum(metadata: dict, arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _thicknesses(n: int) -> np.ndarray:
    """Indices of the thicknesses whose deviations are kept: every STRIDE-th, and the last."""
    return np.unique(np.append(np.arange(0, n, STRIDE), n - 1))


def _group_starts(edges: np.ndarray) -> np.ndarray:
    """First bin of each group of neighbouring bins at least GROUP_MRAD wide."""
    starts = [0]
    for i, edge in enumerate(edges[:-1]):
        if edge - edges[starts[-1]] >= GROUP_MRAD - 1e-9:
            starts.append(i)
    return np.array(starts)


def _rounding_steps(error: np.ndarray, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Steps of about ROUNDING standard errors, (rings, n, 1) times (rings, 1, bins), float32."""
    # Where nothing scatters there is no error; any step below the rest does.
    logs = np.log(ROUNDING * np.maximum(error, 1e-12 * max(largest, 1e-30)))
    thickness = np.median(logs, axis=2, keepdims=True)
    angle = np.median(logs - thickness, axis=1, keepdims=True)
    return np.exp(thickness).astype(np.float32), np.exp(angle).astype(np.float32)


def _compress(kernel: ScatteringKernel) -> dict[str, np.ndarray]:
    batches = kernel.batch_means
    n_batches, _, n, _ = batches.shape
    mean = batches.mean(axis=0)
    error = batches.std(axis=0, ddof=1) / np.sqrt(n_batches)
    thickness_step, angle_step = _rounding_steps(error, mean.max())
    step = thickness_step.astype(float) * angle_step
    # Each difference is to the rounded value before it, so that errors do not add up.
    steps = np.zeros(mean.shape, np.int32)
    rounded = np.zeros_like(mean[:, 0])
    for i in range(n):
        steps[:, i] = np.rint((mean[:, i] - rounded) / step[:, i])
        rounded += steps[:, i] * step[:, i]
    starts, kept = _group_starts(kernel.angle_edges_mrad), _thicknesses(n)
    grouped = np.add.reduceat(batches - mean, starts, axis=-1)[:, :, kept]
    scale = np.maximum(grouped.std(axis=0), 1e-30)
    flat = (grouped / scale).reshape(n_batches, -1)
    u, s, v = np.linalg.svd(flat, full_matrices=False)
    rank = min(RANK, n_batches - 1)
    components = (s[:rank, None] * v[:rank]).reshape(rank, *grouped.shape[1:])
    # What the dropped components held goes back into the scale: the variance is kept.
    held = np.sqrt(np.mean((u[:, :rank] * s[:rank] @ v[:rank]) ** 2, axis=0)).reshape(scale.shape)
    scale /= np.maximum(held, 0.1)
    top = np.abs(components).max(axis=(1, 2, 3), keepdims=True)
    return {
        "ring_edges_mrad": kernel.ring_edges_mrad,
        "angle_edges_mrad": kernel.angle_edges_mrad,
        "mean_steps": steps,
        "thickness_step": thickness_step,
        "angle_step": angle_step,
        "lost": kernel.lost.astype(np.float32),
        "group_starts": starts.astype(np.int32),
        "component_thickness": (kept + 1).astype(np.int32),
        "components": np.rint(127 * components / top).astype(np.int8),
        "component_scale": scale.astype(np.float32),
        "scores": (u[:, :rank] * top.ravel() / 127).astype(np.float32),
    }


def _expand(arrays: dict[str, np.ndarray]) -> np.ndarray:
    step = arrays["thickness_step"].astype(float) * arrays["angle_step"]
    mean = np.cumsum(arrays["mean_steps"] * step, axis=1)
    grouped = np.einsum("bk,krng->brng", arrays["scores"], arrays["components"].astype(float))
    grouped *= arrays["component_scale"]
    kept, n = arrays["component_thickness"] - 1, mean.shape[1]
    upper = np.clip(np.searchsorted(kept, np.arange(n)), 1, max(len(kept) - 1, 1))
    if len(kept) > 1:
        share = ((np.arange(n) - kept[upper - 1]) / (kept[upper] - kept[upper - 1]))[:, None]
        grouped = (1 - share) * grouped[:, :, upper - 1] + share * grouped[:, :, upper]
    # Inside a group the deviation is shared like the width of the bins.
    widths = np.diff(arrays["angle_edges_mrad"])
    starts = arrays["group_starts"]
    sizes = np.diff(np.append(starts, len(widths)))
    weights = widths / np.repeat(np.add.reduceat(widths, starts), sizes)
    deviations = np.repeat(grouped, sizes, axis=-1) * weights
    return mean + deviations - deviations.mean(axis=0)
