"""The interface of forward models: a function from settings to a curve."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ppiscs_jax.errors import InputError

Forward = Callable[[Float[Array, " 9"]], Float[Array, " n"]]
"""PPISCS [Å²] at 1, 2, … atoms from the nine numbers of `Settings.to_vector`.

One vector in, one curve out; JAX can trace, vmap and differentiate it. Surrogates, the simulator
on fixed random numbers, and functions of a user's own are all of this kind. Arrays in a function
should be those of jax.numpy: JAX 0.10 fails where one with double-precision NumPy constants runs in
double precision (fits) and later in single precision (designs).
"""


def as_data(forward: Any) -> Partial:
    """A forward model as a pytree that can be called.

    Passed as an argument of a compiled function, it is compiled once for all surrogates of a kind,
    and its arrays are not constants of the compiled program. A surrogate stands for its method
    `curve`; a function without a pytree of its own is compiled once for each function object.

    Raises:
        InputError: it cannot be called.
    """
    if isinstance(forward, Partial):
        return forward
    if not callable(forward):
        forward = getattr(forward, "curve", None)
    if not callable(forward):
        raise InputError("forward: must be a surrogate, or a function of the nine numbers")
    owner = getattr(forward, "__self__", None)
    if owner is None or jax.tree_util.all_leaves([owner]):
        return Partial(forward)
    return Partial(forward.__func__, owner)  # type: ignore[attr-defined]


def surrogate_of(forward: Partial) -> Any:
    """The surrogate of which a forward model is the method `curve`, or None."""
    return forward.args[0] if forward.args else None


def in_groups(function: Callable[[Any], Any], rows: Any, at_once: int) -> Any:
    """A jitted, vmapped function of all rows of a pytree, some at a time, as numpy arrays.

    Groups are filled up with copies of the last row, so that few shapes are ever compiled.
    """
    n = len(jax.tree.leaves(rows)[0])
    size = min(at_once, 1 << (n - 1).bit_length())
    groups = [np.minimum(np.arange(i, i + size), n - 1) for i in range(0, n, size)]
    # JAX works on the next group while this one is fetched.
    results = [function(jax.tree.map(lambda a, at=at: np.asarray(a)[at], rows)) for at in groups]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:n], *results)


@jax.jit
def _curves(forward: Partial, vectors: Array) -> Array:
    return jax.vmap(forward)(vectors)


def curves(
    forward: Forward, vectors: Float[np.ndarray, "points 9"], at_once: int = 256
) -> Float[np.ndarray, "points n"]:
    """Curves [Å²] of many settings, not too many at a time, to save memory."""
    return in_groups(partial(_curves, as_data(forward)), vectors, at_once)
