"""Networks of the ablation, and their training on one set of examples for all."""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jaxtyping import Array, Float
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from ppiscs_jax.config import Model
from ppiscs_jax.surrogate.densenet import DenseNet, number_of_parameters
from ppiscs_jax.surrogate.losses import Terms, losses, weighted
from ppiscs_jax.surrogate.recipe import Architecture, Weights
from ppiscs_jax.surrogate.sample import Examples, sample_one_each, split_cells
from ppiscs_jax.surrogate.table import KernelTable

DRAWN_AT_ONCE = 4096
DROPOUT = 0.1
WEIGHT_DECAY = 1e-4
"""Usual values, of what the paper says hampers its network (§2.4)."""

Change = Literal[
    "none",
    "no l1n",
    "no l2n",
    "no l1log",
    "no constraint",
    "batch normalisation",
    "dropout",
    "weight decay",
]


class Case(Model):
    """A network, a seed of its weights, and what is changed in its training."""

    network: Architecture
    seed: NonNegativeInt = 0
    change: Change = "none"

    @property
    def connections(self) -> str:
        """How layers are connected, in a word."""
        return "densely" if self.network.densely else "fully"

    @property
    def name(self) -> str:
        """Of a file."""
        network = self.network
        architecture = (
            f"{self.connections}_{network.activation}_G{network.growth}_n{network.layers}"
        )
        return f"{architecture}_{self.change.replace(' ', '_')}_seed{self.seed}"


class Training(Model):
    """A training, the same for all networks.

    Attributes:
        seed: of the split and of the examples.
        held_out: fraction of the (element, zone axis, voltage) cells that are only tested on.
        examples: drawn once, for all networks.
        passes: how often each example is used.
        batch_size: examples of a step.
        learning_rate: the largest; it rises from 0 and falls to 0 as a cosine.
        warmup_steps: in which it rises.
        weights: of the loss terms.
        constraint_share: share of every batch that the constraint is averaged over.
        steps_per_call: steps of one compiled loop.
        test_examples: of the cells held out.
    """

    seed: NonNegativeInt
    held_out: Annotated[float, Field(gt=0, lt=1)]
    examples: PositiveInt
    passes: PositiveInt = 1
    batch_size: PositiveInt
    learning_rate: PositiveFloat
    warmup_steps: NonNegativeInt
    weights: Weights
    constraint_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    steps_per_call: PositiveInt
    test_examples: PositiveInt

    @property
    def steps(self) -> int:
        """Of a training, whole calls."""
        calls = self.examples * self.passes // (self.batch_size * self.steps_per_call)
        return max(1, calls) * self.steps_per_call

    def optimiser(self, decay: float) -> optax.GradientTransformation:
        """Adam, with weight decay or without."""
        rate = optax.warmup_cosine_decay_schedule(
            0.0, self.learning_rate, self.warmup_steps, self.steps
        )
        return optax.adamw(rate, weight_decay=decay) if decay else optax.adam(rate)


class Hampered(DenseNet):
    """A network with batch normalisation or dropout in its hidden layers.

    Batches are normalised by their own statistics in tests too, which is the best case for it.
    Dropout acts where random numbers of that name are given, in training only.
    """

    normalised: bool = False
    dropout: float = 0.0

    def activated(self, y: Float[Array, "batch units"], layer: int) -> Array:
        """The layer's activation, with what is added to it."""
        if self.normalised:
            scale = self.param(f"scale_{layer:02d}", nn.initializers.ones, y.shape[-1:])
            shift = self.param(f"shift_{layer:02d}", nn.initializers.zeros, y.shape[-1:])
            y = scale * nn.standardize(y, axis=0) + shift
        y = super().activated(y, layer)
        return nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(y)


def drawn(table: KernelTable, training: Training) -> tuple[Examples, Examples]:
    """The examples that all networks are trained on, and those that they are tested on."""
    cells = split_cells(table, training.held_out, training.seed)
    table = jax.device_put(table)
    parts = zip(cells, (training.examples, training.test_examples), strict=True)
    of_training, of_test = (
        _draw(table, some, jax.random.fold_in(jax.random.key(training.seed), index), number)
        for index, (some, number) in enumerate(parts)
    )
    return of_training, of_test


