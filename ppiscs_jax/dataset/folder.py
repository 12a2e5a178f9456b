"""The folder of a campaign: what is finished in it, and that nobody else works in it."""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppiscs_jax.dataset.campaign import Campaign, Task
from ppiscs_jax.dataset.kernels import read_kernels
from ppiscs_jax.errors import InputError
from ppiscs_jax.files import replacing

CAMPAIGN_FILE = "campaign.json"
LOG_FILE = "log.jsonl"
LOCK_FILE = ".lock"

LEFTOVERS = (".*.h5", ".campaign.*.json")
"""What a run that was killed may leave half-written."""


def task_path(folder: Path, task: Task) -> Path:
    """Where the kernel of a task is kept."""
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
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK_FILE, "w") as lock:
        try:
            # Released by the system when the process ends, however it ends.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"output {folder}: another process works in it") from error
        for leftover in (path for pattern in LEFTOVERS for path in folder.glob(pattern)):
            leftover.unlink()
        content = {"fingerprint": campaign.fingerprint, "config": campaign.model_dump(mode="json")}
        with replacing(folder / CAMPAIGN_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        yield


def damage(folder: Path, task: Task) -> str | None:
    """Say why the file of a finished task cannot be used, or None."""
    path = task_path(folder, task)
    try:
        kernels = [(name, metadata["seed"]) for name, metadata, _ in read_kernels(path)]
    except InputError as error:
        return str(error)
    if kernels != [(task.name, task.seed)]:
        return f"{path}: damaged, not the kernel {task.name} of seed {task.seed}"
    return None


def sort_tasks(folder: Path, tasks: Sequence[Task]) -> tuple[list[Task], list[Task], list[str]]:
    """Finished tasks, tasks still to do, and what is damaged of these."""
    finished: list[Task] = []
    to_do: list[Task] = []
    damages = []
    for task in tasks:
        problem = damage(folder, task) if task_path(folder, task).exists() else ""
        (to_do if problem is not None else finished).append(task)
        if problem:
            damages.append(problem)
    return finished, to_do, damages


def log(folder: Path, entry: dict[str, Any]) -> None:
    """Append a line to the campaign's log."""
    with open(folder / LOG_FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


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
