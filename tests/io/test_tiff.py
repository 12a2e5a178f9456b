"""Damaged TIFF files are refused before a library follows their directories."""

import struct

import numpy as np
import pytest
import tifffile

from ppiscs_jax import InputError
from ppiscs_jax.counting.images import load_image
from ppiscs_jax.io.tiff import MOST_ENTRIES, check_structure

PIXELS = np.arange(3 * 32 * 40, dtype=np.uint16).reshape(3, 32, 40)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True},
        {"compression": "zlib", "tile": (16, 16)},
        {"description": "words"},
    ],
    ids=str,
)
def test_whole_files(tmp_path, options):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PIXELS, **{"photometric": "minisblack", **options})
    check_structure(path)
    found = load_image(path, pixel_angstrom=0.2, frame=2)
    np.testing.assert_array_equal(found.pixels, PIXELS[2])


def directory(entries: bytes, number: int, following: int) -> bytes:
    """A directory as TIFF 6.0 has it: number of entries, entries, offset of the next directory."""
    return struct.pack("<H", number) + entries + struct.pack("<I", following)


WIDTH = struct.pack("<HHII", 256, 4, 1, 32)
FAR = struct.pack("<HHII", 273, 4, 100, 4000)
CASES = {
    "repeat": (directory(WIDTH, 1, 8), "repeat"),
    "overlap": (directory(WIDTH, 1, 12) + bytes(40), "overlap|entries"),
    "no entries": (directory(b"", 0, 0), "0 entries"),
    "many entries": (directory(WIDTH * 600, 600, 0), f"to {MOST_ENTRIES}"),
    "values beyond the end": (directory(FAR, 1, 0), "tag 273"),
    "reduced images": (
        directory(struct.pack("<HHII", 330, 4, 200, 30), 1, 0) + bytes(1000),
        "200 reduced",
    ),
    "far": (directory(WIDTH, 1, 5000), "beyond its end"),
    "cut": (directory(WIDTH, 1, 0)[:9], "not a TIFF file"),
}


@pytest.mark.parametrize(("content", "message"), CASES.values(), ids=CASES)
def test_damaged_structures(tmp_path, content, message):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + content)
    with pytest.raises(InputError, match=message):
        check_structure(path)


def test_a_small_file_of_many_pixels(tmp_path):
    """Zeros compress a thousandfold; images of microscopes do not."""
    path = tmp_path / "a.tif"
    zeros = np.zeros((1, 8192, 8192), np.float32)
    tifffile.imwrite(path, zeros, compression="zlib", photometric="minisblack")
    assert path.stat().st_size < 2**20
    with pytest.raises(InputError, match="a file of its size holds"):
        load_image(path, pixel_angstrom=0.2)
