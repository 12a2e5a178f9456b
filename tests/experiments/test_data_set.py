"""The committed part of the data set is whole, and as its config says."""

import pytest

from experiments.common import ROOT
from experiments.dataset import card
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.campaign.inspect import kernel_files, verify
from ppiscs_jax.config import load_config
from ppiscs_jax.io.kernels import read_kernels

FOLDER = ROOT / "experiments" / "dataset"


@pytest.mark.slow
def test_committed_kernels():
    """All nodes of the wider campaign are there, each from its own seed.

    Those of Table 1 and those of [111] at low voltage are of campaigns of their own.
    """
    campaigns = [
        load_config(FOLDER / config, Campaign).tasks()
        for config in ("wider.toml", "rings.toml", "table1.toml")
    ]
    seeds = {task.name: task.seed for tasks in campaigns for task in tasks}
    assert [len(tasks) for tasks in campaigns] == [1296, 288, 480]
    assert len(seeds) == 1296
    assert verify(FOLDER / "kernels") == (1296, [])
    found = [
        (name, metadata["seed"])
        for file in kernel_files(FOLDER / "kernels")
        for name, metadata, _ in read_kernels(file)
    ]
    assert len(found) == len(seeds)
    assert dict(found) == seeds


@pytest.mark.slow
def test_card(tmp_path):
    """Tables of one specimen: a row a voltage; without a campaign's log nothing is said of cost."""
    kernels = tmp_path / "kernels"
    kernels.mkdir()
    name = "Ni_100.h5"
    (kernels / name).symlink_to(FOLDER / "kernels" / name)
    card.main([str(kernels), "--out", str(tmp_path / "CARD.md")])
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert text.count("| Ni | 100 | 300 |") == 3
    assert "core-hours" not in text
    assert card.cost_of([1800.0, None]) == "Cost of 1 of these 2 kernels: 0.50 core-hours."
