"""What the config of this study may say."""

from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.common import ROOT, Annulus
from ppiscs_jax.campaign.config import AngleRange, Campaign
from ppiscs_jax.config import Model, load_config
from ppiscs_jax.settings_config import Illuminated

Detectors = Annotated[list[Annulus], Field(min_length=1)]
Specimens = Annotated[list[Illuminated], Field(min_length=1)]
Numbers = Annotated[list[PositiveFloat], Field(min_length=1)]


class Filling(Model):
    """How evenly reciprocal lattices fill annuli: no simulation, all of it areas."""

    convergence_mrad: PositiveFloat
    from_spacing_mrad: PositiveFloat
    to_spacing_mrad: PositiveFloat
    step_mrad: PositiveFloat
    width_mrad: PositiveFloat
    to_mrad: PositiveFloat


class Supercell(Model):
    """One specimen on supercells of different size; waves one number a cell."""

    specimen: Illuminated
    lattices_mrad: Annotated[list[PositiveFloat], Field(min_length=2)]
    waves: Annotated[list[PositiveInt], Field(min_length=2)]


class Band(Model):
    """The same waves on grids of different band limit; the last factor is the reference."""

    factors: Annotated[list[PositiveFloat], Field(min_length=2)]
    waves: PositiveInt
    specimens: Specimens


class Rmsd(Model):
    """The same waves at the campaign's values of rmsd and half-way between them."""

    waves: PositiveInt
    specimens: Specimens


class Angles(Model):
    """The same waves in fine and in the campaign's rings and bins.

    Attributes:
        rings_mrad: fine rings, those of the campaign's that are kept and further ones among them.
        wider_rings_mrad: rings to compare with the kept ones.
        apertures_mrad: to be interpolated.
        above_aperture_mrad: how far above the aperture detectors of `width_mrad` start.
        wide_mrad: further detectors for them.
        wide_between_mrad: further detectors whose edges lie between those of bins.
        angles: fine bins, the campaign's edges among their edges.
    """

    waves: PositiveInt
    specimens: Specimens
    rings_mrad: Annotated[list[float], Field(min_length=2)]
    wider_rings_mrad: Annotated[list[float], Field(min_length=3)]
    apertures_mrad: Numbers
    above_aperture_mrad: Numbers
    width_mrad: PositiveFloat
    wide_mrad: Detectors
    wide_between_mrad: Detectors
    angles: Annotated[list[AngleRange], Field(min_length=1)]


class Compression(Model):
    """What a file loses of the first specimen of `angles`."""

    apertures_mrad: Numbers
    detectors_mrad: Detectors


class Config(Model):
    """The whole study; see config.toml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    campaign: str
    batches: Annotated[int, Field(ge=2)]
    n_atoms: PositiveInt | None = None
    detectors_mrad: Detectors
    filling: Filling
    supercell: Supercell
    band: Band
    rmsd: Rmsd
    angles: Angles
    compression: Compression

    def load_campaign(self) -> Campaign:
        """The campaign that is studied."""
        return load_config(ROOT / Path(self.campaign), Campaign)

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        campaign = self.load_campaign()
        rings, fine = set(campaign.kept_rings_mrad), set(self.angles.rings_mrad)
        wanted = rings | set(self.angles.wider_rings_mrad) | set(self.angles.apertures_mrad)
        if missing := sorted(wanted - fine):
            raise ValueError(f"angles.rings_mrad: {missing} mrad missing")
        fine_bins = campaign.model_copy(update={"angles": self.angles.angles}).angle_edges_mrad
        if not np.isin(campaign.angle_edges_mrad, fine_bins).all():
            raise ValueError("angles.angles: edges of the campaign's bins missing")
        count = len(self.angles.rings_mrad) - 1
        if count & (count - 1):
            raise ValueError(f"angles.rings_mrad: {count} rings; must be a power of two")
        if len(self.supercell.lattices_mrad) != len(self.supercell.waves):
            raise ValueError("supercell.waves: one number a cell needed")
        return self
