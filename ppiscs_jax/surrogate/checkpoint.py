"""Checkpoints of a training; the only place for orbax."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import jax

from ppiscs_jax.errors import MissingExtraError

try:
    import orbax.checkpoint as ocp
except ModuleNotFoundError as error:
    raise MissingExtraError(error) from error

KEPT = 2
"""Checkpoints kept: one is whole even while the next is written."""


class Checkpoints:
    """Numbered checkpoints in a folder. Each appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        self._folder = folder.absolute()
        with _plain_errors(self._folder):
            self._manager = ocp.CheckpointManager(self._folder, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _plain_errors(self._folder):
            self._manager.close()

    def newest(self) -> int:
        """Step of the newest checkpoint, 0 if there is none."""
        return self._manager.latest_step() or 0

    def save(self, step: int, state: Any) -> None:
        """Keep a pytree of arrays as that of a step.

        Raises:
            OSError: it could not be written; the checkpoints before stay.
        """
        with _plain_errors(self._folder / str(step)):
            self._manager.save(step, args=ocp.args.StandardSave(state))

    def load(self, step: int, like: Any) -> Any:
        """The state of a step; `like` is a state of its shapes."""
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(shapes))


@contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    """Errors as one OSError that names the path.

    Where a disk is full, orbax logs the tracebacks of all its threads, and raises a ValueError
    with the system's error somewhere in its text.
    """
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except Exception as error:
        number = re.search(r"(?:Errno |OS error |os_error_code=')(\d+)", str(error))
        if number is None:
            raise OSError(f"{path}: checkpoint not written ({error})") from error
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    finally:
        log.setLevel(level)
