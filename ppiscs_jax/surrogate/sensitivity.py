"""A surrogate of detectors that are not equally sensitive everywhere."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ppiscs_jax.errors import InputError, as_numbers
from ppiscs_jax.settings import DETECTOR, Settings
from ppiscs_jax.surrogate.additive import AdditiveModel, Inputs
from ppiscs_jax.surrogate.ranges import TrainedRange

LARGEST_SENSITIVITY = 10.0
"""Of the detector's mean; more is a mistake."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SensitiveSurrogate:
    """The additive surrogate for a detector with a radial sensitivity S(θ). A pytree.

    Methods are those of `predict.Surrogate`, pure and compiled: jit, vmap and grad apply. If the
    collection angles among the nine numbers change, S is stretched between them.

    Attributes:
        model: of ideal annuli.
        fractions: edges between which S is constant, from 0 at the inner angle to 1 at the outer.
        sensitivity: S between them; 1 is that of an ideal annulus.
    """

    kind: ClassVar[str] = AdditiveModel.kind
    gathers: ClassVar[bool] = AdditiveModel.gathers

    model: AdditiveModel
    fractions: Float[Array, " edges"]
    sensitivity: Float[Array, " bins"]

    @classmethod
    def of(
        cls,
        model: AdditiveModel,
        settings: Settings,
        edges_mrad: Float[np.ndarray, " edges"],
        sensitivity: Float[np.ndarray, " bins"],
    ) -> "SensitiveSurrogate":
        """For the detector of settings, whose S is constant between edges [mrad].

        Raises:
            InputError: edges do not rise from the inner to the outer angle, or S is not a number
                from 0 to LARGEST_SENSITIVITY for each bin between them.
        """
        edges = as_numbers("edges_mrad", edges_mrad, (None,), "edges")
        values = as_numbers("sensitivity", sensitivity, (len(edges) - 1,), "bins")
        inner, outer = settings.inner_mrad, settings.outer_mrad
        problems = []
        if not np.all(np.diff(edges) > 0) or not np.allclose(edges[[0, -1]], (inner, outer)):
            problems.append(
                f"edges_mrad: must rise from inner_mrad = {inner:g} mrad to "
                f"outer_mrad = {outer:g} mrad"
            )
        if not np.all((values >= 0) & (values <= LARGEST_SENSITIVITY)) or not np.any(values > 0):
            problems.append(
                f"sensitivity: must be from 0 to {LARGEST_SENSITIVITY:g}, and not 0 everywhere"
            )
        if problems:
            raise InputError(problems)
        fractions = (edges - edges[0]) / (edges[-1] - edges[0])
        return cls(model, jnp.asarray(fractions), jnp.asarray(values))

    @property
    def trained_range(self) -> TrainedRange:
        """Trained range."""
        return self.model.trained_range

    def edges_mrad(self, x: Inputs) -> Float[Array, " edges"]:
        """Edges between which S is constant [mrad]."""
        inner, outer = x[DETECTOR]
        return inner + self.fractions * (outer - inner)

    def at(self, x: Inputs) -> Float[np.ndarray, "2 bins"]:
        """S as a `Curve` keeps it: middles of the bins [mrad], and values there."""
        edges = np.asarray(self.edges_mrad(x), float)
        return np.stack([0.5 * (edges[:-1] + edges[1:]), np.asarray(self.sensitivity, float)])

    @jax.jit
    def curve(self, x: Inputs) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms."""
        x = jnp.asarray(x)
        return self.model.sensitivity_curve(x, self.edges_mrad(x), self.sensitivity)

    @jax.jit
    def standard_error(
        self, x: Inputs, curve: Float[Array, " n"] | None = None
    ) -> Float[Array, " n"]:
        """Standard error of `curve` [Å²], relatively that of the ideal annulus."""
        ideal = self.model.curve(x)
        relative = self.model.standard_error(x, ideal) / ideal
        return relative * (self.curve(x) if curve is None else curve)

    @jax.jit
    def error_modes(
        self, x: Inputs, standard_error: Float[Array, " n"] | None = None
    ) -> Float[Array, "modes n"]:
        """Modes of the error of `curve` [Å²], as `AdditiveModel.error_modes`."""
        error = self.standard_error(x) if standard_error is None else standard_error
        return self.model.error_modes(x, error)
