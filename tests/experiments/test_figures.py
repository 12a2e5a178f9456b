"""The paper's figures, by the surrogate, on reduced configs."""

import csv
import json

import numpy as np
import pytest

from experiments.common import load_config
from experiments.error_probability import run as error_probability
from experiments.sensitivity import run as sensitivity
from tests.experiments.test_experiments import folder, quick, result_of

EXPERIMENTS = {"sensitivity": sensitivity, "error_probability": error_probability}


def rows_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


@pytest.mark.slow
def test_sensitivity(tmp_path):
    """Aberrations change nothing, not a digit; the rest goes as it must.

    Heavier columns scatter more, and wider detectors collect more, at any thickness; faster
    electrons are scattered less by one atom. Rutherford's power of Z is 2, lowered by screening.
    """
    result = result_of(sensitivity, quick("sensitivity", tmp_path), tmp_path / "out")
    panels = {panel["varied"]: panel for panel in result["panels"]}
    for field in ("c30_mm", "c10_angstrom"):
        assert panels[field]["largest_spread_percent"] == 0
    for field, sign in {"element": 1, "inner_mrad": -1, "outer_mrad": 1}.items():
        assert np.all(sign * np.array(panels[field]["power"]) > 0), field
    assert panels["voltage_kv"]["power"][0] < 0
    assert 1 < panels["element"]["power"][0] < 2
    curves = rows_of(tmp_path / "out" / "curves.csv")
    (narrow,) = [c for c in curves if c["varied"] == "inner_mrad" and c["value"] == "100"]
    (standard,) = [c for c in curves if c["varied"] == "element" and c["value"] == "Au"]
    assert all(float(narrow[f"n={n}"]) < float(standard[f"n={n}"]) for n in range(1, 88))
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"curves.csv", "result.json", "sensitivity.png"}


def test_curves_are_described():
    """0, 1, 2, 1: falls by 1 of 2. The nearest line through 0 has slope 12/30: 0.8 at most off."""
    assert sensitivity.fall_percent(np.array([0.0, 1, 2, 1])) == pytest.approx(50)
    assert sensitivity.nonlinearity(np.array([0.0, 1, 2, 1])) == pytest.approx(0.8 / 2)
    assert sensitivity.nonlinearity(np.array([0.3, 0.6, 0.9])) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
def test_error_probability(tmp_path):
    """P_e falls with the dose and grows with the number of hypotheses, at every angle."""
    given, tables = quick("error_probability", tmp_path), []
    for dose in ("1e4", "1e5"):
        out = tmp_path / dose
        given.write_text(given.read_text(encoding="utf-8").replace("1e4", dose), encoding="utf-8")
        result_of(error_probability, given, out)
        rows = rows_of(out / "error_probability.csv")
        tables.append(np.array([[float(v or "nan") for v in list(r.values())[2:]] for r in rows]))
    few, many = tables
    there = np.isfinite(few)
    assert np.all((few[there] > 0) & (few[there] < 1))
    assert np.all(many[there] < few[there])
    thin, thick = (i for i, row in enumerate(rows) if row["varied"] == "most_atoms")
    assert np.all(few[thin] < few[thick])
    # No detector inside an aperture of 35.5 mrad, nor beyond an outer angle of 100 mrad.
    blank = {(r["varied"], r["value"]): np.isnan(t) for r, t in zip(rows, few, strict=True)}
    assert blank["convergence_mrad", "35.5"].tolist() == [True] + 6 * [False]
    assert blank["outer_mrad", "100"].tolist() == 4 * [False] + 3 * [True]
    names = {p.name for p in out.iterdir()}
    assert names == {"error_probability.csv", "result.json", "error_probability.png"}


BAD = [
    ("sensitivity", "surrogate", "surogate", "surogate: unknown key"),
    ("sensitivity", '"additive"', '"worst"', "name = 'worst': must be one of additive"),
    ("sensitivity", '["Ag", "Au"]', '["Fe", "Xx"]', "vary.element = Xx: element = 'Xx': must be"),
    ("sensitivity", "[60, 200]", "[0, 200]", "vary.voltage_kv = 0.0: voltage_kv = 0 kV: must be"),
    ("sensitivity", "[1, 87]", "[1, 88]", "told_at = [1, 88]: must be up to 87 atoms"),
    ("error_probability", "dose", "does", "does_per_angstrom2: unknown key"),
    ("error_probability", '"additive"', '"worst"', "name = 'worst': must be one of additive"),
    ("error_probability", '["Ag", "Au"]', '["Fe", "Xx"]', "vary.element = Xx: element = 'Xx'"),
    ("error_probability", "[300, 500]", "[0, 500]", "vary.temperature_k = 0.0: temperature_k = 0"),
    pytest.param(
        "error_probability",
        "[20, 61]",
        "[20, 62]",
        "vary.most_atoms = 62: axes: the forward model gives no curve of 1 to 62 atoms",
        marks=pytest.mark.slow,  # found while the others are computed
    ),
]


@pytest.mark.parametrize(("name", "old", "new", "said"), BAD)
def test_bad_configs_are_refused(tmp_path, capsys, name, old, new, said):
    """Every problem in a line on stderr, exit code 2, nothing written."""
    out = tmp_path / "out"
    config = quick(name, tmp_path, old, new)
    assert EXPERIMENTS[name].command(["--config", str(config), "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_committed_result_is_of_the_config(name):
    """The config saved with the committed result is the committed config."""
    config = load_config(folder(name) / "config.toml", EXPERIMENTS[name].Config)
    saved = json.loads((folder(name) / "result" / "result.json").read_text(encoding="utf-8"))
    assert json.loads(config.model_dump_json()) == saved["config"]
    assert saved["provenance"]["versions"]["ppiscs-jax"]
