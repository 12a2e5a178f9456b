"""Train a network on examples drawn on the device, resumable to the same trajectory."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from ppiscs_jax.errors import InputError, MissingExtraError
from ppiscs_jax.files import LOCK_FILE, append_json, claimed, replacing
from ppiscs_jax.progress import Callback, callback_of, time_left
from ppiscs_jax.surrogate.checkpoint import Checkpoints
from ppiscs_jax.surrogate.densenet import DenseNet, Params
from ppiscs_jax.surrogate.losses import Terms, losses, weighted
from ppiscs_jax.surrogate.recipe import Recipe, Stage
from ppiscs_jax.surrogate.sample import Examples, room_problem, sample_one_each, split_cells
from ppiscs_jax.surrogate.table import KernelTable

try:
    import optax
except ModuleNotFoundError as error:
    raise MissingExtraError(error) from error

METRICS_FILE = "metrics.jsonl"
RECIPE_FILE = "recipe.json"


class DivergedError(RuntimeError):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class TrainingProgress:
    """State of a training, given to a progress callback after every call.

    Attributes:
        step, total: steps.
        l1n: mean normalised error of the last steps' examples.
        seconds_left: estimated time left [s].
    """

    step: int
    total: int
    l1n: float
    seconds_left: float

    def __str__(self) -> str:
        """One line: steps, error, time left."""
        left = time_left(self.seconds_left)
        return f"step {self.step} of {self.total}, L1n {self.l1n:.2e}{left}"


def train(
    recipe: Recipe,
    table: KernelTable,
    folder: str | Path,
    *,
    start: Params | None = None,
    tested: KernelTable | None = None,
    progress: Callback = None,
) -> Params:
    """Train as a recipe says, on all devices, each taking its share of every batch.

    Checkpoints go into the folder; a training that was killed goes on from the newest, and
    ends with the same weights as one that was not. Every example follows from the recipe's seed
    and its step. The folder's metrics.jsonl has a line for every call: step, loss terms and
    examples a second, and with every checkpoint the terms of the held-out cells.

    Args:
        recipe: network, schedule, seed.
        table: the data set.
        folder: made if it is not there; it must be of the same recipe, data and start otherwise.
        start: weights to start from, of the same architecture (transfer); None for random ones.
        tested: all of it is tested on, instead of held-out cells, of which there are then none.
        progress: called with a `TrainingProgress`; True prints a line every few seconds.

    Returns:
        The weights after the last step.

    Raises:
        InputError: the folder holds another training, or another process trains in it; batches do
            not divide over devices; `start` is of another architecture; or the kernels leave no
            room for the detectors of examples.
        DivergedError: the loss became NaN or infinite; the checkpoints before stay.
        OSError: a file could not be written; the checkpoints before stay.
    """
    folder = Path(folder)
    devices = jax.devices()
    if recipe.batch_size % len(devices):
        raise InputError(
            f"batch_size = {recipe.batch_size}: must be a multiple of the {len(devices)} devices"
        )
    network = recipe.network.network(table.beyond.shape[-1])
    initial = network.initial(recipe.seed)
    if start is not None:
        if jax.tree.map(jnp.shape, start) != jax.tree.map(jnp.shape, initial):
            raise InputError("start: its weights are of another architecture than the recipe's")
        # A copy, because steps take over the memory of what they are given.
        initial = jax.tree.map(jnp.array, start)
    for given in (table, *([tested] if tested else [])):
        if problem := room_problem(given):
            raise InputError(problem)
    content: dict[str, Any] = {"recipe": recipe.model_dump(mode="json")}
    content |= {"data": _hash(table), "tested": _hash(tested), "start": _hash(start)}
    _check_folder(folder, content)
    with claimed(folder):
        if not (path := folder / RECIPE_FILE).exists():
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        return _train(recipe, table, tested, folder, initial, progress)


def _train(
    recipe: Recipe,
    table: KernelTable,
    tested: KernelTable | None,
    folder: Path,
    initial: Params,
    progress: Callback,
) -> Params:
    """All stages from the newest checkpoint on, in a folder that is ours."""
    network = recipe.network.network(table.beyond.shape[-1])
    training, testing = split_cells(table, 0.0 if tested else recipe.held_out, recipe.seed)
    if tested:
        testing, _ = split_cells(tested, 0.0, recipe.seed)
    mesh = Mesh(np.array(jax.devices()), ("examples",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    table, cells = jax.device_put((table, jnp.asarray(training)), everywhere)
    params = jax.device_put(initial, everywhere)
    clock = _Clock(sum(recipe.steps(stage) for stage in recipe.stages), progress)
    first = 0
    with Checkpoints(folder / "checkpoints") as checkpoints:
        newest = checkpoints.newest()
        for stage in recipe.stages:
            last = first + recipe.steps(stage)
            step, first = first, last
            if newest > last:
                continue
            optimiser = recipe.optimiser(stage)
            state = jax.device_put((params, optimiser.init(params)), everywhere)
            if step < newest:
                step, state = newest, jax.device_put(checkpoints.load(newest, state), everywhere)
            run = _compiled_steps(recipe, network, optimiser, stage, mesh)
            while step < last:
                state, terms = run(state, table, cells, step)
                step += recipe.steps_per_call
                trained = _checked(terms, step, folder)
                entry: dict[str, Any] = {"step": step, "train": trained}
                if step == last or step % recipe.checkpoint_steps < recipe.steps_per_call:
                    checkpoints.save(step, state)
                    if len(testing):
                        entry["test"] = _numbers(test(recipe, state[0], tested or table, testing))
                entry["examples_per_s"] = clock.tell(step, recipe, trained["l1n"])
                append_json(folder / METRICS_FILE, entry)
            params = state[0]
    return params


def test(recipe: Recipe, params: Params, table: KernelTable, cells: np.ndarray) -> Terms:
    """Loss terms of a recipe's network on examples of some cells, always the same ones."""
    key = jax.random.fold_in(jax.random.key(recipe.seed), 2)
    network = recipe.network.network(table.beyond.shape[-1])
    return _test(network, params, table, cells, key, recipe.test_examples)


