"""What the config of this experiment may say."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.common import (
    Annulus,
)
from ppiscs_jax.config import Model
from ppiscs_jax.settings_config import Illuminated

BandLimits = Annotated[list[PositiveFloat], Field(min_length=1)]


class Published(Model):
    """Values of the published network, one a detector [Å²], and their spread [%]."""

    name: str
    values: list[float]
    spread_percent: list[float]


class Case(Illuminated):
    """One specimen and illumination."""

    name: str
    published: list[Published]


class GridSeries(Model):
    """Grids that differ in band limit only; by default with all waves of a batch."""

    name: str
    core_correction: bool
    band_fraction: Annotated[float, Field(gt=0, le=1)]
    cell_angstrom: PositiveFloat
    band_limits_inv_angstrom: BandLimits
    waves_per_batch: PositiveInt | None = None


class Abtem(Model):
    """Which waves abTEM repeats, and on which grids."""

    waves_per_batch: PositiveInt
    band_limits_inv_angstrom: BandLimits


class PublishedGrid(Model):
    """The grid of the published training data."""

    band_limit_inv_angstrom: PositiveFloat


class Config(Model):
    """The whole experiment; see config.toml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    batches: Annotated[int, Field(ge=2)]
    waves_per_batch: PositiveInt
    detectors_mrad: Annotated[list[Annulus], Field(min_length=1)]
    cases: Annotated[list[Case], Field(min_length=1)]
    grids: Annotated[list[GridSeries], Field(min_length=1)]
    abtem: Abtem
    published: PublishedGrid

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        if self.waves_per_batch & (self.waves_per_batch - 1):
            raise ValueError("waves_per_batch: must be a power of two, as Sobol points ask for")
        if self.grids[0].waves_per_batch is not None:
            raise ValueError("grids[0].waves_per_batch: the first grids need all waves")
        parts = [self.abtem.waves_per_batch, *(s.waves_per_batch or 0 for s in self.grids)]
        if max(parts) > self.waves_per_batch:
            raise ValueError("waves_per_batch: no part may have more than the whole")
        for case in self.cases:
            for p in case.published:
                if not len(p.values) == len(p.spread_percent) == len(self.detectors_mrad):
                    raise ValueError(f"cases.published {p.name!r}: one value a detector needed")
        return self
