"""Errors of surrogates: a power law, and their correlation along thickness."""

from dataclasses import dataclass
from functools import cache
from typing import Self

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ppiscs_jax.errors import shown
from ppiscs_jax.reading import parse_json
from ppiscs_jax.settings import Column
from ppiscs_jax.types import Scalar

REFERENCE_WIDTH_MRAD = 40.0
REFERENCE_APERTURE_MRAD = 25.0

MOST_POWER = 5.0
"""Larger powers are not errors of surrogates."""

CORRELATION_LENGTH, MODES = 1.3, 8
"""Errors at thicknesses n and m are correlated like exp(−|ln n − ln m| / CORRELATION_LENGTH), as
those of 46 simulations are that were not trained on (experiments/fresh_check); of that, the
smoothest MODES components are kept."""


@dataclass(frozen=True)
class ErrorModel:
    """Standard error of a surrogate's curve: what it is at the reference, and its powers.

    Attributes:
        level: standard error over the curve's maximum, where the curve is largest, for a detector
            of REFERENCE_WIDTH_MRAD and an aperture of REFERENCE_APERTURE_MRAD.
        width_power, aperture_power: how it goes with the detector's width and the aperture.
        curve_power: how it goes with the curve over its maximum.
    """

    level: float
    width_power: float
    aperture_power: float
    curve_power: float

    @classmethod
    def from_text(cls, text: str) -> Self:
        """From JSON.

        Raises:
            ValueError: it is not such a model.
        """
        from pydantic import TypeAdapter  # slow to import

        model = TypeAdapter(cls).validate_python(parse_json(text))
        powers = (model.width_power, model.aperture_power, model.curve_power)
        if not 0 <= model.level <= 1 or not all(abs(power) <= MOST_POWER for power in powers):
            raise ValueError(f"error: {shown(text)}")
        return model

    def standard_error(
        self, x: Float[Array, " 9"], curve: Float[Array, " n"], further: Scalar = 0.0
    ) -> Float[Array, " n"]:
        """Standard error [Å²] of a curve [Å²] at settings x, with a further relative error."""
        largest = jnp.max(jnp.where(jnp.isnan(curve), 0, curve))
        width = x[Column.OUTER_MRAD] - x[Column.INNER_MRAD]
        of_width = (width / REFERENCE_WIDTH_MRAD) ** self.width_power
        of_aperture = (x[Column.CONVERGENCE_MRAD] / REFERENCE_APERTURE_MRAD) ** self.aperture_power
        scale = self.level * of_width * of_aperture * largest
        return jnp.hypot(scale * (curve / largest) ** self.curve_power, further * curve)


def error_modes(standard_error: Float[Array, " n"]) -> Float[Array, "modes n"]:
    """Modes of errors with these standard errors at 1, 2, … n atoms, in their unit.

    The sum of their outer products is the covariance of the errors at all thicknesses, the sum of
    their squares that of `standard_error`.
    """
    modes = jnp.asarray(_correlated_modes(len(standard_error)), standard_error.dtype)
    return modes * standard_error


@cache
def _correlated_modes(n: int) -> np.ndarray:
    """Modes of errors of unit variance at 1, 2, … n atoms, (MODES, n)."""
    along = np.log(np.arange(1, n + 1))
    correlation = np.exp(-np.abs(along[:, None] - along) / CORRELATION_LENGTH)
    power, vectors = np.linalg.eigh(correlation)
    modes = (vectors * np.sqrt(np.maximum(power, 0)))[:, ::-1][:, :MODES].T
    return modes / np.sqrt(np.sum(modes**2, axis=0))
