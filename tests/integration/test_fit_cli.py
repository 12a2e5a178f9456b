"""`ppiscs fit` and `ppiscs uncertainty`."""

import csv
import json

import numpy as np
import pytest

from ppiscs_jax import Settings, predict
from ppiscs_jax.cli.main import main
from ppiscs_jax.io.library import Library, save_library

TRUTH = Settings("Au", "110", 300.0, 20.3, 45.6, 190.0, 0.092)
ERROR = 2e-3
"""Relative standard error of the measured values."""

CONFIG = """
relative_error = 2e-3

[nominal]
element = "Au"
zone_axis = "110"
voltage_kv = 300
convergence_mrad = 20
inner_mrad = 45
outer_mrad = 190
rmsd_angstrom = 0.09

[std]
convergence_mrad = 0.3
inner_mrad = 1
rmsd_angstrom = 0.003
c30_mm = 0.001
"""


@pytest.fixture
def config(tmp_path):
    """Writes the config, with something replaced; gives its path."""

    def write(old="", new=""):
        assert old in CONFIG
        path = tmp_path / "config.toml"
        path.write_text(CONFIG.replace(old, new, 1), encoding="utf-8")
        return path

    return write


@pytest.fixture
def measured(tmp_path):
    """A library of the truth with noise of ERROR, in Å² times a factor."""

    def write(factor=1.0, spoil=0.0, n=None):
        values = predict(TRUTH).ppiscs
        values *= 1 + ERROR * np.random.default_rng(1).normal(size=len(values))
        values *= factor * (1 + spoil * np.sin(np.arange(len(values))))
        library = Library(values, np.arange(len(values)) + 1 if n is None else n)
        path = tmp_path / "measured.txt"
        save_library(path, library)
        return path

    return write


def run(capsys, *arguments):
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as exit_:
        main([str(a) for a in arguments])
    return exit_.value.code or 0, *capsys.readouterr()


@pytest.mark.slow
def test_fit(tmp_path, capsys, config, measured):
    """The truth within four standard errors; C30 keeps its nominal value, not identifiable."""
    out, plot = tmp_path / "fit.json", tmp_path / "fit.png"
    code, table, err = run(
        capsys, "fit", measured(), "--config", config(), "--out", out, "--plot", plot
    )
    assert code == 0
    assert "not identifiable: PPISCS does not depend on it" in table
    assert "degrees of freedom" in table
    assert err.splitlines() == [f"wrote {out}", f"wrote {plot}"]
    assert plot.stat().st_size > 10_000
    saved = json.loads(out.read_text(encoding="utf-8"))
    errors = np.sqrt(np.diag(saved["covariance"]))
    for name, estimate, error in zip(saved["names"], saved["estimates"], errors, strict=True):
        assert abs(estimate - getattr(TRUTH, name)) < 4 * error, name
    assert saved["parameters"]["inner_mrad"]["verdict"] == "identified"
    assert saved["explained"] is True
    assert saved["config"]["std"]["rmsd_angstrom"] == 0.003
    assert len(saved["curve_angstrom2"]) == len(saved["residuals_angstrom2"]) == 87
    assert saved["versions"]["ppiscs-jax"]


@pytest.mark.parametrize(("unit", "factor"), [("nm2", 1e-2), ("megabarn", 1e2)])
def test_units(tmp_path, capsys, config, measured, unit, factor):
    """1 Å² = 0.01 nm² = 100 Mb: said, the same fit; not said, refused."""
    out = tmp_path / "fit.json"
    path = measured(factor)
    given = config("relative_error", f'unit = "{unit}"\nrelative_error')
    assert run(capsys, "fit", path, "--config", given, "--out", out)[0] == 0
    saved = json.loads(out.read_text(encoding="utf-8"))
    rmsd = saved["estimates"][saved["names"].index("rmsd_angstrom")]
    assert rmsd == pytest.approx(TRUTH.rmsd_angstrom, abs=2e-3)
    code, _, err = run(capsys, "fit", path, "--config", config())
    assert code == 2
    assert "to Å², or let gain be free" in err


@pytest.mark.slow
def test_the_papers_fit(capsys, config, measured):
    """Absolute differences by Nelder–Mead, within ± std and no prior; bounds override std."""
    given = config("relative_error = 2e-3", 'method = "nelder-mead"\ncost = "absolute"')
    text = given.read_text(encoding="utf-8") + "\n[bounds]\ninner_mrad = [44, 47]\n"
    given.write_text(text, encoding="utf-8")
    code, table, _ = run(capsys, "fit", measured(), "--config", given)
    assert code == 0
    (row,) = [line for line in table.splitlines() if line.startswith("│ inner_mrad")]
    assert f"{3 / 12**0.5:.3g}" in row


@pytest.mark.slow
def test_an_unexplained_curve_is_told(capsys, config, measured):
    """Wiggles of 5 % that no setting makes: a warning, not an error."""
    code, _, err = run(capsys, "fit", measured(spoil=0.05), "--config", config())
    assert code == 0
    assert "warning: the model does not explain the curve" in err


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[std]", "[sdt]", "sdt: unknown key; nearest valid one: std"),
        ("c30_mm =", "c50_mm =", "std = 'c50_mm': must be one of"),
        ("inner_mrad = 1\n", "inner_mrad = -1\n", "std.inner_mrad = -1: Input should be greater"),
        ("voltage_kv = 300", "voltage_kv = 1", "voltage_kv = 1 kV: must be 20 to 1000 kV"),
        ('"Au"', '"Rh"', "element and zone_axis = Rh [110]: must be one of"),
        ("relative_error = 2e-3", "", "prior_std: needs standard_error or dose_per_angstrom2"),
        ("2e-3", "2e-3\nstandard_error = 1", "give one of them at most"),
        ("[nominal]", 'method = "newton"\n[nominal]', "method = 'newton'"),
        ("[nominal]", 'surrogate = "best"\n[nominal]', "name = 'best': must be one of"),
    ],
)
def test_bad_configs_are_refused(capsys, config, measured, old, new, said):
    code, table, err = run(capsys, "fit", measured(), "--config", config(old, new))
    assert code == 2
    assert table == ""
    assert err.startswith("error: ")
    assert said in err


