"""Checkpoints of a training; the only place for orbax."""

from pathlib import Path
from typing import Any, Self

import jax
import orbax.checkpoint as ocp

KEPT = 2
"""Checkpoints kept: one is whole even while the next is written."""


class Checkpoints:
    """Numbered checkpoints in a folder. Each appears whole or not at all."""

    def __init__(self, folder: Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def newest(self) -> int:
        """Step of the newest checkpoint, 0 if there is none."""
        return self._manager.latest_step() or 0

    def save(self, step: int, state: Any) -> None:
        """Keep a pytree of arrays as that of a step."""
        self._manager.save(step, args=ocp.args.StandardSave(state))

    def load(self, step: int, like: Any) -> Any:
        """The state of a step; `like` is a state of its shapes."""
        shapes = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        return self._manager.restore(step, args=ocp.args.StandardRestore(shapes))
