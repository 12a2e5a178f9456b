"""Reading images: pixel sizes in any unit, and clear messages for what is no ADF image."""

import contextlib
import sys

import h5py
import numpy as np
import pytest
import tifffile
from scipy.io import savemat

from ppiscs_jax.counting.images import AdfImage, load_image, normalise
from ppiscs_jax.errors import InputError, MissingFileError

PIXELS = np.arange(20 * 24, dtype=np.float32).reshape(20, 24) / 1000


def test_npy_needs_a_pixel_size(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, PIXELS)
    with pytest.raises(InputError, match="pixel_angstrom"):
        load_image(path)
    image = load_image(path, pixel_angstrom=0.12)
    assert image.pixel_angstrom == 0.12
    np.testing.assert_array_equal(image.pixels, PIXELS)


@pytest.mark.parametrize(("unit", "edge"), [("nm", 0.02), ("Angstrom", 0.2), ("pm", 20.0)])
def test_pixel_size_of_imagej(tmp_path, unit, edge):
    """TIFF keeps resolutions as ratios of 32-bit integers, whose rounding is below 1e-6."""
    path = tmp_path / "a.tif"
    resolution = (1 / edge, 1 / edge)
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=resolution, metadata={"unit": unit})
    assert load_image(path).pixel_angstrom == pytest.approx(0.2, rel=1e-6)


def test_pixel_size_of_ome(tmp_path):
    path = tmp_path / "a.ome.tif"
    metadata = {"PhysicalSizeX": 0.2, "PhysicalSizeXUnit": "Å",
                "PhysicalSizeY": 0.2, "PhysicalSizeYUnit": "Å"}  # fmt: skip
    tifffile.imwrite(path, PIXELS, metadata=metadata)
    assert load_image(path).pixel_angstrom == pytest.approx(0.2)


def test_resolution_of_a_printer_is_no_pixel_size(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, resolution=(72, 72), resolutionunit="INCH")
    with pytest.raises(InputError, match="how large its pixels are"):
        load_image(path)


def test_pixels_must_be_squares(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=(5, 4), metadata={"unit": "Angstrom"})
    with pytest.raises(InputError, match="squares"):
        load_image(path)


def test_hdf5(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("scan/adf", data=PIXELS).attrs["pixel_angstrom"] = 0.3
    assert load_image(path).pixel_angstrom == 0.3
    with h5py.File(path, "a") as file:
        file["scan/bf"] = PIXELS
    with pytest.raises(InputError, match="scan/adf, scan/bf"):
        load_image(path)
    assert load_image(path, name="scan/adf").pixels.shape == (20, 24)


def test_stacks_need_a_frame(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.stack([PIXELS, 2 * PIXELS]))
    with pytest.raises(InputError, match="2 images"):
        load_image(path, pixel_angstrom=0.2)
    image = load_image(path, pixel_angstrom=0.2, frame=1)
    np.testing.assert_array_equal(image.pixels, 2 * PIXELS)
    with pytest.raises(InputError, match="frame = 2"):
        load_image(path, pixel_angstrom=0.2, frame=2)


def test_input_of_statstem(tmp_path):
    """StatSTEM puts the first pixel at (dx, dx); here it is the origin."""
    path = tmp_path / "a.mat"
    places = np.array([[0.22, 0.44, 1], [1.22, 2.22, 1]])
    savemat(path, {"input": {"obs": PIXELS, "dx": 0.22, "coordinates": places}})
    image = load_image(path)
    assert image.pixel_angstrom == 0.22
    np.testing.assert_allclose(image.positions_angstrom, [[0, 0.22], [1, 2]])


def test_without_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rsciio.digitalmicrograph", None)
    path = tmp_path / "a.dm4"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"ppiscs-jax\[io\]"):
        load_image(path)


