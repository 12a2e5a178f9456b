"""`ppiscs design`."""

import csv
import json
import subprocess
import sys

import pytest

from ppiscs_jax import Settings, load_surrogate, predict
from ppiscs_jax.cli.main import main
from ppiscs_jax.inverse import design as module
from ppiscs_jax.inverse.design import best_design
from ppiscs_jax.inverse.error_probability import error_probability

GOLD = {
    "--element": "Au",
    "--zone": "110",
    "--voltage": "300",
    "--convergence": "20",
    "--detector": "60 200",
    "--rmsd": "0.085",
    "--dose": "1e4",
    "--atoms": "1 60",
    "--vary": "inner 25 150",
}
X = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)


def words(changes=None, *more):
    """A good command line with changes; None leaves an option out."""
    pairs = ((n, v) for n, v in {**GOLD, **(changes or {})}.items() if v is not None)
    return ["design", *(word for n, v in pairs for word in (n, *v.split())), *more]


def run(arguments, capsys):
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code or 0, *capsys.readouterr()


@pytest.mark.slow
def test_table_and_files(tmp_path, capsys):
    """What Python finds, in the table and in both files; two voltages, an angle free."""
    paths = [tmp_path / name for name in ("best.json", "best.csv")]
    more = [word for path in paths for word in ("--out", str(path))]
    more += ["--voltages", "80,200", "--beyond-aperture", "5"]
    code, out, err = run(words(None, *more), capsys)
    assert (code, err) == (0, "".join(f"wrote {path}\n" for path in paths))
    found = best_design(
        load_surrogate().curve,
        X,
        {"inner_mrad": (25.0, 150.0)},
        1e4,
        (1, 60),
        voltages_kv=[80.0, 200.0],
        beyond_aperture_mrad=5.0,
    )
    saved = json.loads(paths[0].read_text(encoding="utf-8"))
    points = saved["points"]
    assert saved["n_atoms"] == [1, 60]
    assert points["start"]["error_probability"] == pytest.approx(
        float(error_probability(predict(X)[:60], 1e4))
    )
    assert points["best on the grid"]["inner_mrad"] == found.grid_x[6]
    assert points["optimum"]["inner_mrad"] == found.x[6]
    assert points["optimum"]["error_probability"] == found.error_probability
    assert found.error_probability <= points["best on the grid"]["error_probability"]
    assert f"{found.error_probability:.4g}" in out
    assert "voltage (kV)" in out
    assert "1–60 atoms, 10000 e⁻/Å²" in out
    lines = paths[1].read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("1 to 60 atoms; 10000 e⁻/Å²")
    rows = {row["point"]: row for row in csv.DictReader(lines[1:])}
    assert float(rows["optimum"]["voltage_kv"]) == found.x[2]
    assert float(rows["optimum"]["error_probability"]) == found.error_probability
    assert {path.name for path in tmp_path.iterdir()} == {"best.json", "best.csv"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--element": None, "--dose": None}, "element: missing; dose: missing"),
        ({"--vary": None}, "vary: missing; give --vary or --voltages"),
        ({"--element": "Fe", "--dose": "-1"}, "element = 'Fe': must be one of"),
        ({"--element": "Fe", "--dose": "0"}, "; dose = 0 e⁻/Å²: must be above 0"),
        ({"--voltage": "400"}, "voltage_kv: must be 60 to 300 kV"),
        ({"--element": "Rh"}, "element and zone_axis: must be one of"),
        ({"--zone": "100", "--atoms": "0 87"}, "atoms = 0: must be 1 to 61; atoms = 87: must be"),
        ({"--atoms": "9 9"}, "atoms = 9 9: the fewest must be below the most"),
        ({"--vary": "inner 20"}, "vary inner = '20': must be two numbers [mrad]"),
        ({"--vary": "inner 80 x"}, "vary inner = '80 x': must be two numbers [mrad]"),
        ({"--vary": "inner 80 20"}, "vary inner = 80 20: the lowest must be below"),
        ({"--vary": "outer 80 300"}, "vary outer = 300 mrad: must be 0 to 250 mrad"),
        ({"--vary": "rmsd 0.1 0.2"}, "vary = 'rmsd': must be one of inner, outer, convergence"),
        ({"--voltages": "80;200"}, "voltages = '80;200': must be numbers [kV] with commas"),
        ({"--voltages": "20,nan"}, "voltages = 20 kV: must be 60 to 300 kV; voltages = nan kV"),
        ({"--vary": "voltage 60 80", "--voltages": "80"}, "voltages: give them, or --vary"),
        ({"--least-width": "0", "--out": "x.h5"}, "least_width = 0 mrad: must be above 0"),
        ({"--beyond-aperture": "-1", "--out": "x.h5"}, "its name must end in one of .json, .csv"),
        # These are told by the search itself, before it starts.
        ({"--least-width": "200"}, "no room for least_width_mrad = 200 mrad"),
        ({"--beyond-aperture": "140"}, "no room for beyond_aperture_mrad = 140 mrad"),
    ],
)
def test_bad_input(changes, said, capsys, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("work started")

    monkeypatch.setattr(module, "_error_probabilities", refuse)
    code, out, err = run(words(changes), capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_an_option_twice(capsys):
    code, _, err = run(words(None, "--vary", "inner", "30", "40"), capsys)
    assert code == 2
    assert "vary inner: given twice" in err


def test_other_commands_are_as_fast_as_before():
    """What the search needs of scipy is imported by the search."""
    code = "import ppiscs_jax.cli.main, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"scipy.optimize", "scipy.stats", "scipy.ndimage"} & set(done.stdout.split())
