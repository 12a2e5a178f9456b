"""Come what may, a campaign keeps what is finished and makes the rest to the same numbers."""

import errno
import fcntl
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import pytest
from distributed import LocalCluster

from ppiscs_jax import InputError
from ppiscs_jax.campaign import generate as module
from ppiscs_jax.campaign.cluster import Resources
from ppiscs_jax.campaign.folder import read_campaign, read_log
from ppiscs_jax.campaign.generate import TaskError, generate
from ppiscs_jax.campaign.inspect import contents
from ppiscs_jax.io.kernels import load_kernels, save_kernels
from tests.campaign_samples import SMALL, as_toml, flip_bit, kernels, small_campaign
from tests.kernel_comparison import assert_same_kernel, assert_same_kernels

CAMPAIGN = small_campaign()
NAMES = [task.name for task in CAMPAIGN.tasks()]
VERSION = version("ppiscs-jax")


def hidden(folder):
    return {path.name for path in folder.iterdir() if path.name.startswith(".")} - {".lock"}


def test_a_finished_campaign(finished):
    assert set(kernels(finished)) == set(NAMES)
    assert [entry["task"] for entry in read_log(finished)] == NAMES
    for task in CAMPAIGN.tasks():
        ((name, kernel),) = load_kernels(finished / f"{task.name}.h5").items()
        assert name == task.name
        assert kernel.seed == task.seed
        for field in ("element", "zone_axis", "voltage_kv", "rmsd_angstrom"):
            assert getattr(kernel, field) == getattr(task, field)
    assert read_campaign(finished) == CAMPAIGN
    assert hidden(finished) == set()


@pytest.mark.usefixtures("no_work")
def test_nothing_left_to_do(folder, finished):
    summary = generate(CAMPAIGN, folder, resume=True)
    assert (summary.finished_before, summary.made, summary.damaged) == (8, 0, [])
    assert kernels(folder) == kernels(finished)


def test_resume(half, finished):
    """Only what is missing is made, in the order of the tasks, and progress counts on."""
    states = []
    summary = generate(CAMPAIGN, half, resume=True, progress=states.append)
    assert (summary.finished_before, summary.made) == (4, 4)
    assert kernels(half) == kernels(finished)
    assert [entry["task"] for entry in read_log(half)] == NAMES
    assert [(s.done, s.total, s.task) for s in states] == [
        (4 + i, 8, name) for i, name in enumerate(["", *NAMES[4:]])
    ]
    assert states[-1].seconds_left == 0
    assert all(s.seconds_left > 0 for s in states[1:-1])


def test_a_larger_campaign_goes_on(folder, finished):
    """One more rmsd: two more tasks an element, the others stay as they are."""
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("[!.]*.h5")}
    summary = generate(small_campaign(rmsd_angstrom=[0.08, 0.1, 0.12]), folder, resume=True)
    assert (summary.finished_before, summary.made) == (8, 4)
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("[!.]*.h5") if p.name in before} == (
        before
    )
    assert kernels(folder).items() > kernels(finished).items()


@pytest.mark.slow
def test_a_killed_process(tmp_path, finished):
    """SIGKILL once a first file is there, wherever that hits, also into the lock's holder."""
    config, out = tmp_path / "small.toml", tmp_path / "out"
    config.write_text(as_toml(SMALL), encoding="utf-8")
    code = "from ppiscs_jax.cli.main import main; main()"
    words = [sys.executable, "-c", code, "generate", str(config), "--out", str(out)]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while not (out.is_dir() and kernels(out)):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.1 * (time.time() % 1))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    left = set(kernels(out))
    assert 1 <= len(left) < 8
    summary = generate(CAMPAIGN, out, resume=True)
    assert (summary.finished_before, summary.made, summary.damaged) == (
        len(left),
        8 - len(left),
        [],
    )
    assert_same_kernels(out, finished, NAMES)
    assert hidden(out) == set()


