"""The experiment on counting runs on its reduced config, and its committed result is of its own."""

import json

import pytest

from experiments.common import ROOT, load_config
from experiments.counting import run as counting

FOLDER = ROOT / "experiments" / "counting"


@pytest.mark.slow
def test_quick(tmp_path):
    """Two particles of 40 columns: at most a few columns are wrong, where the limit is 0.8 %."""
    arguments = ["--config", str(FOLDER / "quick.toml"), "--out", str(tmp_path)]
    assert counting.command(arguments) == 0
    (row,) = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["results"]
    assert row["limit"] == pytest.approx(0.008, abs=0.002)
    assert row["wrong"]["joint"] < 0.15
    assert sum(row["pit_deciles"]) == 80


def test_result_is_of_its_config():
    path = FOLDER / "result" / "result.json"
    stored = json.loads(path.read_text(encoding="utf-8"))["config"]
    config = load_config(FOLDER / "config.toml", counting.Config)
    assert stored == json.loads(json.dumps(config.model_dump()))
