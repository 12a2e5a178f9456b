"""The committed part of the data set is whole, and as its config says."""

from experiments.common import ROOT
from ppiscs_jax.config import load_config
from ppiscs_jax.dataset.campaign import Campaign
from ppiscs_jax.dataset.inspect import kernel_files, verify
from ppiscs_jax.dataset.kernels import read_kernels

FOLDER = ROOT / "experiments" / "dataset"


def test_committed_kernels():
    """Each file has all tasks of its element and zone axis, made from their own seeds."""
    campaign = load_config(FOLDER / "table1.toml", Campaign)
    whole, problems = verify(FOLDER / "kernels")
    assert problems == []
    assert whole % 30 == 0
    for file in kernel_files(FOLDER / "kernels"):
        seeds = {task.name: task.seed for task in campaign.tasks() if task.group == file.stem}
        assert {name: metadata["seed"] for name, metadata, _ in read_kernels(file)} == seeds
