"""Tasks run where they should, and what goes wrong there is said as what it is."""

import sys
import threading
import time

import pytest

from ppiscs_jax import InputError
from ppiscs_jax.campaign.cluster import Resources, runner


@pytest.fixture
def scheduler():
    """A dask cluster in threads of this process."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
    ) as cluster:
        yield cluster


def test_all_problems_of_resources_at_once(tmp_path):
    slurm = tmp_path / "slurm.toml"
    slurm.write_text("jobs = 0\n")
    said = "; ".join(Resources(workers=0, scheduler="tcp://x:1", slurm=slurm).problems())
    assert "workers = 0: must be 1 or more" in said
    assert "scheduler and slurm: give one of them, not both" in said
    assert f"slurm: config {slurm}: jobs = 0: " in said
    assert f"slurm: config {slurm}: cluster: missing" in said
    assert Resources(workers=2).problems() == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("jobs = 2", "cluster: missing"),
        ("jobs = 2\ncluster = 3", "cluster = 3: "),
        ("jobs = 1.5\n[cluster]", "jobs = 1.5: "),
        ("jobs = true\n[cluster]", "jobs = True: "),
        ("jobs = 2\njob = 3\n[cluster]", "job: unknown key; nearest valid one: jobs"),
    ],
)
def test_bad_slurm_files(content, said, tmp_path):
    path = tmp_path / "slurm.toml"
    path.write_text(content)
    (problem,) = Resources(slurm=path).problems()
    assert problem.startswith(f"slurm: config {path}: {said}")


def test_unreadable_slurm_files(tmp_path):
    path = tmp_path / "slurm.toml"
    (problem,) = Resources(slurm=path).problems()
    assert problem.startswith(f"slurm: config {path}: ")
    path.write_text("jobs = ")
    assert Resources(slurm=path).problems()[0].startswith(f"slurm: config {path}: ")


def test_slurm_without_its_package(tmp_path, monkeypatch):
    path = tmp_path / "slurm.toml"
    path.write_text("jobs = 2\n[cluster]\n")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(InputError, match="install ppiscs-jax with the extra"):
        runner(Resources(slurm=path)).__enter__()


def command(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.slow
def test_slurm(tmp_path, monkeypatch):
    """Job scripts reach `sbatch`, here one that runs them at once, and their workers work."""
    pytest.importorskip("dask_jobqueue")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "slurm.toml"
    path.write_text("jobs = 1\n[cluster]\ncores = 1\nmemory = '1GB'\nprocesses = 1\n")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(InputError, match="no command sbatch"):
        runner(Resources(slurm=path)).__enter__()
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    command(tmp_path, "sbatch", "sh $1 > log 2>&1 & echo $! > pid; echo Submitted batch job $!")
    command(tmp_path, "scancel", "kill $1")
    with runner(Resources(slurm=path)) as run:
        assert dict(run(abs, [-2, 3])) == {-2: 2, 3: 3}


@pytest.mark.parametrize("arguments", ["cores = 1", "cores = 1\nmemory = '1GB'\nbogus = 1"])
def test_bad_arguments_of_slurm(arguments, tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    path = tmp_path / "slurm.toml"
    path.write_text(f"jobs = 1\n[cluster]\n{arguments}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    command(tmp_path, "sbatch", "exit 1")
    with pytest.raises(InputError, match=f"slurm {path}: "):
        runner(Resources(slurm=path)).__enter__()


def test_not_a_scheduler():
    with pytest.raises(InputError, match="scheduler = 'nonsense': missing port"):
        runner(Resources(scheduler="nonsense")).__enter__()


@pytest.mark.parametrize("address", ["", " "])
def test_an_empty_address(address):
    """It is a mistake, not the wish to compute here."""
    (problem,) = Resources(scheduler=address).problems()
    assert problem.startswith(f"scheduler = {address!r}: must be an address")


def test_errors_are_those_of_the_work(scheduler, caplog):
    """A full disk is not a wrong address of the scheduler; other tasks' results arrive.

    Dask, which would print the error with its traceback, is told nothing of it.
    """

    def work(item):
        if item == 1:
            raise OSError(28, "No space left on device")
        return 10 * item

    for resources in (Resources(), Resources(scheduler=scheduler.scheduler_address)):
        with runner(resources) as run:
            results = dict(run(work, range(3)))
        assert (results[0], results[2]) == (0, 20)
        assert isinstance(results[1], OSError)
        with pytest.raises(OSError, match="No space"), runner(resources) as run:  # noqa: PT012
            for _, result in run(work, [1]):
                raise result
    assert "No space left" not in caplog.text


started, go = threading.Event(), threading.Event()


def slow(item):
    started.set()
    go.wait(30)
    return "slow", item


def fast(item):
    return "fast", item


def test_two_runs_share_a_scheduler(scheduler):
    """Tasks of the same name in two folders at the same time are two tasks."""
    here = Resources(scheduler=scheduler.scheduler_address)
    with runner(here) as first, runner(here) as second:
        results = []
        thread = threading.Thread(target=lambda: results.extend(first(slow, ["task"])))
        thread.start()
        assert started.wait(30)
        assert list(second(fast, ["task"])) == [("task", ("fast", "task"))]
        go.set()
        thread.join(30)
    assert results == [("task", ("slow", "task"))]


def test_the_scheduler_is_lost(scheduler):
    with (  # noqa: PT012
        pytest.raises(ConnectionError, match="lost the connection to the dask scheduler"),
        runner(Resources(scheduler=scheduler.scheduler_address)) as run,
    ):
        for _ in run(lambda item: time.sleep(0.2 * item), range(50)):
            scheduler.close()
