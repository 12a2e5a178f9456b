"""Work through a campaign: resumable, on one machine or many, losing nothing that is finished."""

import contextlib
import socket
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ppiscs_jax.campaign.cluster import Resources, runner
from ppiscs_jax.campaign.config import Campaign, Task
from ppiscs_jax.campaign.folder import (
    State,
    folder_problem,
    log,
    package_version,
    state,
    task_path,
    working_in,
)
from ppiscs_jax.campaign.task import noise_over_limit, simulate_task, task_grids
from ppiscs_jax.errors import InputError
from ppiscs_jax.io.kernels import save_kernels
from ppiscs_jax.progress import Callback, callback_of, time_left
from ppiscs_jax.simulation.grids import on_accelerator

MOST_COMPILED = 32
"""Grids whose compiled programs a process keeps: each holds on to memory."""


class TaskError(RuntimeError):
    """Some tasks failed; the others are finished."""


@dataclass(frozen=True)
class CampaignProgress:
    """State of a campaign, given to a progress callback at the start and after every task.

    Attributes:
        done, total: tasks.
        task: name of the task that finished last, "" at the start.
        seconds_left: estimated time left [s], NaN until known.
    """

    done: int
    total: int
    task: str
    seconds_left: float

    def __str__(self) -> str:
        """One line: tasks done, the last one, time left."""
        last = f", last {self.task}" if self.task else ""
        return f"{self.done} of {self.total} tasks{last}{time_left(self.seconds_left)}"


@dataclass(frozen=True)
class Summary:
    """Summary of a run.

    Attributes:
        finished_before, made: numbers of tasks.
        damaged: what was wrong with files that had to be made again.
        noisy: names of tasks whose waves ran out above the noise limits.
    """

    finished_before: int
    made: int
    damaged: Sequence[str]
    noisy: Sequence[str]


def generate(
    campaign: Campaign,
    folder: str | Path,
    *,
    resources: Resources | None = None,
    resume: bool = False,
    progress: Callback = None,
) -> Summary:
    """Simulate all tasks of a campaign into files of a folder, one per task.

    May be killed at any time: finished tasks stay, the others are made by the next run, to the
    same numbers but for rounding, and to the same bytes on the same machine with the same
    versions and numbers of threads. Damaged files are made again, and stay until then.

    Args:
        campaign: what to simulate.
        folder: of the files; made if it is not there.
        resources: what to compute on. Default: this process.
        resume: go on in a folder that holds this campaign already. The campaign may have got
            more elements, zone axes, voltages and rmsd.
        progress: called with a `CampaignProgress`; True prints a line every few seconds.

    Warns:
        UserWarning: the folder's kernels are made by different versions of this package.

    Raises:
        InputError: before any work: all that is wrong with folder and resources.
        TaskError: some tasks failed; the others were finished first.
        OSError: a finished file could not be read, whether it is damaged or not; or one could not
            be written, after which no further task was begun; or the scheduler was lost.
    """
    folder, resources = Path(folder).absolute(), resources or Resources()
    problems = resources.problems()
    if problem := folder_problem(folder, campaign, resume):
        problems.append(problem)
    if problems:
        raise InputError(problems)
    tasks = campaign.tasks()
    with working_in(folder, campaign):
        before = state(folder, tasks)
        to_do = before.to_do
        _warn_of_versions(folder, before)
        report = _Report(campaign, to_do, len(before.finished), progress)
        failed, noisy = [], []
        if to_do:
            with (
                runner(resources) as run,
                contextlib.closing(run(partial(_make, campaign, folder), to_do)) as results,
            ):
                for task, result in results:
                    if isinstance(result, OSError):
                        raise result
                    if isinstance(result, Exception):
                        failed.append(f"{task.name}: {type(result).__name__}: {result}")
                        continue
                    log(folder, result)
                    if result.get("noise_over_limit", 0) > 1:
                        noisy.append(task.name)
                    report.finished(task)
        if failed:
            raise TaskError(f"{len(failed)} tasks failed: " + "; ".join(failed[:5]))
    return Summary(len(before.finished), len(to_do), before.damaged, noisy)


def _warn_of_versions(folder: Path, before: State) -> None:
    """Say that the folder's kernels are, or will be, made by different versions of the package."""
    ours = {version("ppiscs-jax")} if before.to_do else set()
    versions = sorted(before.versions.keys() | ours)
    if len(versions) > 1:
        message = f"{folder}: its kernels are made by different versions of ppiscs-jax"
        warnings.warn(f"{message}: {', '.join(versions)}", stacklevel=3)


def _make(campaign: Campaign, folder: Path, task: Task) -> dict[str, Any]:
    """Make the file of a task where it is not there and whole; what the log is to say of it."""
    path = task_path(folder, task)
    started, cpu_started = time.monotonic(), time.process_time()
    entry: dict[str, Any] = {"task": task.name, "worker": socket.gethostname()}
    # A task is given out again if its worker died after it had finished the file.
    if not _is_whole(folder, task):
        _forget_old_programs(campaign, task)
        kernel = simulate_task(campaign, task)
        try:
            save_kernels(path, {task.name: kernel})
        except InputError as error:
            # The folder could be written when the run began: no task will fare better.
            raise OSError(str(error)) from error
        entry["waves"] = kernel.waves
        entry["noise_over_limit"] = round(noise_over_limit(campaign, kernel), 3)
    seconds = {"wall_s": time.monotonic() - started, "cpu_s": time.process_time() - cpu_started}
    return entry | {key: round(value, 2) for key, value in seconds.items()}


def _is_whole(folder: Path, task: Task) -> bool:
    try:
        package_version(folder, task)
    except InputError:
        return False
    return True


_compiled: set[Any] = set()


def _forget_old_programs(campaign: Campaign, task: Task) -> None:
    if on_accelerator():
        return  # grids come from a ladder there, and programs are few
    _compiled.update(task_grids(campaign, task))
    if len(_compiled) > MOST_COMPILED:
        jax.clear_caches()
        _compiled.clear()


class _Report:
    """Counts finished tasks, and tells the time left by what each is expected to cost."""

    def __init__(
        self, campaign: Campaign, to_do: Sequence[Task], finished_before: int, progress: Callback
    ) -> None:
        self.costs = {task: _cost(campaign, task) for task in to_do}
        self.done, self.total = finished_before, finished_before + len(to_do)
        self.cost_done, self.started = 0.0, time.monotonic()
        self.progress = callback_of(progress)
        self._tell("", np.nan)

    def finished(self, task: Task) -> None:
        self.done += 1
        self.cost_done += self.costs[task]
        left = sum(self.costs.values()) - self.cost_done
        self._tell(task.name, (time.monotonic() - self.started) * left / self.cost_done)

    def _tell(self, name: str, seconds_left: float) -> None:
        if self.progress:
            self.progress(CampaignProgress(self.done, self.total, name, float(seconds_left)))


def _cost(campaign: Campaign, task: Task) -> float:
    """About proportional to the time of a task: pixels times atomic planes of most waves."""
    grid = task_grids(campaign, task)[0]
    return float(np.prod(grid.shape)) * len(grid.sites) * campaign.thickest(task)
