"""Fresh simulations, errors of surrogates on them, and their speed, on reduced configs."""

import json

import numpy as np
import pytest

from experiments.common import ROOT
from experiments.fresh_check import run as fresh_check
from experiments.speed import run as speed
from experiments.surrogate_errors import run as surrogate_errors
from ppiscs_jax.surrogate.evaluate import load_held_out


def config_of(name, tmp_path, **changes):
    """Path of a copy of an experiment's config, with numbers replaced."""
    lines = (ROOT / "experiments" / name / "config.toml").read_text(encoding="utf-8").splitlines()
    changed = [line.split(" = ")[0] for line in lines]
    assert set(changes) <= set(changed)
    text = "\n".join(
        f"{key} = {json.dumps(changes[key])}" if key in changes else line
        for key, line in zip(changed, lines, strict=True)
    )
    path = tmp_path / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """Folder of one simulation of nickel: as few waves as a pilot has, 128."""
    folder = tmp_path_factory.mktemp("fresh")
    config = config_of(
        "fresh_check",
        folder,
        simulations=1,
        elements=["Ni"],
        zone_axes=["100"],
        voltages_kv=[60, 60.5],
        cell_angstrom=3.5,
        noise=0.9,
    )
    assert fresh_check.command(["--config", str(config), "--out", str(folder / "out")]) == 0
    return folder / "out"


@pytest.mark.slow
def test_fresh_check(held_out, tmp_path):
    """210 detectors up to 61 atoms, with errors; what is there is not simulated again."""
    read = load_held_out(held_out / "held_out.npz")
    assert read.x.shape == (1, 210, 9)
    assert read.ppiscs.shape == read.standard_error.shape == (1, 210, 87)
    assert np.all(np.isnan(read.ppiscs[..., 61:]))
    assert np.nanmin(read.standard_error) > 0
    relative = np.nanmean(read.standard_error, axis=-1) / np.nanmax(read.ppiscs, axis=-1)
    assert 1e-3 < np.mean(relative) < 3e-2
    assert json.loads(read.about)["config"]["elements"] == ["Ni"]
    config = held_out.parent / "fresh_check.toml"
    part = held_out / "parts" / "000.npz"
    before = part.stat().st_mtime_ns
    assert fresh_check.command(["--config", str(config), "--out", str(held_out)]) == 0
    assert part.stat().st_mtime_ns == before


@pytest.mark.slow
def test_surrogate_errors(held_out, tmp_path):
    """The surrogate is off by the check's noise: scores far below one percent of the maximum."""
    config = config_of(
        "surrogate_errors",
        tmp_path,
        held_out=str(held_out / "held_out.npz"),
        surrogates=["additive"],
        figures_of="additive",
    )
    out = tmp_path / "out"
    assert surrogate_errors.command(["--config", str(config), "--out", str(out)]) == 0
    rows = json.loads((out / "result.json").read_text(encoding="utf-8"))["rows"]
    assert [row["curves of"] for row in rows][2:] == ["Ni [100]"]
    assert rows[0]["mean"] < 1e-2
    assert (out / "errors.png").stat().st_size > 10_000


@pytest.mark.slow
def test_speed(tmp_path):
    """Times of everything that is there; with one thread a prediction takes no second."""
    config = config_of("speed", tmp_path, rounds=1, batches=[1, 8], cold_starts=1)
    assert speed.command(["--config", str(config), "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["rows"]
    times = {row["what"]: row["microseconds"] for row in rows}
    assert 0 < times["additive, batch 8"] < 1e6
    assert "cold start to first prediction" in times


@pytest.mark.parametrize("experiment", [fresh_check, surrogate_errors, speed])
def test_bad_configs(experiment, tmp_path, capsys):
    path = tmp_path / "bad.toml"
    path.write_text("sead = 1", encoding="utf-8")
    assert experiment.command(["--config", str(path), "--out", str(tmp_path / "out")]) == 2
    assert "sead: unknown key" in capsys.readouterr().err
