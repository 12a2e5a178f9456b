"""The readers of the package: good files for each, ways to damage them, what must hold after."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import tifffile
from scipy.io import savemat

from ppiscs_jax.campaign import inspect
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.config import load_config
from ppiscs_jax.counting.columns import read_positions as load_positions
from ppiscs_jax.counting.images import load_image
from ppiscs_jax.inverse.config import FitConfig
from ppiscs_jax.io import curves, kernels, library, settings_csv
from ppiscs_jax.settings import Settings
from ppiscs_jax.surrogate import additive_file, evaluate, network, published, table
from ppiscs_jax.surrogate.densenet import DenseNet
from ppiscs_jax.surrogate.predict import load_surrogate
from ppiscs_jax.surrogate.recipe import Recipe
from tests.campaign_samples import SMALL, as_toml
from tests.curve_samples import made_up_curves
from tests.fuzz.mutations import damaged
from tests.fuzz.samples import (
    FIT,
    RECIPE,
    SETTINGS,
    TRAINING,
    made_up_held_out,
    made_up_kernel,
    made_up_layers,
    made_up_model,
)
from tests.fuzz.whole_files import of_json, of_npz, right_curves, right_kernels

Mutate = Callable[[Random, list[bytes], Path], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader, and how files for it are made.

    Attributes:
        suffix: of its files.
        make: writes good files to a folder, and gives their contents.
        read: reads a file, and checks what it accepted.
        mutate: a bad file from good ones; it may use the folder. By default bytes are damaged.
    """

    suffix: str
    make: Callable[[Path], list[bytes]]
    read: Callable[[Path], Any]
    mutate: Mutate = lambda random, good, folder: damaged(random, random.choice(good), good)


def written(*writers: Callable[[Path], Any], suffix: str) -> Callable[[Path], list[bytes]]:
    """Contents of the files that functions write."""

    def make(folder: Path) -> list[bytes]:
        contents = []
        for write in writers:
            path = folder / f"good{suffix}"
            write(path)
            contents.append(path.read_bytes())
        return contents

    return make


def read_curves(path: Path) -> None:
    found = curves.load_curves(path)
    assert found
    curves.save_curves(path.with_name(f"again{path.suffix}"), found)
    for curve in found:
        assert np.all(np.isfinite(curve.ppiscs))
        assert curve.n_atoms.dtype.kind == "i"
        assert np.all(np.diff(curve.n_atoms) > 0)


def load_library(path: Path) -> None:
    found = library.load_library(path)
    assert len(found.ppiscs) == len(found.n_atoms) == len(np.unique(found.n_atoms))
    assert found.n_atoms.min() >= 1
    assert found.n_atoms.max() <= 1000
    there = found.ppiscs[~np.isnan(found.ppiscs)]
    assert len(there)
    assert np.all(abs(there) <= 1e12)
    if found.standard_error is not None:
        assert len(found.standard_error) == len(found.ppiscs)
        assert not np.any(found.standard_error < 0)


def read_sidecar(path: Path) -> None:
    """The damaged file is the sidecar of a library that is whole."""
    beside = path.with_name("beside.txt")
    library.save_library(beside, made_up_curves(4)[0])
    beside.with_name("beside.txt.settings.json").write_bytes(path.read_bytes())
    load_library(beside)


def make_sidecar(folder: Path) -> list[bytes]:
    library.save_library(folder / "beside.txt", made_up_curves(4)[0])
    return [(folder / "beside.txt.settings.json").read_bytes()]


def read_settings(path: Path) -> None:
    rows, lines = settings_csv.read_settings(path)
    assert len(rows) == len(lines) > 0
    for row in rows[:100]:
        Settings.from_vector(row)


def read_kernels(path: Path) -> None:
    """All that reads kernels; what one accepts, the others do."""
    found = kernels.load_kernels(path)
    inspect.contents(path)
    if found:
        table.load_table([path])
    for kernel in found.values():
        assert np.all(np.isfinite(kernel.batch_means))
        assert abs(kernel.batch_means).max() < 1e3


