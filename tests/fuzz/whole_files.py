"""Files of nonsense that are whole: containers and checksums are right, values are not."""

import json
from pathlib import Path
from random import Random

import h5py
import numpy as np

from ppiscs_jax.io import curves, kernels
from ppiscs_jax.io.hdf5 import fixed_text, new_hdf5, plain
from tests.fuzz.mutations import changed_array, changed_tree, damaged


def right_kernels(random: Random, good: list[bytes], folder: Path) -> bytes:
    """Kernels of nonsense, with checksums that are right."""
    (folder / "good.h5").write_bytes(random.choice(good))
    path = folder / "nonsense.h5"
    with new_hdf5(path, libver="latest") as file:
        file.attrs["format"] = fixed_text(kernels.FORMAT)
        for name, metadata, arrays in kernels.read_kernels(folder / "good.h5"):
            try:
                if random.random() < 0.5:
                    metadata = changed_texts(random, metadata)  # may become circular
                if random.random() < 0.7:
                    key = random.choice(list(arrays))
                    arrays[key] = changed_array(random, arrays[key])
                kernels._write(file, name, metadata, arrays)
            except (KeyError, TypeError, ValueError, OSError, OverflowError, StopIteration):
                continue
        file.attrs["kernels"] = len(file)
    return path.read_bytes()


def changed_texts(random: Random, metadata: dict) -> dict:
    """Metadata changed, that in JSON too."""
    inner = {k: json.loads(v) if v[:1] in ("{", "[") else v for k, v in _texts(metadata).items()}
    changed = changed_tree(random, {**metadata, **inner})
    return {
        k: json.dumps(v) if k in ("settings", "mistilt_mrad") else v for k, v in changed.items()
    }


def _texts(metadata: dict) -> dict[str, str]:
    return {k: v for k, v in metadata.items() if isinstance(v, str)}


def right_curves(random: Random, good: list[bytes], folder: Path) -> bytes:
    """Curves of nonsense in HDF5, with a checksum that is right."""
    (folder / "good.h5").write_bytes(random.choice(good))
    with h5py.File(folder / "good.h5") as file:
        metadata = {n: plain(v) for n, v in file.attrs.items() if n != "sha256"}
        metadata["mistilt_mrad"] = [float(v) for v in metadata["mistilt_mrad"]]
        arrays = {name: file[name][...] for name in curves.UNITS if name in file}
    if random.random() < 0.5:
        metadata = changed_tree(random, metadata)
    else:
        key = random.choice(list(arrays))
        arrays[key] = changed_array(random, arrays[key])
    try:
        curves._write_hdf5(folder / "nonsense.h5", metadata, arrays)
    except (TypeError, ValueError, OSError, OverflowError, AttributeError, RuntimeError):
        return b""
    return (folder / "nonsense.h5").read_bytes()


def of_json(random: Random, good: list[bytes], folder: Path) -> bytes:
    """JSON with other values, or damaged bytes."""
    if random.random() < 0.5:
        return damaged(random, random.choice(good), good)
    return json.dumps(changed_tree(random, json.loads(random.choice(good)))).encode()


def _object(text: str) -> dict | None:
    """A JSON object, or None where the text is none."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def of_npz(random: Random, good: list[bytes], folder: Path) -> bytes:
    """A whole .npz file with other arrays, or damaged bytes."""
    if random.random() < 0.4:
        return damaged(random, random.choice(good), good)
    (folder / "good.npz").write_bytes(random.choice(good))
    with np.load(folder / "good.npz") as file:
        arrays = dict(file)
    for _ in range(random.choice((1, 1, 2))):
        key = random.choice(list(arrays))
        if random.random() < 0.1:
            del arrays[key]
        elif arrays[key].dtype.kind == "U":
            text = str(arrays[key])
            if tree := _object(text):  # text that was put there before is none
                text = json.dumps(changed_tree(random, tree))
            arrays[key] = np.array(random.choice((text, text * 2, "x" * 200_000, "[" * 5000)))
        else:
            arrays[key] = changed_array(random, arrays[key])
    np.savez_compressed(folder / "nonsense.npz", **arrays)
    return (folder / "nonsense.npz").read_bytes()
