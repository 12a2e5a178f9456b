"""`ppiscs predict` and `ppiscs evaluate`."""

import csv

import numpy as np
import pytest

from ppiscs_jax import Settings, predict
from ppiscs_jax.cli.main import main
from ppiscs_jax.io.curves import load_curves
from ppiscs_jax.surrogate.densenet import DenseNet
from ppiscs_jax.surrogate.evaluate import HeldOut, save_held_out
from ppiscs_jax.surrogate.network import Training, save_network
from tests.table_samples import made_up_table

GOLD = {
    "--element": "Au",
    "--zone": "110",
    "--voltage": "300",
    "--convergence": "20",
    "--detector": "60 200",
    "--rmsd": "0.085",
}
X = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)


def words(changes=None, *more):
    """A good command line with changes; None leaves an option out."""
    pairs = ((n, v) for n, v in {**GOLD, **(changes or {})}.items() if v is not None)
    return ["predict", *(word for n, v in pairs for word in (n, *v.split())), *more]


def run(arguments, capsys):
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code or 0, *capsys.readouterr()


def test_table_and_files(tmp_path, capsys):
    """The table, and a file that says the curve was predicted, with its errors."""
    paths = [tmp_path / name for name in ("gold.csv", "gold.h5", "gold.png")]
    more = ["--out", str(paths[0]), "--out", str(paths[1]), "--plot", str(paths[2])]
    code, out, err = run(words(None, "--detector", "90", "150", *more), capsys)
    assert code == 0
    assert "60–200 mrad" in out
    assert "predicted by the surrogate 'additive'" in out
    assert all(f"wrote {path}" in err for path in paths)
    for path in paths[:2]:
        curves = load_curves(path)
        assert [c.model for c in curves] == ["additive"] * 2
        np.testing.assert_allclose(curves[0].ppiscs, predict(X), rtol=1e-6)
        assert np.all(curves[0].standard_error > 0)


@pytest.mark.slow
def test_check_is_simulated(tmp_path, capsys):
    """Predicted and simulated side by side, within the errors told: thin, few waves, 5 %."""
    changes = {"--element": "Pt", "--zone": "100", "--voltage": "60"}
    plot = tmp_path / "check.png"
    code, out, _ = run(words(changes, "--check", "20%", "--plot", str(plot)), capsys)
    assert code == 0
    assert "predicted" in out
    assert "simulated" in out
    assert "plane waves in 16 batches" in out
    assert plot.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--element": None, "--detector": None}, "element: missing; detector: missing"),
        ({"--voltage": "400"}, "voltage_kv = 400 kV: must be 60 to 300 kV"),
        ({"--element": "Rh"}, "element and zone_axis = Rh [110]: must be one of"),
        ({"--element": "Ir", "--zone": "111"}, "element and zone_axis = Ir [111]: must be one of"),
        ({"--element": "Fe", "--detector": "200 60"}, "element = 'Fe': must be one of"),
        ({"--convergence": "10"}, "convergence_mrad = 10 mrad: must be 17.5 to 35.5 mrad"),
        ({"--check": "often"}, "check = 'often'"),
        ({"--check": "1e-300"}, "check = 1e-300: must be 1e-06 to 1"),
        ({"--out": "x.txt", "--csv": "y"}, "give one .csv file; csv: cannot be combined"),
    ],
)
def test_bad_input(changes, said, capsys):
    code, out, err = run(words(changes), capsys)
    assert code == 2
    assert out == ""
    assert said in err


def test_many_settings(tmp_path, capsys):
    """A file of settings becomes a file of curves."""
    given, out = tmp_path / "in.csv", tmp_path / "out.csv"
    header = "element,zone_axis,voltage_kv,convergence_mrad,inner_mrad,outer_mrad,rmsd_angstrom"
    given.write_text(f"{header}\nAu,110,300,20,60,200,0.085\nPt,100,200,25,45,160,0.1\n")
    code, _, err = run(["predict", "--csv", str(given), "--out", str(out)], capsys)
    assert (code, err) == (0, f"wrote {out}\n")
    gold, platinum = csv.DictReader(out.read_text(encoding="utf-8").splitlines()[1:])
    assert float(gold["n=87"]) == pytest.approx(predict(X)[86], rel=1e-6)
    assert platinum["n=62"] == ""
    given.write_text(f"{header}\nAu,110,400,20,60,200,0.085\n")
    code, _, err = run(["predict", "--csv", str(given), "--out", str(out)], capsys)
    assert code == 2
    assert "voltage_kv: line 2: must be 60 to 300 kV" in err


def test_input_files_that_are_none(tmp_path, capsys):
    """Exit code 2, as for all bad input."""
    out = ["--out", str(tmp_path / "out.csv")]
    for given, said in ((tmp_path / "x.csv", "no such file"), (tmp_path, "is a folder")):
        code, _, err = run(["predict", "--csv", str(given), *out], capsys)
        assert (code, err.count("\n")) == (2, 1)
        assert f"{given}: {said}" in err
    for words_ in (["evaluate", "additive", "--held-out"], ["evaluate", "--held-out", "x.npz"]):
        code, _, err = run([*words_, str(tmp_path / "none.npz")], capsys)
        assert code == 2
        assert "none.npz: no such file" in err or "x.npz: no such file" in err


def test_the_input_is_not_overwritten(tmp_path, capsys):
    given = tmp_path / "s.csv"
    given.write_text("kept")
    code, _, err = run(["predict", "--csv", str(given), "--out", str(given)], capsys)
    assert code == 2
    assert "would overwrite an input" in err
    assert given.read_text() == "kept"


def test_evaluate_a_network_of_fewer_atoms(tmp_path, capsys):
    """It is compared up to what it knows, here 12 atoms, and this is said."""
    network = DenseNet(growth=6, layers=4, outputs=12)
    model, held_out = tmp_path / "small.npz", tmp_path / "held_out.npz"
    save_network(model, network, network.initial(0), Training.on(made_up_table()), "")
    x = np.array([[[79.0, 1, 200, 0, 0, 25, 60, 200, 0.1]]])
    truth = np.asarray(predict(x), dtype=float)
    save_held_out(held_out, HeldOut(x, truth, np.zeros_like(truth)))
    code, out, _ = run(["evaluate", str(model), "--held-out", str(held_out)], capsys)
    assert code == 0
    assert "compared up to 12 atoms" in out


def test_evaluate(tmp_path, capsys):
    """What the surrogate says itself scores 0; curves 1 % higher score 0.8 % of their rms."""
    x = np.array([[X.to_vector(), np.where(np.arange(9) == 7, 75, X.to_vector())]])
    truth = np.asarray(predict(x), dtype=float)
    held_out = tmp_path / "held_out.npz"
    save_held_out(held_out, HeldOut(x, truth * [[[1.0], [1.01]]], np.zeros_like(truth)))
    code, out, _ = run(["evaluate", "additive", "--held-out", str(held_out)], capsys)
    assert code == 0
    wide, narrow = (line.split("│") for line in out.splitlines() if " 1 │" in line)
    assert float(wide[3]) < 1e-6
    rms = np.sqrt(np.mean(truth[0, 1] ** 2)) / truth[0, 1].max()
    assert float(narrow[3]) == pytest.approx(0.8 * 0.01 / 1.01 * rms, rel=0.02)
    code, _, err = run(["evaluate", "worst", "--held-out", str(held_out)], capsys)
    assert code == 2
    assert "name = 'worst': must be one of additive" in err
