"""`ppiscs generate` and `ppiscs dataset`: what they say, where, and with which exit code."""

import functools
import re
import shutil

import pytest

from ppiscs_jax.campaign import generate as campaigns
from ppiscs_jax.campaign.generate import CampaignProgress
from ppiscs_jax.cli import generate as command
from ppiscs_jax.cli.main import main
from ppiscs_jax.cli.progress import show_progress
from ppiscs_jax.io.kernels import load_kernels
from tests.campaign_samples import SMALL, as_toml, flip_bit, small_campaign

NAMES = [task.name for task in small_campaign().tasks()]


def run(capsys, *words) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    return exit_.value.code or 0, *capsys.readouterr()


def refused(capsys, *words) -> str:
    """The one line that is said of bad input."""
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err.removeprefix("error: ")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(as_toml(SMALL), encoding="utf-8")
    return path


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished folder."""
    return shutil.copytree(finished, tmp_path / "copy")


def test_generate(capsys, config, tmp_path, monkeypatch, finished):
    """Into output/CONFIG unless told otherwise; plain lines where there is no terminal."""
    monkeypatch.chdir(tmp_path)
    every = functools.partial(show_progress, seconds_between_lines=0)
    monkeypatch.setattr(command, "show_progress", every)
    code, out, err = run(capsys, "generate", config)
    assert (code, out) == (0, "output/small: 8 tasks made, 0 were finished before\n")
    lines = err.splitlines()
    assert lines[0] == "0 of 8 tasks"
    for i, (line, name) in enumerate(zip(lines[1:-1], NAMES, strict=False), 1):
        # How many minutes depends on the machine.
        assert re.fullmatch(
            rf"{i} of 8 tasks, last {re.escape(name)}, about \d+ (s|min) left", line
        )
    assert "\x1b" not in err
    made = {path.name: path.read_bytes() for path in (tmp_path / "output/small").glob("*.h5")}
    assert made == {path.name: path.read_bytes() for path in finished.glob("*.h5")}


def test_resume(capsys, config, folder):
    flip_bit(folder / f"{NAMES[0]}.h5")
    (folder / f"{NAMES[1]}.h5").unlink()
    code, out, err = run(capsys, "generate", config, "--out", folder, "--resume")
    assert (code, out) == (0, f"{folder}: 2 tasks made, 6 were finished before\n")
    assert err.startswith(f"made again: {folder / NAMES[0]}.h5: damaged, kernel {NAMES[0]} (")


def test_progress_line():
    nan = float("nan")
    assert str(CampaignProgress(0, 8, "", nan)) == "0 of 8 tasks"
    assert str(CampaignProgress(1, 8, "Al_100_60kV_0.1A", 3599.0)) == (
        "1 of 8 tasks, last Al_100_60kV_0.1A, about 1 h 0 min left"
    )


def test_generate_refuses(capsys, config, folder, tmp_path, monkeypatch):
    """Before any work and without a folder, in one line, all that is wrong."""

    def refuse(*_):
        raise AssertionError("work started")

    monkeypatch.setattr(campaigns, "simulate_task", refuse)
    out = tmp_path / "new"
    assert f"config {tmp_path / 'none.toml'}: " in refused(
        capsys, "generate", tmp_path / "none.toml", "--out", out
    )
    said = refused(
        capsys, "generate", config, "--out", folder, "--workers", "0", "--slurm", "none.toml"
    )
    for part in ("workers = 0: must be 1 or more", "config none.toml: ", "resume it with --resume"):
        assert part in said
    assert "give one of them, not both" in refused(
        capsys, "generate", config, "--out", out, "--scheduler", "tcp://x:1", "--slurm", config
    )
    assert "scheduler = '': must be an address" in refused(
        capsys, "generate", config, "--out", out, "--scheduler", ""
    )
    assert not out.exists()
    assert "scheduler = 'nonsense': missing port" in refused(
        capsys, "generate", config, "--out", out, "--scheduler", "nonsense"
    )
    assert "--bogus" in refused(capsys, "generate", config, "--bogus")
    config.write_text(as_toml(SMALL | {"elements": ["Fe"], "sead": 1}), encoding="utf-8")
    said = refused(capsys, "generate", config, "--out", out)
    assert "element = 'Fe': must be one of" in said
    assert "sead: unknown key; nearest valid one: seed" in said


def test_a_failed_task(capsys, config, folder, monkeypatch):
    """Exit code 1, with the task and why."""

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(campaigns, "simulate_task", fail)
    (folder / f"{NAMES[7]}.h5").unlink()
    code, out, err = run(capsys, "generate", config, "--out", folder, "--resume")
    assert (code, out) == (1, "")
    assert err.splitlines()[-1] == (
        f"error: 1 tasks failed: {NAMES[7]}: RuntimeError: out of memory"
    )


def test_verify(capsys, folder, tmp_path):
    """A line on each problem on stderr, and exit code 1."""
    assert run(capsys, "dataset", "verify", folder) == (
        0,
        f"{folder}: 8 kernels whole, 0 problems\n",
        "",
    )
    flip_bit(folder / f"{NAMES[0]}.h5")
    (folder / f"{NAMES[1]}.h5").unlink()
    code, out, err = run(capsys, "dataset", "verify", folder)
    assert (code, out) == (1, f"{folder}: 6 kernels whole, 2 problems\n")
    damaged, missing = err.splitlines()
    assert f"{NAMES[0]}.h5: damaged, kernel {NAMES[0]} (" in damaged
    assert missing == f"{folder}: 1 of 8 tasks are not finished"
    # One file alone.
    assert run(capsys, "dataset", "verify", folder / f"{NAMES[2]}.h5")[0] == 0
    assert run(capsys, "dataset", "verify", folder / f"{NAMES[0]}.h5")[0] == 1
    assert "no such file" in refused(capsys, "dataset", "verify", tmp_path / "none.h5")
    (tmp_path / "empty").mkdir()
    assert "no kernels in it" in refused(capsys, "dataset", "verify", tmp_path / "empty")


def test_info(capsys, finished, tmp_path):
    """A line an element and zone axis; no noise at detectors that reach outside the kernels."""
    code, out, err = run(capsys, "dataset", "info", finished)
    assert (code, err) == (0, "")
    for element in ("Al", "Ni"):
        (line,) = [line for line in out.splitlines() if f" {element} " in line]
        for part in ("100", "60, 300", "0.08, 0.12", "17.5–26", "192"):
            assert part in line
    assert "no such file" in refused(capsys, "dataset", "info", tmp_path / "none")


def test_pack(capsys, folder, tmp_path):
    """One file, or one a group; every kernel keeps its bits; unpacking gives the files back."""
    file, packed, unpacked = tmp_path / "all.h5", tmp_path / "packed", tmp_path / "unpacked"
    assert run(capsys, "dataset", "pack", folder, file) == (0, f"wrote {file}\n", "")
    assert set(load_kernels(file)) == set(NAMES)
    (folder / f"{NAMES[0]}.h5").unlink()
    code, out, err = run(capsys, "dataset", "pack", folder, packed)
    assert (code, out) == (0, f"wrote {packed / 'Ni_100.h5'}\n")
    assert err == "not finished, left out: Al_100\n"
    assert set(load_kernels(packed / "Ni_100.h5")) == set(NAMES[4:])
    assert run(capsys, "dataset", "verify", packed)[0] == 0
    assert run(capsys, "dataset", "unpack", packed / "Ni_100.h5", unpacked) == (
        0,
        f"{unpacked}: 4 kernels written\n",
        "",
    )
    for name in NAMES[4:]:
        kernel = f"{name}.h5"
        assert (unpacked / kernel).read_bytes() == (folder / kernel).read_bytes()


def test_unpack_refuses(capsys, finished, tmp_path):
    """What is not a file of kernels, and a folder that is none; nothing is left behind."""
    bad, out, file = tmp_path / "bad.h5", tmp_path / "new", tmp_path / "file"
    bad.write_text("no kernels")
    assert "bad.h5: damaged, or not a file of" in refused(capsys, "dataset", "unpack", bad, out)
    assert "no such file" in refused(capsys, "dataset", "unpack", tmp_path / "none.h5", out)
    assert "is a folder, not a file" in refused(capsys, "dataset", "unpack", tmp_path, out)
    assert not out.exists()
    file.write_text("kept")
    good = finished / f"{NAMES[0]}.h5"
    assert f"{file}: is not a folder" in refused(capsys, "dataset", "unpack", good, file)


def test_pack_refuses(capsys, folder, tmp_path):
    out = tmp_path / "all.h5"
    for inside in (folder, folder / "all.h5", folder / f"{NAMES[0]}.h5"):
        assert "must be outside of" in refused(capsys, "dataset", "pack", folder, inside)
    assert "holds no campaign" in refused(capsys, "dataset", "pack", tmp_path, out)
    (folder / f"{NAMES[1]}.h5").unlink()
    assert "1 of 8 tasks are not finished" in refused(capsys, "dataset", "pack", folder, out)
    flip_bit(folder / f"{NAMES[0]}.h5")
    assert f"damaged, kernel {NAMES[0]}" in refused(capsys, "dataset", "pack", folder, out)
    assert not out.exists()
