"""What the config of this experiment may say."""

import math
from itertools import chain
from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.common import Annulus
from ppiscs_jax.config import Model
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.simulation.plan import WAVES_PER_ROUND


class Case(Illuminated):
    """One specimen and illumination.

    Attributes:
        outer_mrad: largest angle that is kept [mrad].
        n_atoms: thicknesses that are reported, the last one is simulated [atoms per column].
        watched_mrad: the detectors for which levels are chosen.
        detectors_mrad: the detectors that are reported; the coarsest grid should hold them.
        waves: waves of a batch on each level, the coarsest first; below 1 only some batches get
            any.
        plain_waves: waves of a batch on the coarsest grid, of which plain means are formed.
    """

    outer_mrad: PositiveFloat
    n_atoms: Annotated[list[PositiveInt], Field(min_length=1)]
    watched_mrad: Annotated[list[Annulus], Field(min_length=1)]
    detectors_mrad: Annotated[list[Annulus], Field(min_length=1)]
    waves: Annotated[list[PositiveFloat], Field(min_length=1)]
    plain_waves: Annotated[int, Field(ge=16)]


class Config(Model):
    """The whole experiment; see config.toml.

    Attributes:
        seed: of all random draws.
        repeats: times that every level is computed, with seeds of its own, for better variances.
        relative_error: error for which levels are chosen.
        alone_waves: waves of a batch on the converged grid alone.
        truncation_waves: waves of a batch on the finest grid and on one with `truncation_factor`
            times its band limit.
        truncation_factor: how much finer that grid is.
        cases: what is simulated.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    repeats: PositiveInt
    relative_error: Annotated[float, Field(gt=0, lt=1)]
    alone_waves: PositiveFloat
    truncation_waves: PositiveFloat
    truncation_factor: Annotated[float, Field(gt=1, le=4)]
    cases: Annotated[list[Case], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        waves = chain(*([*case.waves, case.plain_waves] for case in self.cases))
        for number in [self.alone_waves, self.truncation_waves, *waves]:
            if not math.log2(number).is_integer():
                raise ValueError(f"waves = {number}: must be a power of two, for Sobol points")
        for case in self.cases:
            if not WAVES_PER_ROUND <= case.waves[0] <= case.plain_waves:
                raise ValueError(
                    f"waves[0] = {case.waves[0]}: must be {WAVES_PER_ROUND} to plain_waves, "
                    f"{case.plain_waves}, for the comparison with plain means"
                )
            for inner, outer in case.detectors_mrad + case.watched_mrad:
                if not inner < outer <= case.outer_mrad:
                    raise ValueError(f"cases: {inner:g}–{outer:g} mrad lies beyond outer_mrad")
        return self
