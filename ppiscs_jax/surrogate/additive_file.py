"""An additive model in few bytes, as shipped: a .npz without pickles.

For each group and voltage, coefficients are counted in ROUNDING times the largest cross-section
of a detector WIDTH_MRAD wide there, written in principal components of thickness and cosines of
aperture and rmsd, in which most are small, and rounded. Read again, they are put in falling
order, from which rounding may have moved them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, save_npz
from ppiscs_jax.io.npz import reading_npz
from ppiscs_jax.io.schema import must_fit
from ppiscs_jax.surrogate.additive import AdditiveModel, trained_range
from ppiscs_jax.surrogate.additive_schema import (
    AXES,
    FIELDS,
    HALF,
    LARGEST_ANGSTROM2,
    OF_GROUPS,
    PARTS,
    WHOLE,
    axes_of,
    check_whole,
    of_group,
    on_device,
)
from ppiscs_jax.surrogate.splines import SplineAxis

FORMAT = "ppiscs-jax additive 5"
WIDTH_MRAD = 10.0
ROUNDING = 8e-3
LEAST_SCALE = 1e-3
"""If almost nothing is scattered, steps are this fraction of the median of other angles."""

LEFT_OUT = 0.3
"""Rms of what the components leave out, in steps of the rounding (whose own is 0.29)."""

THIN = 0.75
"""Steps are finer where curves begin: they go with this power of the mean curve."""

Arrays = dict[str, np.ndarray]


def save_additive(path: str | Path, model: AdditiveModel, about: str) -> None:
    """Write a model to a .npz file, whole or not at all; `about` is text that goes with it.

    Raises:
        InputError: the path cannot be written.
    """
    if problem := output_problem(path, (".npz",)):
        raise InputError(problem)
    arrays: dict[str, Any] = {name: np.asarray(getattr(model, name)) for name in FIELDS}
    for name in AXES:
        axis = getattr(model, name)
        arrays |= {
            f"{name}_knots": np.asarray(axis.knots),
            f"{name}_degree": np.asarray(axis.degree),
        }
    arrays["unscattered"] = np.asarray(model.unscattered, np.float16)
    # Where along the axis each coefficient belongs.
    angles = np.convolve(np.asarray(model.angle.knots)[1:-1], [0.5, 0.5], "valid")
    for group, coefficients in enumerate(np.asarray(model.scattered, float)):
        packed = {f"{n}_{group}": a for n, a in _packed(coefficients, angles).items()}
        must_fit(of_group(group, model.scattered.shape), packed, "additive model")
        arrays |= packed
    must_fit(WHOLE, arrays, "additive model")
    save_npz(path, format=np.array(FORMAT), about=np.array(about), **arrays)


def load_additive(path: str | Path, specimen: tuple[int, int] | None = None) -> AdditiveModel:
    """A model from a file of `save_additive`.

    Args:
        path: the file.
        specimen: atomic number and code of the zone axis of the only group that is wanted, which
            takes little time to read. All are read where it is not among them, or None.

    Raises:
        InputError: the file holds no such model, or is damaged.
        FileNotFoundError: there is no such file.
    """
    with reading_packed(path) as (whole, axes, read_group):
        sizes = axes["aperture"].size, axes["rmsd"].size
        shape = check_whole(whole, axes)
        codes = np.stack([whole["atomic_numbers"], whole["zone_codes"]], axis=1)
        groups = np.arange(shape[0])
        if specimen is not None and np.any(same := np.all(codes == specimen, axis=1)):
            groups = np.flatnonzero(same)
            whole = whole | {name: whole[name][groups] for name in OF_GROUPS}
        scattered = np.empty((len(groups), *shape[1:]), np.float32)
        for part, group in zip(scattered, groups.tolist(), strict=True):
            unpacked(read_group(group), *sizes, out=part)
            if not np.max(part) <= LARGEST_ANGSTROM2:
                raise ValueError(f"cross-sections above {LARGEST_ANGSTROM2:g} Å²")
        fields: dict[str, Any] = {name: on_device(whole[name]) for name in FIELDS} | axes
        made_for = ("atomic_numbers", "zone_codes", "voltages_kv", "rmsd_ends", "aperture", "angle")
        return AdditiveModel(
            trained_range=trained_range(*(fields[name] for name in made_for)),
            scattered=on_device(scattered),
            unscattered=on_device(whole["unscattered"].astype(np.float32)),
            **fields,
        )


@contextmanager
def reading_packed(
    path: str | Path,
) -> Iterator[tuple[Arrays, dict[str, SplineAxis], Callable[[int], Arrays]]]:
    """The content of a file of `save_additive` as it is stored, for other encodings of it.

    Gives the arrays that all groups share, the axes, and a function that reads the arrays `PARTS`
    of one group, by its index, which `unpacked` turns into coefficients.

    Raises:
        InputError: the file holds no such model, or is damaged.
        FileNotFoundError: there is no such file.
    """
    with reading_npz(path, FORMAT, "an additive model") as arrays:
        whole = arrays.read(WHOLE)
        axes = axes_of(whole)
        shape = check_whole(whole, axes)

        def read_group(group: int) -> Arrays:
            read = arrays.read(of_group(group, shape))
            return {name: read[f"{name}_{group}"] for name in PARTS}

        yield whole, axes, read_group


def _packed(coefficients: np.ndarray, angles: np.ndarray) -> Arrays:
    """Arrays of one group, whose coefficients are (voltages, apertures, rmsd, angles, k)."""
    largest = coefficients.max(axis=(1, 2, 4))
    low, high = (
        np.array([np.interp(np.clip(angles + side, *ends), angles, v) for v in largest])
        for side, ends in (
            (-WIDTH_MRAD / 2, (angles[0], angles[-1] - WIDTH_MRAD)),
            (WIDTH_MRAD / 2, (angles[0] + WIDTH_MRAD, angles[-1])),
        )
    )
    between = low - high
    least = LEAST_SCALE * np.median(between, axis=1, keepdims=True)
    angle_scale = ROUNDING * np.maximum(between, least)
    x = coefficients / angle_scale[:, None, None, :, None]
    mean = np.mean(x, axis=(1, 2, 3))
    thickness_scale = np.maximum(mean / mean.max(axis=1, keepdims=True), 1e-6) ** THIN
    x = x / thickness_scale[:, None, None, None, :]
    voltages, apertures, rmsd = x.shape[:3]
    x = _both(apertures, rmsd).T @ x.reshape(voltages, apertures * rmsd, -1)
    rows = x.reshape(voltages, -1, mean.shape[1])
    power, vectors = np.linalg.eigh(rows.swapaxes(1, 2) @ rows)
    left = power.sum(axis=1, keepdims=True) - np.cumsum(power[:, ::-1], axis=1)
    rank = 1 + int(np.max(np.argmax(left / rows[0].size < LEFT_OUT**2, axis=1)))
    basis = vectors[:, :, ::-1][..., :rank].astype(np.float32)
    steps = np.rint(rows @ basis).astype(np.int32)
    steps = steps.reshape(voltages, apertures * rmsd, len(angles), rank).swapaxes(2, 3)
    # Differences along the angle, which goes last: what is often 0 then stands together.
    high, low = np.divmod(np.diff(steps, axis=-1, prepend=0) + HALF, 2 * HALF)
    if np.abs(high).max() > np.iinfo(np.int16).max:
        raise OverflowError("additive model: coefficients too large for the file's whole numbers")
    return {
        "high": high.astype(np.int16),
        "low": (low - HALF).astype(np.int16),
        "basis": basis,
        "angle_scale": angle_scale.astype(np.float32),
        "thickness_scale": thickness_scale.astype(np.float32),
    }


def unpacked(
    arrays: Arrays, apertures: int, rmsd: int, out: np.ndarray | None = None
) -> np.ndarray:
    """The coefficients of `_packed`, in falling order; written to `out` if it is given."""
    # In place, because fresh memory for each step takes as long as the arithmetic.
    steps = np.multiply(arrays["high"], 2 * HALF, dtype=np.int32)
    steps += arrays["low"]
    np.cumsum(steps, axis=-1, out=steps)
    voltages, _, rank, angles = steps.shape
    scaled = steps.astype(np.float32)
    scaled *= arrays["angle_scale"][:, None, None]
    x = _both(apertures, rmsd) @ scaled.reshape(voltages, apertures * rmsd, -1)
    basis = (arrays["basis"] * arrays["thickness_scale"][:, :, None]).swapaxes(1, 2)
    x = x.reshape(voltages, -1, rank, angles).swapaxes(2, 3)
    flat = None if out is None else out.reshape(*x.shape[:3], -1)
    x = np.matmul(x, basis[:, None], out=flat)
    np.maximum(x, 0, out=x)
    np.maximum.accumulate(x[:, :, ::-1], axis=2, out=x[:, :, ::-1])
    return x.reshape(voltages, apertures, rmsd, angles, -1)


def _both(apertures: int, rmsd: int) -> np.ndarray:
    """Matrix from cosines of aperture and rmsd to values."""
    return np.kron(_cosines(apertures), _cosines(rmsd)).astype(np.float32)


def _cosines(size: int) -> np.ndarray:
    """The orthonormal cosine transform's matrix: one cosine a column."""
    x = (np.arange(size)[:, None] + 0.5) * np.arange(size) * np.pi / size
    matrix = np.cos(x) * np.sqrt(2 / size)
    matrix[:, 0] /= np.sqrt(2)
    return matrix
