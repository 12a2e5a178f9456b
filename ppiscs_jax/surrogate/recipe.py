"""Schema of the training configuration."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from ppiscs_jax.config import Model
from ppiscs_jax.errors import MissingExtraError
from ppiscs_jax.settings import LARGEST_SEED
from ppiscs_jax.surrogate.densenet import DenseNet
from ppiscs_jax.surrogate.losses import Terms

try:
    import optax
except ModuleNotFoundError as error:
    raise MissingExtraError(error) from error


class Architecture(Model):
    """A network, as in `DenseNet`."""

    growth: PositiveInt = 160
    layers: Annotated[int, Field(ge=2)] = 13
    activation: Literal["swish", "relu"] = "swish"
    densely: bool = True

    def network(self, outputs: int) -> DenseNet:
        """The network for so many thicknesses."""
        return DenseNet(**self.model_dump(), outputs=outputs)


class Weights(Model):
    """Weights λ of the loss terms, Eq. 1 of the paper."""

    l1n: NonNegativeFloat
    l2n: NonNegativeFloat
    l1log: NonNegativeFloat
    constraint: NonNegativeFloat

    def terms(self) -> Terms:
        """The same as loss terms have them."""
        return Terms(**self.model_dump())


class Stage(Model):
    """A part of the training, with an optimiser of its own.

    Attributes:
        epochs: how long.
        learning_rate: after the warm-up.
        decay: factor by which the learning rate is multiplied every `decay_epochs` epochs.
        decay_epochs: number of epochs between two such steps.
        warmup_steps: in which it rises linearly from 0.
        weights: of the loss terms. A constraint that weighs nothing is not computed.
        constraint_share: share of every batch that the constraint is averaged over. Its expectation
            does not depend on it; the network's work is 1 + 2 · constraint_share.
    """

    epochs: PositiveFloat
    learning_rate: PositiveFloat
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    decay_epochs: PositiveFloat = 1.0
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    weights: Weights
    constraint_share: Annotated[float, Field(gt=0, le=1)] = 1.0


class Recipe(Model):
    """A training: network, data, schedule.

    Attributes:
        seed: of weights, examples and split.
        network: the architecture.
        held_out: fraction of the data set's (element, zone axis, voltage) cells that are only
            tested on.
        batch_size: examples of a step.
        epoch_steps: steps of an epoch. The paper's: 16 million examples / 256.
        steps_per_call: steps between checks for NaN; one compiled loop.
        reuse: how often each example is used. More than once, the examples of a call are drawn
            first, and every step takes a random selection of them: on GPUs drawing takes as long
            as a step. Divides steps_per_call.
        checkpoint_steps: steps between checkpoints.
        test_examples: examples that the held-out cells are tested with at every checkpoint.
        stages: one after the other.
        beta1, beta2, epsilon: of Adam.
    """

    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    network: Architecture = Architecture()
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.05
    batch_size: PositiveInt = 256
    epoch_steps: PositiveInt = 62_500
    steps_per_call: PositiveInt = 100
    reuse: PositiveInt = 1
    checkpoint_steps: PositiveInt = 10_000
    test_examples: PositiveInt = 4096
    stages: Annotated[list[Stage], Field(min_length=1)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    epsilon: PositiveFloat = 1e-7

    @model_validator(mode="after")
    def _reuse_divides(self) -> Self:
        if self.steps_per_call % self.reuse:
            raise ValueError(f"reuse = {self.reuse}: must divide steps_per_call")
        return self

    def steps(self, stage: Stage) -> int:
        """Steps of a stage, whole calls."""
        calls = max(1, round(stage.epochs * self.epoch_steps / self.steps_per_call))
        return calls * self.steps_per_call

    def optimiser(self, stage: Stage) -> optax.GradientTransformation:
        """Adam with the stage's learning rate."""
        return optax.adam(self.learning_rate(stage), self.beta1, self.beta2, self.epsilon)

    def learning_rate(self, stage: Stage) -> optax.Schedule:
        """Linear warm-up, then steps down; counted in steps from the stage's start."""
        return optax.warmup_exponential_decay_schedule(
            init_value=0.0 if stage.warmup_steps else stage.learning_rate,
            peak_value=stage.learning_rate,
            warmup_steps=stage.warmup_steps,
            transition_steps=max(1, round(stage.decay_epochs * self.epoch_steps)),
            decay_rate=stage.decay,
            staircase=True,
        )
