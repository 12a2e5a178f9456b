"""Arrays of .npz files, good and hostile."""

import io
import zipfile

import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.io.npz import npz_format, reading_npz
from ppiscs_jax.io.schema import Numbers, Schema, must_fit

SCHEMA = Schema(
    {
        "x": Numbers(("rows", "2"), "Å", 0, 10),
        "edges": Numbers(("rows+1",), rising=True),
        "n": Numbers(("rows",), "atoms", 1, 5, kinds="iu"),
        "error": Numbers(("rows",), low=0, gaps=True, optional=True),
    },
    longest={"rows": 100},
    most=300,
)
GOOD = {
    "x": np.arange(6.0).reshape(3, 2),
    "edges": np.arange(4.0),
    "n": np.array([1, 2, 3]),
    "error": np.array([0.1, np.nan, 0.3]),
}


def read(path):
    with reading_npz(path, "test 1", "a test") as arrays:
        return arrays.read(SCHEMA)


def written(tmp_path, **changes):
    path = tmp_path / "x.npz"
    arrays = {"format": np.array("test 1"), **GOOD, **changes}
    np.savez_compressed(path, **{n: a for n, a in arrays.items() if a is not None})
    return path


def with_member(tmp_path, name, content):
    """The file with one member of any bytes."""
    path = written(tmp_path, **{name: None})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", content)
    return path


def test_what_is_written_is_read(tmp_path):
    """In C's and in Fortran's order, with what is optional and without."""
    for name, values in read(written(tmp_path, x=np.asfortranarray(GOOD["x"]))).items():
        np.testing.assert_array_equal(values, GOOD[name])
    assert "error" not in read(written(tmp_path, error=None))
    assert npz_format(written(tmp_path)) == "test 1"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"x": None}, "x is missing"),
        ({"x": GOOD["x"].astype(int)}, "x holds int64, not numbers"),
        ({"x": GOOD["x"].astype(object)}, "an array of"),
        ({"x": GOOD["x"][0]}, "x has 1 axes, not 2"),
        ({"x": GOOD["x"][:, :1]}, "x has 1 2, not 2"),
        ({"x": GOOD["x"] * np.nan}, "x has values that are not numbers"),
        ({"x": GOOD["x"] * 3}, "x = 15 Å: must be 0 to 10"),
        ({"edges": GOOD["edges"][:3]}, "edges has 2 rows, not 3"),
        ({"edges": GOOD["edges"][::-1].copy()}, "edges must increase"),
        ({"n": np.array([1, 2, 9])}, "n = 9 atoms: must be 1 to 5"),
        ({"error": np.array([0.1, np.inf, 0.3])}, "error = inf"),
        ({"x": np.ones((200, 2))}, "x has 200 rows; 1 to 100 are allowed"),
        ({"format": np.array("test 2")}, "its format is test 2, not test 1"),
        ({"format": np.array(3.0)}, "format is not text"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        read(written(tmp_path, **changes))


def test_hostile_members_are_refused(tmp_path):
    """Headers that would take memory or time, and members that expand to gigabytes."""

    def header(text, version=1):
        length = len(text).to_bytes(2 if version == 1 else 4, "little")
        return b"\x93NUMPY" + bytes([version, 0]) + length + text

    shape = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 2)}"
    for content, said in (
        (header(shape), "x has 1000000000000 rows; 1 to 100 are allowed"),
        (header(shape.replace(b"1000000000000", b"3")), "not as long as it says"),
        (header(b"(" * 900), "not a file of a test"),
        (header(b" " * 10**6, 2), "header is too long"),
        (header(b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 2)}"), "an array of"),
        (b"no array", "a member is not an array"),
    ):
        with pytest.raises(InputError, match=said):
            read(with_member(tmp_path, "x", content))
    whole = io.BytesIO()
    np.save(whole, GOOD["x"])
    with pytest.raises(InputError, match="not as long as it says"):
        read(with_member(tmp_path, "x", whole.getvalue() + bytes(10**8)))


def test_a_long_list_of_members_is_refused(tmp_path):
    """Each of its entries would take ten times the memory that it takes in the file."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for i in range(12_000):
            archive.writestr(f"{i:040}.npy", b"")
    with pytest.raises(InputError, match="list of members is too long"):
        read(tmp_path / "x.npz")


def test_nothing_is_written_that_could_not_be_read():
    must_fit(SCHEMA, GOOD, "test")
    with pytest.raises(InputError, match="test: edges must increase"):
        must_fit(SCHEMA, GOOD | {"edges": np.zeros(4)}, "test")