def make_kernels(folder: Path) -> list[bytes]:
    contents = []
    for names in ([0.085], [0.07, 0.1]):
        kernels.save_kernels(folder / "k.h5", {f"k{r}": made_up_kernel(r) for r in names})
        contents.append((folder / "k.h5").read_bytes())
    return contents


def save_network(path: Path) -> None:
    network.save_network(path, DenseNet(4, 3, 5), made_up_layers(), TRAINING, "made up")


def read_network(path: Path) -> None:
    model = load_surrogate(str(path))
    for layer in getattr(model, "params", {}).values():
        assert all(np.all(np.isfinite(values)) for values in layer.values())


def read_additive(path: Path) -> None:
    model = load_surrogate(str(path))
    assert np.all(np.isfinite(model.scattered))
    assert np.all(np.diff(model.scattered, axis=4) <= 0)


def read_published(path: Path) -> None:
    net, params = published.load_published(path)
    assert 2 <= net.layers == len(params)
    for layer in params.values():
        assert all(np.all(np.isfinite(values)) for values in layer.values())


def read_held_out(path: Path) -> None:
    found = evaluate.load_held_out(path)
    assert found.x.shape[:2] == found.ppiscs.shape[:2]
    for x in found.x.reshape(-1, 9)[:20]:
        Settings.from_vector(x)


def read_image(path: Path) -> None:
    found = load_image(path, pixel_angstrom=0.2, frame=0)
    assert found.pixels.ndim == 2
    assert found.pixel_angstrom == 0.2


def read_positions(path: Path) -> None:
    found = load_positions(path)
    assert found.ndim == 2
    assert np.all(np.isfinite(found))


def of_model(model: type) -> Callable[[Path], Any]:
    return lambda path: load_config(path, model)


def texts(*contents: str) -> Callable[[Path], list[bytes]]:
    return lambda folder: [content.encode() for content in contents]


def _save_two(path: Path) -> Any:
    return curves.save_curves(path, made_up_curves(5))


def _save_uneven(path: Path) -> Any:
    """Curves of a detector with a radial sensitivity."""
    sensitivity = np.array([[0.0, 60.0, 200.0], [0.0, 0.9, 1.0]])
    return curves.save_curves(
        path, [replace(c, sensitivity=sensitivity) for c in made_up_curves(3)]
    )


def _save_one(path: Path) -> Any:
    return curves.save_curves(path, made_up_curves(3)[:1])


def _old_curves(path: Path) -> None:
    """As format 1 was written: text of variable length."""
    metadata, arrays = curves._pack(made_up_curves(3))
    with h5py.File(path, "w") as file:
        file.attrs.update(metadata)
        for name, array in arrays.items():
            file.create_dataset(name, data=array).attrs["unit"] = curves.UNITS[name]


def _mat(**options: Any) -> Callable[[Path], Any]:
    return lambda path: savemat(path, {"lib": np.arange(1.0, 6.0)[:, None]}, **options)


def _mat_pairs(path: Path) -> None:
    savemat(path, {"lib": np.array([[1, 0.5], [2, 0.75], [3, 0.8]])})


def _published(path: Path) -> None:
    published.save_published(path, DenseNet(4, 3, 5), made_up_layers())


def _published_compressed(path: Path) -> None:
    layers = made_up_layers().values()
    weights, bias = np.empty((1, 3), object), np.empty((1, 3), object)
    for i, layer in enumerate(layers):
        weights[0, i], bias[0, i] = layer["kernel"], layer["bias"][None]
    model = {"weights": weights, "bias": bias, "x_sft": np.zeros((1, 9)), "x_sc": np.ones((1, 9))}
    savemat(path, {"model": model}, do_compression=True)


def _image_npy(path: Path) -> None:
    np.save(path, np.arange(320.0).reshape(16, 20))


def _image_tiff(**options: Any) -> Callable[[Path], Any]:
    pixels = np.arange(640, dtype=np.float32).reshape(2, 16, 20)
    return lambda path: tifffile.imwrite(path, pixels, **options)


