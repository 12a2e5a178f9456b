"""B-splines: smooth, local, and never outside the range of their coefficients."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ppiscs_jax.types import Scalar


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SplineAxis:
    """An axis along which a function is a B-spline.

    Its weights are not negative and sum to 1: coefficients that are positive, or fall along
    another axis, make functions that are and do.

    Attributes:
        knots: of the splines, those at both ends repeated degree + 1 times.
        degree: of the polynomials.
    """

    knots: Float[Array, " knots"]
    degree: int = field(metadata={"static": True})

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return len(self.knots) - self.degree - 1

    @property
    def ends(self) -> tuple[float, float]:
        """First and last coordinate of the axis."""
        knots = np.asarray(self.knots)
        return float(knots[0]), float(knots[-1])

    def near(self, x: Scalar) -> tuple[Int[Array, ""], Float[Array, " near"]]:
        """First coefficient that counts at x, and the weights of the degree + 1 from there on.

        Cox–de Boor recursion; differentiable in x. Beyond the ends polynomials go on.
        """
        p = self.degree
        # Counting is faster than the search of searchsorted, which is a loop.
        span = jnp.clip(jnp.sum(self.knots <= x) - 1, p, self.size - 1)
        around = jax.lax.dynamic_slice(self.knots, (span - p,), (2 * p + 2,))
        weights = jnp.ones(1)
        for k in range(1, p + 1):
            # The k functions of degree k − 1 each give a part to both neighbours of degree k.
            low, high = around[p - k + 1 : p + 1], around[p + 1 : p + k + 1]
            share = (x - low) / (high - low)
            weights = jnp.pad(weights * (1 - share), (0, 1)) + jnp.pad(weights * share, (1, 0))
        return (span - p).astype(jnp.int32), weights


def interpolating_knots(nodes: np.ndarray, degree: int) -> np.ndarray:
    """Knots with which a spline has one coefficient a node: de Boor's averages of nodes."""
    inner = [nodes[i : i + degree].mean() for i in range(1, len(nodes) - degree)]
    return clamped(nodes[0], inner, nodes[-1], degree)


def clamped(first: float, inner: np.ndarray | list[float], last: float, degree: int) -> np.ndarray:
    """Knots with those at the ends repeated, so that the outermost coefficients are values."""
    return np.concatenate([[first] * (degree + 1), inner, [last] * (degree + 1)])


def design_matrix(knots: np.ndarray, degree: int, x: np.ndarray) -> np.ndarray:
    """Weights of all coefficients at some points, shape (points, coefficients)."""
    from scipy.interpolate import BSpline

    return BSpline.design_matrix(np.asarray(x, float), np.asarray(knots, float), degree).toarray()
