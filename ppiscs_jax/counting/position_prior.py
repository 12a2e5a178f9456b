"""What is known of the positions of columns before an image is fitted.

They are near their initial values, and columns of a crystal lie in rows: where three neighbours
are in line, the middle one is nearly halfway between the others.
"""

from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import scipy  # its submodules load when first used
from jaxtyping import Array, Float, Int

from ppiscs_jax.counting.columns import SHELL, spacing_of

IN_LINE = 0.25
"""Distance of a column from where a row would go on, in distances of neighbours, up to which it
belongs to the row."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PositionPrior:
    """Normal distributions of the positions of columns, in pixels.

    Attributes:
        start: means of the positions, shape (n, 2).
        start_std: standard deviation of each coordinate around them.
        triples: neighbours in line, the second between the others, shape (m, 3).
        bend_std: standard deviation of each coordinate of their second differences.
    """

    start: Float[Array, "n 2"]
    start_std: Float[Array, ""]
    triples: Int[Array, "m 3"]
    bend_std: Float[Array, ""]

    @classmethod
    def of(
        cls,
        positions: Float[np.ndarray, "n 2"],
        start_std: float,
        triples: Int[np.ndarray, "m 3"] | None = None,
        bend_std: float = 1.0,
    ) -> Self:
        """The prior around some positions, by default without rows."""
        return cls(
            start=jnp.asarray(positions, jnp.float32),
            start_std=jnp.float32(start_std),
            triples=jnp.zeros((0, 3), int) if triples is None else jnp.asarray(triples),
            bend_std=jnp.float32(bend_std),
        )

    def squares(self, positions: Float[Array, "n 2"]) -> Float[Array, ""]:
        """Minus twice the logarithm of the density, without its constant."""
        moved = jnp.sum(jnp.square((positions - self.start) / self.start_std))
        first, middle, last = (positions[self.triples[:, place]] for place in range(3))
        return moved + jnp.sum(jnp.square((first - 2 * middle + last) / self.bend_std))

    def precision(self) -> scipy.sparse.csr_matrix:
        """Inverse of the covariance of x, or y, of the columns, shape (n, n)."""
        n = len(self.start)
        of_bends = second_differences(np.asarray(self.triples), n) / float(self.bend_std)
        near_start = scipy.sparse.identity(n) / float(self.start_std) ** 2
        return (of_bends.T @ of_bends + near_start).tocsr()


def second_differences(triples: Int[np.ndarray, "m 3"], n: int) -> scipy.sparse.csr_matrix:
    """The matrix, shape (m, n), of differences that are 0 for a column halfway between others."""
    rows = np.repeat(np.arange(len(triples)), 3)
    values = np.tile([1.0, -2.0, 1.0], len(triples))
    return scipy.sparse.csr_matrix((values, (rows, triples.ravel())), (len(triples), n))


def neighbours_in_line(positions: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "m 3"]:
    """Columns with neighbours on opposite sides, each triple once."""
    spacing = spacing_of(positions)
    tree = scipy.spatial.cKDTree(positions)
    pairs = tree.query_pairs(SHELL * spacing, output_type="ndarray")
    first, middle = np.concatenate([pairs, pairs[:, ::-1]]).T
    distance, last = tree.query(2 * positions[middle] - positions[first])
    found = (distance < IN_LINE * spacing) & (first != last) & (last != middle)
    first, middle, last = first[found], middle[found], last[found]
    ends = np.sort(np.stack([first, last], axis=1), axis=1)
    return np.unique(np.stack([ends[:, 0], middle, ends[:, 1]], axis=1), axis=0)
