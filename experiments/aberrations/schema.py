"""What the config of this experiment may say."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from experiments.common import (
    Annulus,
)
from ppiscs_jax.config import Model
from ppiscs_jax.settings_config import Illuminated


class Scanning(Model):
    """Thickness, supercell, and some of `ScanOptions`."""

    n_atoms: PositiveInt
    supercell_angstrom: PositiveFloat
    pixels: PositiveInt
    scan_step_angstrom: PositiveFloat
    positions_at_once: PositiveInt
    defocus_nodes: PositiveInt


class Probe(Model):
    """Aberrations of one scan."""

    c10_angstrom: float
    c30_um: float
    defocus_spread_angstrom: NonNegativeFloat = 0.0

    @property
    def label(self) -> str:
        """Short name for tables and figures."""
        spread = self.defocus_spread_angstrom
        return f"{self.c10_angstrom:g}, {self.c30_um:g}, {spread:g}"


class ProbeGrid(Model):
    """Every C10 with every C30."""

    c10_angstrom: Annotated[list[float], Field(min_length=1)]
    c30_um: Annotated[list[float], Field(min_length=1)]


class TiltAverage(Model):
    """How many crystals the tilt average sees: planes in the stock of each batch."""

    batches: Annotated[int, Field(ge=2)]
    planes: PositiveInt


class PublishedSpread(Model):
    """Spread of the published network [%], one number a thickness."""

    detector_mrad: Annulus
    percent: list[float]


class Published(Model):
    """The published network, trained on so many configurations."""

    configurations: PositiveInt
    spreads: list[PublishedSpread]


class Config(Model):
    """The whole experiment; see config.toml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    detectors_mrad: Annotated[list[Annulus], Field(min_length=1)]
    configurations: Annotated[list[PositiveInt], Field(min_length=2)]
    specimen: Illuminated
    scan: Scanning
    grid: ProbeGrid
    further: list[Probe]
    tilt_average: TiltAverage
    published: Published

    @model_validator(mode="after")
    def _fits_together(self) -> "Config":
        c = self.configurations
        if c[-1] < 2 or any(n & (n - 1) for n in c) or sorted(set(c)) != c:
            raise ValueError("configurations: must be increasing powers of two")
        if self.tilt_average.planes < self.scan.n_atoms:
            raise ValueError("tilt_average.planes: must not be below scan.n_atoms")
        if len(self.grid.c10_angstrom) * len(self.grid.c30_um) < 2:
            raise ValueError("grid: must hold two probes or more")
        return self

    @property
    def probes(self) -> list[Probe]:
        """All probes, those of the grid first."""
        grid = [
            Probe(c10_angstrom=c10, c30_um=c30)
            for c30 in self.grid.c30_um
            for c10 in self.grid.c10_angstrom
        ]
        return grid + self.further