def test_microscope_file(tmp_path):
    """An MRC2014 file, written by its specification: cell edges are in Å."""
    pytest.importorskip("rsciio.mrc")
    rows, columns = PIXELS.shape
    header = np.zeros(256, np.int32)
    header[:4] = columns, rows, 1, 2  # mode 2: numbers in single precision
    header[7:10] = columns, rows, 1
    header[10:13] = np.array([0.2 * columns, 0.2 * rows, 0.2], np.float32).view(np.int32)
    header[16:19] = 1, 2, 3
    header[52] = np.frombuffer(b"MAP ", np.int32)[0]
    header[53] = 0x4444
    path = tmp_path / "a.mrc"
    path.write_bytes(header.tobytes() + PIXELS.tobytes())
    image = load_image(path)
    assert image.pixel_angstrom == pytest.approx(0.2)
    np.testing.assert_array_equal(image.pixels, PIXELS)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((20, 20, 3), np.uint8), "colour image"),
        (np.full((20, 20), np.nan), "not finite"),
        (np.zeros((4, 4, 20, 20)), "4-D data"),
        (np.zeros((20, 20), complex), "real numbers"),
        (np.zeros((20, 20)), "all pixels are the same"),
        (np.zeros((2, 20)), "16 × 16 or more"),
    ],
)
def test_no_adf_image(pixels, message):
    with pytest.raises(InputError, match=message):
        AdfImage(pixels, 0.2)


def test_pixel_size_must_be_possible():
    with pytest.raises(InputError, match=r"pixel_angstrom = 20 Å"):
        AdfImage(PIXELS, 20.0)


def test_normalised_to_the_detector():
    image = normalise(AdfImage(100 + 50 * PIXELS, 0.2), vacuum=100.0, detector=150.0)
    assert image.normalised
    np.testing.assert_allclose(image.pixels, PIXELS, atol=1e-6)
    with pytest.raises(InputError, match="at most 1"):
        normalise(AdfImage(PIXELS, 0.2), vacuum=0.0, detector=0.1)
    with pytest.raises(InputError, match="above vacuum"):
        normalise(AdfImage(PIXELS, 0.2), vacuum=1.0, detector=0.5)


def test_files_that_are_none(tmp_path):
    with pytest.raises(MissingFileError):
        load_image(tmp_path / "a.npy")
    for name in ("a.npy", "a.tif", "a.h5", "a.mat"):
        (tmp_path / name).write_bytes(b"nothing that could be an image")
        with pytest.raises(InputError, match=name):
            load_image(tmp_path / name, pixel_angstrom=0.2)
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(InputError, match="must end in one of"):
        load_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_damaged_files(tmp_path, suffix):
    """Three hundred damaged files: an image, or an error in one line that names the path."""
    import tifffile

    path = tmp_path / f"image{suffix}"
    pixels = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    np.save(path, pixels) if suffix == ".npy" else tifffile.imwrite(path, pixels)
    whole, random = path.read_bytes(), np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, min(len(whole), 200), 2):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            load_image(path, pixel_angstrom=0.1, normalised=True)


def test_a_header_that_declares_too_much(tmp_path):
    """Refused before memory is taken."""
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(800))
    with pytest.raises(InputError, match=r"large\.npy: not a \.npy file"):
        load_image(path, pixel_angstrom=0.1)


def test_hyperspy_file(tmp_path):
    """Data of other dimensions are named, not read: these would fill 64 GB."""
    hspy = pytest.importorskip("rsciio.hspy")

    def write(path, shape):
        axes = [
            {
                "size": size,
                "scale": 0.02,
                "offset": 0.0,
                "units": "nm",
                "navigate": i < len(shape) - 2,
            }
            for i, size in enumerate(shape)
        ]
        signal = {
            "data": np.zeros(shape),
            "axes": axes,
            "tmp_parameters": {},
            "attributes": {"_lazy": False},
        }
        names = ("metadata", "original_metadata", "learning_results", "models", "package_info")
        signal |= {name: {} for name in names}
        signal["metadata"] = {"General": {"title": "survey"}, "Signal": {"signal_type": ""}}
        hspy.file_writer(str(path), signal)
        return path

    def declare(path, shape):
        with h5py.File(path, "a") as file:
            group = file["Experiments/survey"]
            del group["data"]
            group.create_dataset("data", shape, float, chunks=(*[1] * (len(shape) - 2), 128, 128))
        return path

    with h5py.File(write(tmp_path / "a.hspy", PIXELS.shape), "a") as file:
        file["Experiments/survey/data"][...] = PIXELS
    image = load_image(tmp_path / "a.hspy")
    assert image.pixel_angstrom == pytest.approx(0.2)
    np.testing.assert_allclose(image.pixels, PIXELS)

    path = declare(write(tmp_path / "b.hspy", (2, 2, 2, 2)), (512, 512, 128, 256))
    with pytest.raises(InputError, match=r"no image but data of shape \(512, 512, 128, 256\)"):
        load_image(path)
    path = declare(write(tmp_path / "c.hspy", (2, 2, 2)), (1000, 2048, 2048))
    with pytest.raises(InputError, match="4194304000 values; at most"):
        load_image(path)
