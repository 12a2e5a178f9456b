"""Networks in double precision."""

import jax
import jax.numpy as jnp
import numpy as np


def predict_float64(network, params, x):
    """The network's output in double precision, as rt_ppiscs computes it: (…, 9) → (…, n) Å²."""
    with jax.enable_x64(True):
        doubled = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        return np.asarray(network.apply({"params": doubled}, jnp.asarray(x, jnp.float64)))