def test_damaged_files_are_made_again(folder, finished):
    """Truncated, one bit flipped, and one that is whole but of another task."""
    truncated, flipped, wrong = (folder / f"{name}.h5" for name in NAMES[:3])
    content = truncated.read_bytes()
    truncated.write_bytes(content[: len(content) // 2])
    flip_bit(flipped)
    shutil.copy(folder / f"{NAMES[3]}.h5", wrong)
    summary = generate(CAMPAIGN, folder, resume=True)
    assert (summary.finished_before, summary.made) == (5, 3)
    assert [said.split(":")[0] for said in summary.damaged] == [
        str(path) for path in (truncated, flipped, wrong)
    ]
    assert all("damaged" in said for said in summary.damaged)
    assert kernels(folder) == kernels(finished)


@pytest.mark.usefixtures("no_work")
def test_a_file_that_cannot_be_read_now_is_kept(folder, finished, monkeypatch):
    """Another program has it open, or the disk fails: no damage, and nothing is made again."""
    path = folder / f"{NAMES[2]}.h5"
    with open(path, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match=f"another program has it open: .*{NAMES[2]}"):
            generate(CAMPAIGN, folder, resume=True)
    read = Path.read_bytes

    def fail(given):
        if given == path:
            raise OSError(errno.EIO, "Input/output error")
        return read(given)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(OSError, match=f"Input/output error: .*{NAMES[2]}"):
        generate(CAMPAIGN, folder, resume=True)
    monkeypatch.undo()
    assert kernels(folder) == kernels(finished)


def test_a_damaged_file_stays_until_it_is_replaced(folder, monkeypatch):
    path = folder / f"{NAMES[0]}.h5"
    flip_bit(path)
    before = kernels(folder)

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module, "simulate_task", fail)
    with pytest.raises(TaskError):
        generate(CAMPAIGN, folder, resume=True)
    assert kernels(folder) == before


@pytest.mark.usefixtures("no_work")
def test_kernels_of_different_versions(folder, monkeypatch):
    """It is said, and everything goes on."""
    path = folder / f"{NAMES[0]}.h5"
    content = load_kernels(path)
    with monkeypatch.context() as earlier:
        earlier.setattr("ppiscs_jax.io.kernels.version", lambda _: "0.0.9")
        save_kernels(path, content)
    with pytest.warns(UserWarning, match=f"different versions of ppiscs-jax: 0.0.9, {VERSION}"):
        assert generate(CAMPAIGN, folder, resume=True).finished_before == 8
    assert {v for c in contents(folder) for v in c.versions} == {"0.0.9", VERSION}


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "killed before its first task"])
def test_leftovers_of_a_killed_process(begun, half, tmp_path, finished):
    """Temporary files count for nothing and go away."""
    folder = half if begun else tmp_path / "new"
    folder.mkdir(exist_ok=True)
    (folder / f".{NAMES[5]}.123.h5").write_bytes(b"half")
    (folder / ".campaign.123.json").write_bytes(b"{")
    generate(CAMPAIGN, folder, resume=begun)
    assert kernels(folder) == kernels(finished)
    assert hidden(folder) == set()


@pytest.mark.slow
def test_two_workers_make_the_same_kernels(tmp_path, finished):
    """A task each, for time. Workers have one thread each, and so may round otherwise."""
    two = small_campaign(elements=["Al"], voltages_kv=[60])
    generate(two, tmp_path, resources=Resources(workers=2))
    assert_same_kernels(tmp_path, finished, NAMES[:2])
    assert sorted(entry["task"] for entry in read_log(tmp_path)) == sorted(NAMES[:2])


def test_kernels_are_compared_to_within_rounding(finished, tmp_path):
    """Noise as of sums in float32 passes; the same task from other random draws does not."""
    task, path, other = CAMPAIGN.tasks()[0], finished / f"{NAMES[0]}.h5", tmp_path / "other.h5"
    kernel = module.simulate_task(CAMPAIGN, task)
    noise = 1 + 2.0**-24 * np.random.default_rng(1).standard_normal(kernel.batch_means.shape)
    save_kernels(other, {task.name: replace(kernel, batch_means=noise * kernel.batch_means)})
    assert other.read_bytes() != path.read_bytes()
    assert_same_kernel(other, path)
    drawn = module.simulate_task(CAMPAIGN, replace(task, campaign_seed=6))
    save_kernels(other, {task.name: replace(drawn, seed=task.seed, lost=kernel.lost)})
    with pytest.raises(AssertionError, match=r"mean: differs by .* steps of the file"):
        assert_same_kernel(other, path)