@partial(jax.jit, static_argnames=("network", "examples"))
def _test(
    network: DenseNet, params: Params, table: KernelTable, cells: Array, key: Any, examples: int
) -> Terms:
    of_examples, of_split = jax.random.split(key)
    return _terms(network, params, _drawn(table, cells, of_examples, examples), of_split)


def _drawn(table: KernelTable, cells: Array, key: Any, examples: int) -> Examples:
    """As many new examples, (examples, …)."""
    return jax.tree.map(lambda part: part[:, 0], sample_one_each(table, cells, key, examples))


def _terms(
    network: DenseNet, params: Params, batch: Examples, key: Any, constrained: Any = 1.0
) -> Terms:
    """Loss terms of examples."""

    def predicted(inputs: Array) -> Any:
        return network.apply({"params": params}, inputs)

    return losses(predicted, *batch, key, constrained)


def _compiled_steps(
    recipe: Recipe,
    network: DenseNet,
    optimiser: optax.GradientTransformation,
    stage: Stage,
    mesh: Mesh,
) -> Callable:
    """A function that makes `steps_per_call` steps: new state, and mean loss terms."""
    weights = stage.weights.terms()
    constrained = stage.constraint_share if stage.weights.constraint else 0.0
    sharding = NamedSharding(mesh, PartitionSpec("examples"))

    @partial(jax.jit, donate_argnums=0)
    def run(state: Any, table: KernelTable, cells: Array, first_step: Any) -> Any:
        base = jax.random.fold_in(jax.random.key(recipe.seed), 1)

        def drawn(key: Any) -> Any:
            return _drawn(table, cells, key, recipe.batch_size)

        def pooled() -> Any:
            """Examples of the whole call, where each serves several steps."""
            of_pools = jax.random.fold_in(jax.random.key(recipe.seed), 3)
            of_pool = jax.random.fold_in(of_pools, first_step)
            of_pool = jax.random.split(of_pool, recipe.steps_per_call // recipe.reuse)
            return jax.tree.map(jnp.concatenate, jax.lax.map(drawn, of_pool))

        pool = pooled() if recipe.reuse > 1 else None

        def batch_of(key: Any) -> Any:
            if pool is None:
                return drawn(key)
            chosen = jax.random.randint(key, (recipe.batch_size,), 0, len(pool.x))
            return jax.tree.map(lambda part: part[chosen], pool)

        def loss(params: Params, batch: Any, key: Any) -> Any:
            terms = _terms(network, params, batch, key, constrained)
            return weighted(terms, weights), terms

        def one(state: Any, step: Any) -> Any:
            params, optimiser_state = state
            of_examples, of_split = jax.random.split(jax.random.fold_in(base, step))
            batch = jax.lax.with_sharding_constraint(batch_of(of_examples), sharding)
            slopes, terms = jax.grad(loss, has_aux=True)(params, batch, of_split)
            updates, optimiser_state = optimiser.update(slopes, optimiser_state)
            return (optax.apply_updates(params, updates), optimiser_state), terms

        state, terms = jax.lax.scan(one, state, first_step + jnp.arange(recipe.steps_per_call))
        return state, jax.tree.map(jnp.mean, terms)

    return run


def _numbers(terms: Terms) -> dict[str, float]:
    return {name: float(value) for name, value in terms._asdict().items()}


def _checked(terms: Terms, step: int, folder: Path) -> dict[str, float]:
    """The terms as numbers; raises DivergedError if one is none."""
    numbers = _numbers(terms)
    if not np.all(np.isfinite(list(numbers.values()))):
        raise DivergedError(
            f"training: the loss is {numbers} at step {step}; lower the learning rate or lengthen "
            f"the warm-up. Checkpoints before that stay in {folder}"
        )
    return numbers


def _check_folder(folder: Path, content: dict[str, Any]) -> None:
    """Make sure that a folder is free, or that of the same recipe and data."""
    path = folder / RECIPE_FILE
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        if other := [name for name in content if there.get(name) != content[name]]:
            raise InputError(
                f"output {folder}: holds the training of another recipe, data or start "
                f"({', '.join(other)} differ)"
            )
        return
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output {folder}: is not a folder")
    if folder.exists() and any(p.name != LOCK_FILE for p in folder.iterdir()):
        raise InputError(f"output {folder}: is not empty and holds no training")


def _hash(arrays: Any) -> str:
    """Hash of all arrays of a pytree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(arrays):
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()[:16]


class _Clock:
    """Speed and time left of this run."""

    def __init__(self, total: int, progress: Callback) -> None:
        self.total, self.progress = total, callback_of(progress)
        self.seconds, self.steps, self.last = 0.0, 0, time.monotonic()
        self.compiling = True

    def tell(self, step: int, recipe: Recipe, l1n: float) -> float:
        """Report a call; examples a second so far, NaN-free: 0 until a compiled call is timed."""
        now = time.monotonic()
        # The first call is mostly compilation.
        if not self.compiling:
            self.seconds += now - self.last
            self.steps += recipe.steps_per_call
        self.last, self.compiling = now, False
        rate = self.steps / self.seconds if self.steps else 0.0
        if self.progress:
            left = (self.total - step) / rate if rate else float("nan")
            self.progress(TrainingProgress(step, self.total, l1n, left))
        return round(rate * recipe.batch_size, 1)
