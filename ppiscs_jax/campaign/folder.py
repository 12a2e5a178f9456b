"""The folder of a campaign: its finished tasks, and its lock."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppiscs_jax.campaign.config import Campaign, Task
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import LOCK_FILE, append_json, claimed, replacing
from ppiscs_jax.io.kernels import read_kernels

CAMPAIGN_FILE = "campaign.json"
LOG_FILE = "log.jsonl"

LEFTOVERS = (".*.h5", ".campaign.*.json")
"""Names of files that a killed run may leave half-written."""


def task_path(folder: Path, task: Task) -> Path:
    """Path of the kernel of a task."""
    return folder / f"{task.name}.h5"


def read_campaign(folder: Path) -> Campaign | None:
    """The campaign whose folder this is, if it is one.

    Raises:
        InputError: its campaign file is damaged.
    """
    path = folder / CAMPAIGN_FILE
    if not path.exists():
        return None
    try:
        return Campaign.model_validate(json.loads(path.read_text(encoding="utf-8"))["config"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: damaged ({error})") from error


def folder_problem(folder: Path, campaign: Campaign, resume: bool) -> str | None:
    """Say why a campaign cannot be worked on in a folder, or None."""
    if not folder.exists():
        return None
    if not folder.is_dir():
        return f"output {folder}: is not a folder"
    there = read_campaign(folder)
    if there is None:
        others = [
            p.name for p in folder.iterdir() if not any(map(p.match, (LOCK_FILE, *LEFTOVERS)))
        ]
        # Kernels alone may have been unpacked here to go on from; each is checked.
        unpacked = resume and set(others) <= {task_path(folder, t).name for t in campaign.tasks()}
        return (
            f"output {folder}: holds {others[0]} and no campaign"
            if others and not unpacked
            else None
        )
    if there.fingerprint != campaign.fingerprint:
        ours, theirs = campaign.model_dump(), there.model_dump()
        fields = [f for f in ours if f not in Campaign.NODES and ours[f] != theirs[f]]
        return f"output {folder}: holds another campaign, that differs in {', '.join(fields)}"
    if not resume:
        return f"output {folder}: holds this campaign already; resume it with --resume"
    return None


@contextmanager
def working_in(folder: Path, campaign: Campaign) -> Iterator[None]:
    """The folder as this process's own, with the campaign's config in it.

    Raises:
        InputError: another process works in it.
    """
    with claimed(folder):
        for leftover in (path for pattern in LEFTOVERS for path in folder.glob(pattern)):
            leftover.unlink()
        content = {"fingerprint": campaign.fingerprint, "config": campaign.model_dump(mode="json")}
        with replacing(folder / CAMPAIGN_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        yield


@dataclass(frozen=True)
class State:
    """Progress of a campaign.

    Attributes:
        finished, to_do: its tasks.
        damaged: what is wrong with the files of tasks that are still to do.
        versions: numbers of finished kernels by the version of this package that made them.
    """

    finished: list[Task]
    to_do: list[Task]
    damaged: list[str]
    versions: Counter[str]


def package_version(folder: Path, task: Task) -> str:
    """The version of this package that made the file of a finished task, all of which is checked.

    Raises:
        InputError: the file is damaged, or not that of the task.
        OSError: the system could not read the file, which may be whole.
    """
    path = task_path(folder, task)
    kernels = {name: metadata for name, metadata, _ in read_kernels(path)}
    if {name: metadata["seed"] for name, metadata in kernels.items()} != {task.name: task.seed}:
        raise InputError(f"{path}: damaged, not the kernel {task.name} of seed {task.seed}")
    return kernels[task.name]["package_version"]


def state(folder: Path, tasks: Sequence[Task]) -> State:
    """Which tasks are finished, which still to do, and what is damaged of these.

    Raises:
        OSError: the system could not read a file, which may be whole.
    """
    found = State([], [], [], Counter())
    for task in tasks:
        if not task_path(folder, task).exists():
            found.to_do.append(task)
            continue
        try:
            found.versions[package_version(folder, task)] += 1
        except InputError as error:
            found.to_do.append(task)
            found.damaged.append(str(error))
        else:
            found.finished.append(task)
    return found


def log(folder: Path, entry: dict[str, Any]) -> None:
    """Append a line to the campaign's log."""
    append_json(folder / LOG_FILE, entry)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of the campaign's log; one that was cut off is left out."""
    entries = []
    path = folder / LOG_FILE
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries
