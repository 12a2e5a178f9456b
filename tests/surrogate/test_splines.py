"""B-splines against scipy's, and their promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax.surrogate.splines import SplineAxis, design_matrix, interpolating_knots

NODES = np.array([0.0, 1.0, 2.5, 3.0, 5.0, 8.0])


def weights(axis, x):
    """All coefficients' weights at one point."""
    first, near = axis.near(x)
    return np.pad(np.asarray(near), (int(first), axis.size - int(first) - len(near)))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_weights(degree):
    """Those of scipy at nodes and between; never negative, summing to 1 (float32)."""
    knots = interpolating_knots(NODES, degree)
    axis = SplineAxis(jnp.asarray(knots, jnp.float32), degree)
    assert axis.size == len(NODES)
    x = np.sort(np.concatenate([NODES, np.random.default_rng(0).uniform(0, 8, 20)]))
    ours = np.array([weights(axis, jnp.float32(v)) for v in x])
    np.testing.assert_allclose(ours, design_matrix(knots, degree, x), atol=2e-6)
    assert np.all(ours >= -1e-7)
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=2e-6)


def test_polynomials_are_reproduced_and_differentiated():
    """Quadratic splines hold x²: coefficients solved at the nodes, slope 2x everywhere."""
    knots = interpolating_knots(NODES, 2)
    coefficients = jnp.asarray(np.linalg.solve(design_matrix(knots, 2, NODES), NODES**2))
    axis = SplineAxis(jnp.asarray(knots, jnp.float32), 2)

    def value(x):
        first, near = axis.near(x)
        return jnp.dot(jax.lax.dynamic_slice(coefficients, (first,), (3,)), near)

    for x in (0.0, 0.3, 1.0, 2.7, 5.0, 7.9, 8.0):
        assert value(x) == pytest.approx(x**2, abs=1e-4)
        assert jax.grad(value)(x) == pytest.approx(2 * x, abs=1e-4)