def _image_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"] = np.arange(320.0).reshape(16, 20)
        file.attrs["pixel_angstrom"] = 0.1


def _image_mat(path: Path) -> None:
    obs = np.arange(320.0).reshape(16, 20)
    savemat(path, {"input": {"obs": obs, "dx": 0.1, "coordinates": np.ones((3, 2))}})


_TEXTS = texts(
    "0.5\n1.25\nNaN\n2\n3\n", "1 0.5\n2\t1.25\n4 2\n", "0.1 0.2 0.3\n", "1\t0,5\n2\t1,25\n"
)
_CSVS = texts("n,value\n1,0.5\n2, 1.25\n3,\n4,2\n", "# measured\n1;0,5\n2;1,25\n")

READERS: dict[str, Reader] = {
    "curves csv": Reader(
        ".csv", written(_save_two, _save_one, _save_uneven, suffix=".csv"), read_curves
    ),
    "curves json": Reader(
        ".json", written(_save_two, _save_one, _save_uneven, suffix=".json"), read_curves, of_json
    ),
    "curves h5": Reader(
        ".h5", written(_save_two, _save_one, _save_uneven, suffix=".h5"), read_curves
    ),
    "curves h5, right checksum": Reader(
        ".h5", written(_save_two, _save_uneven, suffix=".h5"), read_curves, right_curves
    ),
    "library txt": Reader(".txt", _TEXTS, load_library),
    "library csv": Reader(".csv", _CSVS, load_library),
    "library mat": Reader(
        ".mat", written(_mat(), _mat(do_compression=True), _mat_pairs, suffix=".mat"), load_library
    ),
    "library sidecar": Reader(".sidecar", make_sidecar, read_sidecar, of_json),
    "settings csv": Reader(".csv", texts(SETTINGS, SETTINGS.replace(",", ";")), read_settings),
    "kernels": Reader(".h5", make_kernels, read_kernels),
    "kernels, right checksum": Reader(".h5", make_kernels, read_kernels, right_kernels),
    "additive npz": Reader(
        ".npz",
        written(
            lambda p: additive_file.save_additive(p, made_up_model(), "made up"), suffix=".npz"
        ),
        read_additive,
        of_npz,
    ),
    "network npz": Reader(".npz", written(save_network, suffix=".npz"), read_network, of_npz),
    "network mat": Reader(
        ".mat", written(_published, _published_compressed, suffix=".mat"), read_published
    ),
    "held-out npz": Reader(
        ".npz",
        written(lambda p: evaluate.save_held_out(p, made_up_held_out()), suffix=".npz"),
        read_held_out,
        of_npz,
    ),
    "fit toml": Reader(".toml", texts(FIT), of_model(FitConfig)),
    "campaign toml": Reader(".toml", texts(as_toml(SMALL)), of_model(Campaign)),
    "image npy": Reader(".npy", written(_image_npy, suffix=".npy"), read_image),
    "image tif": Reader(
        ".tif",
        written(
            _image_tiff(imagej=True, resolution=(5, 5), metadata={"unit": "nm"}),
            _image_tiff(compression="zlib", photometric="minisblack", resolution=(2e8, 2e8)),
            _image_tiff(bigtiff=True, metadata={"axes": "TYX"}),
            suffix=".tif",
        ),
        read_image,
    ),
    "image h5": Reader(".h5", written(_image_h5, suffix=".h5"), read_image),
    "image mat": Reader(".mat", written(_image_mat, suffix=".mat"), read_image),
    "positions csv": Reader(
        ".csv", texts("x_angstrom,y_angstrom\n1,2\n3.5,4\n", "1,2\n3,4.5\n"), read_positions
    ),
    "recipe toml": Reader(".toml", texts(RECIPE), of_model(Recipe)),
}
"""By name. Old files of curves, whose texts another process reads, take half a second each: they
are apart."""

SLOW_READERS = {
    "curves h5, format 1": Reader(".h5", written(_old_curves, suffix=".h5"), read_curves)
}
