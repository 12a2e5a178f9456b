"""`ppiscs train`."""

import pytest

from ppiscs_jax.cli.main import main


def test_start_must_be_a_network(tmp_path, capsys):
    """Found before the data are read."""
    recipe = tmp_path / "recipe.toml"
    stage = "epochs = 1\nlearning_rate = 1e-3\n"
    weights = "weights = { l1n = 1, l2n = 1, l1log = 1, constraint = 0 }\n"
    recipe.write_text(f"seed = 0\n[[stages]]\n{stage}{weights}", encoding="utf-8")
    words = ["train", str(recipe), "--data", str(tmp_path / "missing.h5"), "--start", "additive"]
    with pytest.raises(SystemExit) as exit_:
        main([*words, "--out", str(tmp_path / "out")])
    assert exit_.value.code == 2
    assert "start = 'additive': must be a network" in capsys.readouterr().err
