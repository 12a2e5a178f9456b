"""Schema of the configuration of this experiment."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.common import Annulus
from ppiscs_jax.config import Model
from ppiscs_jax.settings_config import Illuminated


class Case(Illuminated):
    """One specimen and illumination.

    Attributes:
        n_atoms: thicknesses that are reported; the largest is simulated [atoms per column].
    """

    n_atoms: Annotated[list[PositiveInt], Field(min_length=1)]


class Config(Model):
    """The whole experiment; see config.toml.

    Attributes:
        seed: of all random draws.
        waves: tilted plane waves of each case, a power of two.
        outer_mrad: largest angle that is kept [mrad].
        detectors_mrad: detectors that are reported [mrad].
        cases: specimens and illuminations that are simulated.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    waves: Annotated[int, Field(ge=4)]
    outer_mrad: PositiveFloat
    detectors_mrad: Annotated[list[Annulus], Field(min_length=1)]
    cases: Annotated[list[Case], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        if self.waves & (self.waves - 1):
            raise ValueError(f"waves = {self.waves}: must be a power of two, for Sobol points")
        for inner, outer in self.detectors_mrad:
            if not inner < outer <= self.outer_mrad:
                raise ValueError(f"detectors_mrad: {inner:g}–{outer:g} mrad: beyond outer_mrad")
        return self