def _draw(table: KernelTable, cells: np.ndarray, key: Any, number: int) -> Examples:
    parts = []
    for first in range(0, number, DRAWN_AT_ONCE):
        part = sample_one_each(table, cells, jax.random.fold_in(key, first), DRAWN_AT_ONCE)
        parts.append(jax.tree.map(lambda array: np.asarray(array[:, 0]), part))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[:number], *parts)


def measure(case: Case, training: Training, examples: Examples, tests: Examples) -> dict[str, Any]:
    """Train a network and test it; its row."""
    network = _network(case, examples.y.shape[-1])
    weights = _weights(case, training.weights)
    optimiser = training.optimiser(WEIGHT_DECAY if case.change == "weight decay" else 0.0)
    share = training.constraint_share if weights.constraint else 0.0
    # With a batch: batch normalisation of one example has no spread.
    params = network.init(jax.random.key(case.seed), examples.x[:2])["params"]
    state = (params, optimiser.init(params))
    order = np.random.default_rng([training.seed, case.seed])
    run = _compiled(network, optimiser, weights, share)
    key, of_test = jax.random.split(jax.random.fold_in(jax.random.key(training.seed), 2))
    fastest = np.inf
    indices = np.concatenate(
        [order.permutation(len(examples.x)) for _ in range(training.passes + 1)]
    )[: training.steps * training.batch_size]
    for call, chosen in enumerate(np.split(indices, training.steps // training.steps_per_call)):
        of_call = chosen.reshape(-1, training.batch_size)
        batches = Examples(*(array[of_call] for array in examples))
        started = time.perf_counter()
        state = jax.block_until_ready(run(state, batches, jax.random.fold_in(key, call)))
        fastest = min(fastest, time.perf_counter() - started)
    terms = _tested(network, state[0], tests, of_test)
    architecture = case.network
    return {
        "connections": case.connections,
        "activation": architecture.activation,
        "growth": architecture.growth,
        "layers": architecture.layers,
        "change": case.change,
        "seed": case.seed,
        "parameters": number_of_parameters(params),
        "milliseconds_a_step": 1e3 * fastest / training.steps_per_call,
        "test_l1n": float(terms.l1n),
        "test_l1log": float(terms.l1log),
        "test_constraint": float(terms.constraint),
    }


def _network(case: Case, outputs: int) -> DenseNet:
    added = {"batch normalisation": {"normalised": True}, "dropout": {"dropout": DROPOUT}}
    if case.change not in added:
        return case.network.network(outputs)
    return Hampered(**case.network.model_dump(), **added[case.change], outputs=outputs)


def _weights(case: Case, weights: Weights) -> Terms:
    left_out = case.change.removeprefix("no ")
    return Terms(**{name: 0.0 if name == left_out else w for name, w in weights})


def _compiled(
    network: DenseNet, optimiser: optax.GradientTransformation, weights: Terms, share: float
) -> Callable:
    """A function that makes a step with each of some batches."""

    def loss(params: Any, batch: Examples, key: Any) -> Array:
        of_split, of_dropout = jax.random.split(key)

        def predicted(x: Array) -> Array:
            return network.apply({"params": params}, x, rngs={"dropout": of_dropout})

        return weighted(losses(predicted, *batch, of_split, share), weights)

    @partial(jax.jit, donate_argnums=0)
    def run(state: Any, batches: Examples, key: Any) -> Any:
        def one(state: Any, batch_and_key: Any) -> Any:
            params, optimiser_state = state
            slopes = jax.grad(loss)(params, *batch_and_key)
            updates, optimiser_state = optimiser.update(slopes, optimiser_state, params)
            return (optax.apply_updates(params, updates), optimiser_state), None

        keys = jax.random.split(key, len(batches.x))
        return jax.lax.scan(one, state, (batches, keys))[0]

    return run


@partial(jax.jit, static_argnames="network")
def _tested(network: DenseNet, params: Any, tests: Examples, key: Any) -> Terms:
    def predicted(x: Array) -> Array:
        return jnp.asarray(network.apply({"params": params}, x))

    return losses(predicted, *tests, key)
