"""Array types used throughout the package."""

from jaxtyping import Array, Float

Scalar = Float[Array, ""] | float | int
"""One real number, traced or not."""
