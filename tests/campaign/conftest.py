"""Folders of the small campaign to work on, and a campaign that must not begin to work."""

import shutil

import pytest

from ppiscs_jax.campaign import generate as module
from tests.campaign_samples import small_campaign

NAMES = [task.name for task in small_campaign().tasks()]


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished folder."""
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.fixture
def half(folder):
    """A copy in which the second half of the tasks is still to do, and the log is of the first."""
    for name in NAMES[4:]:
        (folder / f"{name}.h5").unlink()
    log = folder / "log.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:4]))
    return folder


@pytest.fixture
def no_work(monkeypatch):
    def refuse(*_):
        raise AssertionError("work started")

    monkeypatch.setattr(module, "simulate_task", refuse)
