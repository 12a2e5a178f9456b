"""The losses of Lobato, De Backer & Van Aert (2023), §2.3, Eqs. 1–6.

Curves are normalised by the truth's maximum; norms are means over the thicknesses that exist,
and so every loss is independent of how many those are. The authors' published training code
sums instead, and does not weight the constraint; here the paper is followed.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ppiscs_jax.settings import Column

Network = Callable[[Float[Array, "examples 9"]], Float[Array, "examples n"]]

LEAST_ANGSTROM2 = 1e-12
"""Smaller cross-sections are taken for this inside logarithms."""


class Terms(NamedTuple):
    """The loss terms of Eqs. 2–5, each a mean over examples; as weights, λ of Eq. 1.

    The constraint is 0 where it was not asked for.
    """

    l1n: Float[Array, ""] | float
    l2n: Float[Array, ""] | float
    l1log: Float[Array, ""] | float
    constraint: Float[Array, ""] | float


def losses(
    network: Network,
    x: Float[Array, "examples 9"],
    y: Float[Array, "examples n"],
    exists: Bool[Array, "examples n"],
    key: PRNGKeyArray,
    constrained: float = 1.0,
) -> Terms:
    """All loss terms of a batch. For use inside jit.

    Args:
        network: gives curves [Å²] for inputs in the units of `Settings.to_vector`.
        x: inputs.
        y: true curves [Å²].
        exists: which thicknesses there are; the others count nowhere.
        key: of the angles at which detectors are split for the constraint.
        constrained: share of the batch, its first examples, that the constraint is averaged over.
            Its two further curves of an example take as long as that of the other terms each.
    """
    few = math.ceil(constrained * len(x))
    split = jax.random.uniform(key, x.shape[:1])[:few]
    whole = x[:few]
    low, high = whole[:, Column.INNER_MRAD], whole[:, Column.OUTER_MRAD]
    middle = low + split * (high - low)
    inner = whole.at[:, Column.OUTER_MRAD].set(middle)
    outer = whole.at[:, Column.INNER_MRAD].set(middle)
    predicted, *parts = jnp.split(
        network(jnp.concatenate([x, inner, outer])), [len(x), len(x) + few]
    )
    largest = jnp.max(y, axis=1, keepdims=True, where=exists, initial=0)

    def mean(values: Float[Array, "some n"]) -> Float[Array, ""]:
        return jnp.mean(jnp.mean(values, axis=1, where=exists[: len(values)]))

    logs = [jnp.log(jnp.maximum(v, LEAST_ANGSTROM2)) for v in (y, predicted)]
    error = (predicted - y) / largest
    return Terms(
        l1n=mean(jnp.abs(error)),
        l2n=mean(error**2),
        l1log=mean(jnp.abs(logs[1] - logs[0])),
        constraint=(mean(jnp.abs(sum(parts) - y[:few]) / largest[:few]) if few else jnp.zeros(())),
    )


def weighted(terms: Terms, weights: Terms) -> Float[Array, ""]:
    """The loss of Eq. 1."""
    return jnp.asarray(sum(w * t for w, t in zip(weights, terms, strict=True)))
