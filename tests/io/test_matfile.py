"""Variables of .mat files, against those that SciPy writes."""

import struct
import time
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from ppiscs_jax import InputError
from ppiscs_jax.io.matfile import Other, described, read_mat

CELLS = np.empty((1, 3), object)
CELLS[0] = [np.eye(2), "text", np.arange(3)]
VARIABLES = {
    "floats": np.arange(6.0).reshape(2, 3) / 7,
    "single": np.float32([[1.5, 2.5]]),
    "cube": np.arange(24.0).reshape(2, 3, 4),
    "bytes": np.uint8([[1], [2], [3]]),
    "longs": np.array([[-(2**40), 2**40]]),
    "empty": np.zeros((0, 3)),
    "yes": np.array([[True, False]]),
    "nested": {"a": np.eye(3), "cells": CELLS},
}


@pytest.mark.parametrize("packed", [False, True])
def test_what_scipy_writes_is_read(tmp_path, packed):
    savemat(tmp_path / "x.mat", VARIABLES, do_compression=packed)
    found = read_mat(tmp_path / "x.mat")
    assert list(found) == list(VARIABLES)
    for name in list(VARIABLES)[:-1]:
        np.testing.assert_array_equal(found[name], VARIABLES[name])
        if name != "yes":
            assert found[name].dtype == VARIABLES[name].dtype
    np.testing.assert_array_equal(found["nested"]["a"], np.eye(3))
    first, text, last = found["nested"]["cells"]
    np.testing.assert_array_equal(first, np.eye(2))
    assert text == Other("text", (1, 4))
    np.testing.assert_array_equal(last, [[0, 1, 2]])


def test_other_kinds_are_told(tmp_path):
    two = np.zeros((2, 1), dtype=[("a", object)])
    savemat(tmp_path / "x.mat", {"z": 1j * np.eye(2), "t": "word", "s": two, "c": CELLS})
    told = {name: described(value) for name, value in read_mat(tmp_path / "x.mat").items()}
    assert told == {"z": "2×2 others", "t": "1×4 text", "s": "2×1 struct", "c": "cell of 3"}


def test_big_endian(tmp_path):
    """As old machines wrote: every number of the file the other way round."""
    elements = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 2)
    elements += struct.pack(">HH4s", 1, 1, b"x\0\0\0") + struct.pack(">IIdd", 9, 16, 0.5, 0.25)
    content = b"MATLAB 5.0".ljust(124) + b"\x01\0MI" + struct.pack(">II", 14, len(elements))
    (tmp_path / "x.mat").write_bytes(content + elements)
    assert read_mat(tmp_path / "x.mat")["x"].tolist() == [[0.5, 0.25]]


def matrix(*elements):
    return struct.pack("<II", 14, sum(map(len, elements))) + b"".join(elements)


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def array(of_class, shape, *rest):
    flags = element(6, struct.pack("<II", of_class, 0))
    return matrix(
        flags, element(5, struct.pack(f"<{len(shape)}i", *shape)), element(1, b"x"), *rest
    )


def nested(depth):
    cell = array(6, (0, 0), element(9, b""))
    for _ in range(depth):
        cell = array(1, (1, 1), cell)
    return cell


HOSTILE = {
    "too large": (array(6, (2**30, 2**30)), "an array of 2 dimensions"),
    "negative": (array(6, (-1, 1), element(9, b"")), "an array of 2 dimensions"),
    "too few values": (array(6, (3, 1), element(9, bytes(8))), "1 values, not 3"),
    "no numbers": (array(6, (1, 1), element(99, bytes(8))), "numbers of type 99"),
    "deep": (nested(20), "nested more than"),
    "many cells": (array(1, (1, 20_000), *[matrix()] * 20_000), "more than 10000 arrays"),
    "long": (struct.pack("<II", 14, 2**31), "the file ends too early"),
    "no matrix": (element(9, bytes(8)), "an element of type 9"),
    "bomb": (element(15, zlib.compress(bytes(2**28), 9)), "bytes, unpacked"),
    "no zlib": (element(15, b"hello"), "not a .mat file"),
    "in itself": (element(15, zlib.compress(element(15, b""))), "an element of type 15"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, name):
    content, said = HOSTILE[name]
    (tmp_path / "x.mat").write_bytes(b"MATLAB 5.0".ljust(124) + b"\0\x01IM" + content)
    start = time.process_time()
    with pytest.raises(InputError, match=said):
        read_mat(tmp_path / "x.mat")
    assert time.process_time() - start < 5


def test_files_of_other_versions_are_refused(tmp_path):
    (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3".ljust(512) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match="save it with -v7"):
        read_mat(tmp_path / "x.mat")
    savemat(tmp_path / "x.mat", {"x": 1.0}, format="4")
    with pytest.raises(InputError, match=r"not a \.mat file of MATLAB 5 to 7\.2"):
        read_mat(tmp_path / "x.mat")