@pytest.mark.slow
def test_a_worker_is_killed(tmp_path, finished):
    """SIGKILL at the first result, when both workers are at their next task."""
    killed = []

    def kill_one(state):
        if not state.task or killed:
            return
        for child in psutil.Process().children(recursive=True):
            # Zombies, which earlier tests may have left, have no command line.
            alive = child.status() != psutil.STATUS_ZOMBIE
            if alive and "spawn_main" in " ".join(child.cmdline()):
                killed.append(child.pid)
                os.kill(child.pid, signal.SIGKILL)
                return

    generate(CAMPAIGN, tmp_path, resources=Resources(workers=2), progress=kill_one)
    assert killed
    assert_same_kernels(tmp_path, finished, NAMES)
    assert sorted(entry["task"] for entry in read_log(tmp_path)) == sorted(NAMES)
    assert hidden(tmp_path) == set()


@pytest.fixture
def full_disk(monkeypatch):
    """From the sixth task on no more than 4000 bytes go into a file, as the system sees to it."""
    saved = []

    def save(path, kernels):
        saved.append(path.stem)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if NAMES.index(path.stem) >= 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
        try:
            save_kernels(path, kernels)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(module, "save_kernels", save)
    return saved


def assert_stopped_and_resumed(folder, finished, monkeypatch):
    assert set(kernels(folder)) == set(NAMES[:5])
    assert hidden(folder) == set()
    monkeypatch.undo()
    assert generate(CAMPAIGN, folder, resume=True).made == 3
    assert kernels(folder) == kernels(finished)


def test_a_full_disk(half, finished, full_disk, monkeypatch):
    """The run stops with the name of the file; what was finished stays, nothing is half there."""
    with pytest.raises(OSError, match=f"too large.*{NAMES[5]}"):
        generate(CAMPAIGN, half, resume=True)
    assert full_disk == NAMES[4:6]
    assert_stopped_and_resumed(half, finished, monkeypatch)


def test_a_full_disk_where_a_scheduler_works(half, finished, full_disk, monkeypatch):
    """One worker, in a thread of this process; it may have begun with one more task."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        resources = Resources(scheduler=cluster.scheduler_address)
        with pytest.raises(OSError, match=f"too large.*{NAMES[5]}"):
            generate(CAMPAIGN, half, resources=resources, resume=True)
    assert_stopped_and_resumed(half, finished, monkeypatch)


def test_a_disk_without_room_for_any_file(half, monkeypatch):
    """As where a folder cannot be written any more: said once, not of every task to come."""

    def refuse(path, _):
        raise InputError(f"output {path}: cannot write in {path.parent}, No space left on device")

    monkeypatch.setattr(module, "save_kernels", refuse)
    with pytest.raises(OSError, match=f"{NAMES[4]}.*No space left"):
        generate(CAMPAIGN, half, resume=True)


def test_a_task_fails(half, finished, monkeypatch):
    """The others are finished, then it is named; the next run makes it."""

    def fail(campaign, task):
        if task.name == NAMES[5]:
            raise RuntimeError("out of memory")
        return simulate(campaign, task)

    simulate = module.simulate_task
    monkeypatch.setattr(module, "simulate_task", fail)
    with pytest.raises(TaskError, match=f"1 tasks failed: {NAMES[5]}: RuntimeError: out of memory"):
        generate(CAMPAIGN, half, resume=True)
    assert set(kernels(half)) == set(NAMES) - {NAMES[5]}
    monkeypatch.undo()
    generate(CAMPAIGN, half, resume=True)
    assert kernels(half) == kernels(finished)
