"""Many settings in a CSV file."""

import csv

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings
from ppiscs_jax.io.settings_csv import read_settings, write_predictions

HEADER = "element,zone_axis,voltage_kv,convergence_mrad,inner_mrad,outer_mrad,rmsd_angstrom"
GOOD = f"# two\n{HEADER}\nAu,110,300,20,60,200,0.085\n\nPt,001,200,25,45,160,0.1\n"


def written(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "settings.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_round_trip(tmp_path):
    """Columns in any order, C30 and C10 optional, a byte-order mark as spreadsheets write it."""
    rows, numbers = read_settings(written(tmp_path, GOOD, "utf-8-sig"))
    assert numbers == [3, 5]
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
    np.testing.assert_array_equal(read_settings(written(tmp_path, text)).rows, rows)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("voltage_kv", "voltage", "column = 'voltage': must be one of"),
        (",rmsd_angstrom", "", "column rmsd_angstrom: missing"),
        ("inner_mrad", "outer_mrad", "column outer_mrad: there twice"),
        ("Au,110,300", "Au,110,high", "line 3: voltage_kv = 'high': must be a number"),
        ("Pt,001,200", "Fe,001,2", "line 5: element = 'Fe'.*voltage_kv = 2 kV"),
        ("Au,110,300,", "Au,110,", "line 3: 6 entries, 7 columns"),
        ("Au,110", '"Au,110', "line 3: .*unexpected end of data"),
        ("Pt,001,200", "Pt,001,inf", "line 5: voltage_kv = 'inf': must be a number"),
        ("Pt,001,200", "Pt,001,9e9", "line 5: voltage_kv = 9000000000 kV: must be"),
        ("voltage_kv", "voltage_kv" + 100 * ",", "line 2: more than 100 columns"),
        ("voltage_kv", "\x1b[2J" * 1000, r"column = '\\x1b\[2J"),
        (HEADER, "x" + HEADER, "column = 'xelement': must be one of"),
        ("element,", "", "column element: missing"),
    ],
)
def test_bad_files(tmp_path, old, new, said):
    with pytest.raises(InputError, match=said):
        read_settings(written(tmp_path, GOOD.replace(old, new)))


GOLD = [[79, 0, 300, 0, 0, 20, 60, 200, 0.085]]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\nAu,110,300,20,60,200,0.085",
        f"{HEADER},\nAu,110,300,20,60,200,0.085,\n",
        f",{HEADER}\n0,Au,110,300,20,60,200,0.085\n",
        f"{HEADER}\n,,,,,,\nAu,110,300,20,60,200,0.085\n,,,,,,\n  \n",
        f"{HEADER}\nAu,110,300,20,60,200,0.085\n".replace(",", ";"),
        f"{HEADER}\nAu,110,300,20,60,200,0.085\n".replace(",", "\t"),
        f"{HEADER}\nAu,110,300,20,60,200,0.085\n".replace(",", ";").replace(".", ","),
        f"{HEADER}\nAu,11,300.0,20,60,200,0.085\n",
        f'{HEADER}\n"Au","110",300,20,60,200,0.085\n',
    ],
)
def test_tables_as_people_have_them(tmp_path, text):
    """Other separators, decimal commas, trailing commas, blank rows, pandas' index: all alike."""
    np.testing.assert_array_equal(read_settings(written(tmp_path, text)).rows, GOLD)


@pytest.mark.parametrize(
    ("zone", "code"), [("1", 1), ("001", 1), ("10", 1), ("100", 1), ("11", 0), ("110.0", 0)]
)
def test_zone_axes_as_spreadsheets_write_them(tmp_path, zone, code):
    """Without leading zeros: 1 is [001]; with decimals, as in a column of numbers."""
    text = f"{HEADER}\nAu,{zone},300,20,60,200,0.085"
    assert read_settings(written(tmp_path, text)).rows[0, 1] == code


def test_temperature_instead_of_rmsd(tmp_path):
    """In its own column, or, where both columns are there, on the lines that have no rmsd."""
    expected = Settings("Au", "110", 300, 20, 60, 200, temperature_k=293.0).to_vector()
    header = HEADER.replace("rmsd_angstrom", "temperature_k")
    rows, _ = read_settings(written(tmp_path, f"{header}\nAu,110,300,20,60,200,293\n"))
    np.testing.assert_array_equal(rows, [expected])
    both = f"{HEADER},temperature_k\nAu,110,300,20,60,200,,293\nAu,110,300,20,60,200,0.085,\n"
    np.testing.assert_array_equal(read_settings(written(tmp_path, both)).rows, [expected, *GOLD])
    with pytest.raises(InputError, match=r"line 2: .*give one of them, not both"):
        read_settings(written(tmp_path, both.replace(",,293", ",0.1,293")))


def test_an_entry_without_a_column_is_named(tmp_path):
    text = f"{HEADER},\nAu,110,300,20,60,200,0.085,5\n"
    with pytest.raises(InputError, match="line 2: '5' is in a column without a name"):
        read_settings(written(tmp_path, text))


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
