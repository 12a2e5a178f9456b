"""Array types shared by the floors above."""

from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float | int
"""One real number, traced or not."""
