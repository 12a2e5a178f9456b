"""What the inverse problems know of a forward model: settings in, curve out."""

from collections.abc import Callable

from jaxtyping import Array, Float

Forward = Callable[[Float[Array, " 9"]], Float[Array, " n"]]
"""PPISCS [Å²] at 1, 2, … atoms from the nine numbers of `Settings.to_vector`.

One vector in, one curve out; JAX can trace, vmap and differentiate it. Surrogates, the simulator
on fixed random numbers, and functions of a user's own are all of this kind.
"""
