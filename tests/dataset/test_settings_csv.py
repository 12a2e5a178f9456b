"""Many settings in a CSV file."""

import csv

import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.dataset.settings_csv import read_settings, write_predictions

HEADER = "element,zone_axis,voltage_kv,convergence_mrad,inner_mrad,outer_mrad,rmsd_angstrom"
GOOD = f"# two\n{HEADER}\nAu,110,300,20,60,200,0.085\n\nPt,001,200,25,45,160,0.1\n"


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "settings.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_round_trip(tmp_path):
    """Columns in any order, C30 and C10 optional, a byte-order mark as spreadsheets write it."""
    rows = read_settings(written(tmp_path, GOOD, "utf-8-sig"))
    np.testing.assert_array_equal(
        rows, [[79, 0, 300, 0, 0, 20, 60, 200, 0.085], [78, 1, 200, 0, 0, 25, 45, 160, 0.1]]
    )
    out = tmp_path / "out.csv"
    write_predictions(out, rows, np.array([[0.1, np.nan], [0.2, 0.3]]))
    lines = out.read_text(encoding="utf-8").splitlines()
    assert "Å²" in lines[0]
    table = list(csv.DictReader(lines[1:]))
    assert [line["n=2"] for line in table] == ["", "0.3"]
    assert table[1]["element"] == "Pt"
    # What was written can be read again without its curves.
    swapped = [",".join(list(line.values())[:9][::-1]) for line in table]
    text = "\n".join([",".join(list(table[0])[:9][::-1]), *swapped])
    np.testing.assert_array_equal(read_settings(written(tmp_path, text)), rows)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("voltage_kv", "voltage", "column = 'voltage': must be one of"),
        (",rmsd_angstrom", "", "column rmsd_angstrom: missing"),
        ("inner_mrad", "outer_mrad", "column outer_mrad: there twice"),
        ("Au,110,300", "Au,110,high", "line 3: voltage_kv = 'high': must be a number"),
        ("Pt,001,200", "Fe,001,2", "line 5: element = 'Fe'.*voltage_kv = 2 kV"),
        ("Au,110,300,", "Au,110,", "line 3: 6 entries, 7 columns"),
    ],
)
def test_bad_files(tmp_path, old, new, said):
    with pytest.raises(InputError, match=said):
        read_settings(written(tmp_path, GOOD.replace(old, new)))


def test_files_without_settings(tmp_path):
    with pytest.raises(InputError, match="must hold a line of column names"):
        read_settings(written(tmp_path, HEADER))
    with pytest.raises(FileNotFoundError):
        read_settings(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file"):
        read_settings(tmp_path / "binary.csv")
    many = HEADER + "\nFe,110,300,20,60,200,0.1" * 30
    with pytest.raises(InputError, match="and 20 more lines"):
        read_settings(written(tmp_path, many))
