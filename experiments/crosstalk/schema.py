"""Schema of the configuration of this experiment."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from experiments.common import Annulus
from ppiscs_jax.config import Model
from ppiscs_jax.settings_config import Illuminated


class Step(Model):
    """A periodic slab of which half of the columns are lower.

    Attributes:
        side: surface with the step: where the beam leaves the slab, or where it enters it.
        atoms: on the "exit" side number of atoms of the lower columns, which the higher ones
            exceed with the thickness; on the "entrance" side number of atoms that they lack.
    """

    side: Literal["exit", "entrance"]
    atoms: NonNegativeInt


class Case(Illuminated):
    """One specimen and illumination.

    Attributes:
        detector_mrad: inner and outer angle [mrad].
        c10_angstrom: defocus [Å].
        steps: that are simulated.
        configurations: of thermal displacements.
    """

    detector_mrad: Annulus
    c10_angstrom: float = 0.0
    steps: Annotated[list[Step], Field(min_length=1)]
    configurations: Annotated[int, Field(ge=2)]


class Config(Model):
    """The whole experiment; see config.toml.

    Attributes:
        seed: of the first configuration; others follow.
        cells: projected cells of the box along both edges; steps are across the second one.
        n_atoms: thicknesses that are measured [atoms per column]; the largest is simulated.
        source_angstrom: standard deviations of the source that blurs the images [Å].
        gaussians_from_angstrom: source from which Gaussians are fitted too [Å].
        pixel_angstrom: largest pixel of the interpolated images [Å].
        cases: that are simulated.
    """

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    cells: tuple[PositiveInt, PositiveInt]
    n_atoms: Annotated[list[PositiveInt], Field(min_length=1)]
    source_angstrom: Annotated[list[NonNegativeFloat], Field(min_length=1)]
    gaussians_from_angstrom: PositiveFloat
    pixel_angstrom: PositiveFloat
    cases: Annotated[list[Case], Field(min_length=1)]
