"""What the inverse problems know of a forward model: settings in, curve out."""

from collections.abc import Callable
from typing import Any

import jax
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ppiscs_jax.errors import InputError

Forward = Callable[[Float[Array, " 9"]], Float[Array, " n"]]
"""PPISCS [Å²] at 1, 2, … atoms from the nine numbers of `Settings.to_vector`.

One vector in, one curve out; JAX can trace, vmap and differentiate it. Surrogates, the simulator
on fixed random numbers, and functions of a user's own are all of this kind.
"""


def as_data(forward: Any) -> Partial:
    """A forward model as a pytree that can be called.

    Passed as an argument of a compiled function, it is compiled once for all surrogates of a kind,
    and its arrays are no constants of the compiled program. A surrogate stands for its method
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
