"""Libraries as users of StatSTEM have them."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from ppiscs_jax import InputError
from ppiscs_jax.io.curves import save_curves
from ppiscs_jax.io.library import Library, load_library, save_library
from tests.curve_samples import made_up_curves

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "statstem"
samples = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no sample files of StatSTEM in {FOLDER}")


def written(tmp_path, text, name="library.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "0.5\n1.25\nNaN\n2\n",
        "1 0.5\n2\t1.25\n4 2\n",
        "n,value\n1,0.5\n2, 1.25\n3,\n4,2\n",
        "# measured\n1;0.5\n2;1.25\n\n3;nan\n4;2\n",
        "\ufeff% of columns\n4, 2\n1, 0.5\n2, 1.25\n",
    ],
)
@pytest.mark.parametrize("name", ["library.txt", "library.csv"])
def test_texts(tmp_path, text, name):
    """One or two columns, gaps, comments, a line of names, any order: the same values."""
    library = load_library(written(tmp_path, text, name))
    there = np.isfinite(library.ppiscs)
    found = dict(zip(library.n_atoms[there].tolist(), library.ppiscs[there].tolist(), strict=True))
    assert found == {1: 0.5, 2: 1.25, 4: 2.0}
    assert library.standard_error is None
    assert library.settings is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5\n1.25\n\n2\n3\n", [0.5, 1.25, np.nan, 2, 3]),
        ("0.5\n1.25\n#N/A\n2\n", [0.5, 1.25, np.nan, 2]),
        ("\nppiscs\n\n0.5\n1.25\n\n2\n3\n\n\n", [0.5, 1.25, np.nan, 2, 3]),
        ("0.5\r\n1.25\r\n\r\n2\r\n4\r\n", [0.5, 1.25, np.nan, 2, 4]),
        ("1;0,5\n2;1,25\n3;2\n", [0.5, 1.25, 2]),
        ("1\t0,5\n2\t1,25\n3\t2\n", [0.5, 1.25, 2]),
        ("n;Å²\n1;0,5;\n2;1,25;\n", [0.5, 1.25]),
        ("n,counts\n1,25\n2,50\n", [25, 50]),
        ("0.5 1.25 2\n", [0.5, 1.25, 2]),
        ("0,5;1,25;2\n", [0.5, 1.25, 2]),
        ("1 2 3\n0.5 1.25 2\n", [0.5, 1.25, 2]),
        ("1 2\n0.5 1.25\n", [0.5, 1.25]),
        ("0 0\n1 0.5\n2 1.25\n", [0.5, 1.25]),
        ("\ufeffn_atoms,ppiscs\r\n1,0.5\r\n2,1.25\r\n", [0.5, 1.25]),
    ],
)
def test_tables_as_people_have_them(tmp_path, text, expected):
    """Gaps, decimal commas, rows, and a first line of 0 atoms: values stay at their thickness."""
    library = load_library(written(tmp_path, text))
    np.testing.assert_array_equal(library.ppiscs, expected)
    np.testing.assert_array_equal(library.n_atoms, np.arange(1, len(expected) + 1))


def test_utf_16(tmp_path):
    """As spreadsheets save "Unicode text": with tabs, in UTF-16."""
    (tmp_path / "v.txt").write_text("1\t0,5\n2\t1,25\n", encoding="utf-16")
    assert load_library(tmp_path / "v.txt").ppiscs.tolist() == [0.5, 1.25]


@pytest.mark.parametrize("shape", [(3, 1), (1, 3)])
def test_matlab_vectors(tmp_path, shape):
    savemat(tmp_path / "v.mat", {"simVol": np.reshape([1, 2, 3], shape)})
    library = load_library(tmp_path / "v.mat")
    assert library.ppiscs.tolist() == [1, 2, 3]
    assert library.n_atoms.tolist() == [1, 2, 3]


def test_matlab_pairs(tmp_path):
    savemat(tmp_path / "v.mat", {"simVol": np.array([[2, 0.5], [7, 0.75]])})
    library = load_library(tmp_path / "v.mat")
    assert library.ppiscs.tolist() == [0.5, 0.75]
    assert library.n_atoms.tolist() == [2, 7]


def test_matlab_rows(tmp_path):
    """Numbers of atoms over values, as MATLAB users write [1:3; values]."""
    savemat(tmp_path / "v.mat", {"simVol": np.array([[1, 2, 3], [0.5, 0.75, 0.8]])})
    library = load_library(tmp_path / "v.mat")
    assert library.ppiscs.tolist() == [0.5, 0.75, 0.8]
    assert library.n_atoms.tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["gold.txt", "gold.csv", "gold.mat"])
def test_round_trip(tmp_path, name):
    """To the last digit, errors and settings from the sidecar."""
    curve = made_up_curves()[0]
    save_library(tmp_path / name, curve)
    library = load_library(tmp_path / name)
    np.testing.assert_array_equal(library.ppiscs, curve.ppiscs)
    np.testing.assert_array_equal(library.n_atoms, curve.n_atoms)
    np.testing.assert_array_equal(library.standard_error, curve.standard_error)
    assert library.settings == curve.settings


@pytest.mark.parametrize("name", ["gold.txt", "gold.csv", "gold.mat"])
def test_gaps_survive(tmp_path, name):
    """Thicknesses without a value are NaN in the file; nothing is made up beside it."""
    save_library(tmp_path / name, Library(np.array([0.1, 0.3]), np.array([1, 3])))
    library = load_library(tmp_path / name)
    np.testing.assert_array_equal(library.ppiscs, [0.1, np.nan, 0.3])
    assert library.standard_error is None
    assert library.settings is None


def test_a_sidecar_of_another_file_is_refused(tmp_path):
    """A file edited by hand no longer has the standard errors that stand beside it."""
    path = tmp_path / "gold.txt"
    save_library(path, made_up_curves()[0])
    path.write_text("0.1\n0.2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"gold\.txt\.settings\.json: gold\.txt was changed since"):
        load_library(path)


@pytest.mark.parametrize("name", ["gold.csv", "gold.json", "gold.h5"])
def test_files_of_curves(tmp_path, name):
    """Curves that this package saved are libraries too, one at a time."""
    first, second = made_up_curves()
    save_curves(tmp_path / name, [first])
    library = load_library(tmp_path / name)
    np.testing.assert_array_equal(library.ppiscs, first.ppiscs)
    np.testing.assert_array_equal(library.standard_error, first.standard_error)
    assert library.settings.inner_mrad == first.settings.inner_mrad
    save_curves(tmp_path / name, [first, second])
    with pytest.raises(InputError, match="curves of 2 detectors; save one alone"):
        load_library(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold one value a line"),
        ("NaN\nNaN\n", "holds no values"),
        ("1 2 3\n4 5 6\n7 8 9\n", "3×3 numbers; must be N×1, 1×N, N×2 or 2×N"),
        ("1 0.1\n0.2\n", "must hold one value a line.*; line 2 is unlike"),
        ("1 0.1\n1 0.2\n2 0.3\n", "whole numbers up to 1000, each once; it begins 1, 1"),
        ("0,019\n0,047\n", "line 1: '0,019' may be a number with a decimal comma"),
        ("# Å²\n1,0075\n2,0150\n", "line 2: '1,0075' may be a number with a decimal comma"),
        ("1 0,0104\n2 0,0227\n", "line 1: '1 0' is not a number; decimal commas are read only"),
        ("1,0,0104\n2,0,0227\n3,0,03\n", "line 1: '1,0,0104' may be a number with a decimal"),
        ("0.1\n\n0.2\n\n0.3\n", "line 2: blank, as every other line is"),
        ("0.1\n0.2\n#DIV/0!\n0.3\n", "line 3: #DIV/0! is an error value of a spreadsheet"),
        ("0.1\n\n0.2\n0.4\ninf\n", "line 5: 'inf' is not a number"),
        ("1 0.1\n2 1e999\n3 0.2\n", "line 2: 1e999 must be between -1e[+]12 and 1e[+]12"),
        ("1 0.1\n1e20 0.2\n3 0.2\n", "line 2: 1e20 must be between"),
        ("1 0.1\n1e5 0.2\n3 0.2\n", r"up to 1000, each once; it begins 1, 100000"),
        ("0 0.5\n1 0.6\n2 0.7\n", "line 1: 0.5 at 0 atoms, which scatter nothing"),
        ("0\n0.1\n0.2\n", "line 1: 0 at 1 atom; if the library begins from 0 atoms"),
        ("1 0.5\n", "two values, or one at n atoms"),
        ("0.1\n" * 1001, "1001×1 numbers; at most 1000 thicknesses"),
        ("1 0.1\n1.5 0.2\n3 0.2\n", "it begins 1, 1.5"),
        ("0.1\n0.2x\n", "line 2: '0.2x' is not a number"),
        ("0.1_0\n0.2\n", "line 1: '0.1_0' is not a number"),
        ("0.1x\n0.2\n", "line 1: '0.1x' is not a number"),
    ],
)
def test_bad_texts_are_refused(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        load_library(written(tmp_path, text))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "holds nothing; must hold one numeric variable"),
        ({"a": [1.0], "b": "text"}, r"holds a \(1×1 numbers\), b \(1×4 text\); must hold one"),
        ({"a": {"b": 1.0}}, r"holds a \(1×1 struct\)"),
        ({"a": np.ones((4, 3))}, r"holds a \(4×3 numbers\); must be N×1, 1×N, N×2 or 2×N"),
        ({"a": [[1.0, 2.0], [np.inf, 3.0], [4.0, 1.0]]}, "it begins 1, inf, 4"),
        ({"a": [1.0, np.inf, 3.0]}, "value 2: inf must be between"),
        ({"a": [[1.0, 2.0]]}, "Give a column"),
    ],
)
def test_bad_matlab_files_are_refused(tmp_path, variables, said):
    savemat(tmp_path / "v.mat", variables)
    with pytest.raises(InputError, match=said):
        load_library(tmp_path / "v.mat")


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"not a \.mat file"):
        load_library(written(tmp_path, "0.1\n", "text.mat"))
    with pytest.raises(InputError, match="its name must end in one of"):
        load_library(written(tmp_path, "0.1\n", "library.dat"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_library(tmp_path / "none.txt")
    with pytest.raises(InputError, match="its name must end in one of"):
        save_library(tmp_path / "gold.h5", made_up_curves()[0])


@samples
def test_samples_of_statstem():
    """Platinum's library as text, platinum–iridium's as MATLAB: 20 growing values each."""
    for name in ("LibraryPt.txt", "Library_PtIr.mat"):
        library = load_library(FOLDER / name)
        assert library.n_atoms.tolist() == list(range(1, 21))
        assert np.all(np.diff(library.ppiscs) > 0)
        assert library.ppiscs[0] == pytest.approx(0.01925, abs=1e-5)


@samples
def test_a_saved_object_of_statstem_is_refused():
    with pytest.raises(InputError, match="an object of a MATLAB class"):
        load_library(FOLDER / "example_HMM_input.mat")