def test_all_problems_at_once(tmp_path, capsys, config, measured):
    """The config's, the file's and the outputs', in one line."""
    path = measured()
    path.write_text("0.1\n0.1x\n", encoding="utf-8")
    given = config("inner_mrad = 45", "inner_mrad = 300")
    where = tmp_path / "none" / "fit.json"
    code, _, err = run(capsys, "fit", path, "--config", given, "--out", where, "--plot", "fit.bmp")
    assert code == 2
    assert len(err.splitlines()) == 1
    for said in ("does not exist", "fit.bmp", "line 2: '0.1x' is not a number", "inner_mrad = 300"):
        assert said in err


@pytest.mark.slow
def test_uncertainty(tmp_path, capsys, config):
    """Standard deviations by seed, near those of first order.

    Of rmsd alone, ± 0.003 Å uniform: 0.003/√3 |d PPISCS/d rmsd|, which holds to 2 % over so
    small a range; 2000 draws add 2 %.
    """
    out, plot = tmp_path / "std.csv", tmp_path / "std.png"
    given = config("convergence_mrad = 0.3\ninner_mrad = 1\n", "")
    words = ["uncertainty", "--config", given, "--draws", 2000, "--out", out, "--plot", plot]
    code, table, err = run(capsys, *words)
    assert code == 0
    assert "2000 uniform draws, seed 0" in table
    assert err.splitlines() == [f"wrote {out}", f"wrote {plot}"]
    rows = list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))
    std = np.array([float(row["std_angstrom2"]) for row in rows])
    x = Settings("Au", "110", 300.0, 20.0, 45.0, 190.0, 0.09).to_vector()
    step = np.eye(9)[8] * 1e-3
    slope = np.subtract(*predict([x + step, x - step]).astype(float)) / 2e-3
    # Where the slope changes sign first order says nothing.
    large = np.abs(slope) > 0.1 * np.abs(slope).max()
    np.testing.assert_allclose(std[large], (0.003 / 3**0.5 * np.abs(slope))[large], rtol=0.08)
    first = out.read_text(encoding="utf-8")
    run(capsys, *words)
    assert out.read_text(encoding="utf-8") == first
    run(capsys, *words, "--seed", 1)
    assert out.read_text(encoding="utf-8") != first


def test_uncertainty_refuses(tmp_path, capsys, config):
    """Too few draws, and draws beyond what can be."""
    given = config("outer_mrad = 190", "outer_mrad = 249.5")
    text = given.read_text(encoding="utf-8").replace("c30_mm = 0.001", "outer_mrad = 1")
    given.write_text(text, encoding="utf-8")
    code, _, err = run(capsys, "uncertainty", "--config", given, "--draws", "1")
    assert code == 2
    assert "draws = 1: must be" in err
    assert "outer_mrad, upper bound = 250.5 mrad" in err


SIMULATOR = """
relative_error = 5e-3

[simulator]
waves = 4

[nominal]
element = "Au"
zone_axis = "110"
voltage_kv = 300
convergence_mrad = 20
inner_mrad = 60
outer_mrad = 150
rmsd_angstrom = 0.090

[bounds]
rmsd_angstrom = [0.07, 0.11]
"""


@pytest.mark.slow
def test_fit_through_the_simulator(tmp_path, capsys):
    """The curve of rmsd 0.085 Å on the fit's own waves, with noise of 0.5 %: truth within 4 σ."""
    from ppiscs_jax.simulation.gradient import simulator

    truth = Settings("Au", "110", 300.0, 20.0, 60.0, 150.0, 0.085)
    exact = np.asarray(simulator(truth, 8, waves=4)(truth.to_vector().astype("f4")), float)
    noise = 1 + 5e-3 * np.random.default_rng(0).standard_normal(8)
    save_library(tmp_path / "measured.txt", Library(exact * noise, np.arange(1, 9)))
    (tmp_path / "config.toml").write_text(SIMULATOR, encoding="utf-8")
    out = tmp_path / "fit.json"
    arguments = ["--config", tmp_path / "config.toml", "--out", out]
    assert run(capsys, "fit", tmp_path / "measured.txt", *arguments)[0] == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    error = result["covariance"][0][0] ** 0.5
    assert error < 0.005
    assert abs(result["estimates"][0] - 0.085) < 4 * error


def test_simulators_are_for_fits_only(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text(SIMULATOR.replace("[bounds]", "[std]").replace("[0.07, 0.11]", "0.003"))
    code, _, err = run(capsys, "uncertainty", "--config", path)
    assert code == 2
    assert "simulator: only fits can use it" in err
    path.write_text(SIMULATOR.replace("waves = 4", "waves = 0"))
    code, _, err = run(capsys, "fit", tmp_path / "none.txt", "--config", path)
    assert code == 2
    assert "simulator.waves" in err
