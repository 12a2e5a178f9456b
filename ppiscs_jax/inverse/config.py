"""Config files of fits and of propagated measurement errors."""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AliasChoices,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ppiscs_jax.config import Model
from ppiscs_jax.errors import InputError, choice_problem
from ppiscs_jax.inverse.fit import Method, Precision
from ppiscs_jax.inverse.forward import Forward
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.posterior import UNITS_OF_AREA, Cost
from ppiscs_jax.inverse.problem import LIMITS, NUMBERS, Free, Problem
from ppiscs_jax.io.library import Library
from ppiscs_jax.settings import Settings
from ppiscs_jax.settings_config import Nominal
from ppiscs_jax.simulation.gradient import WAVES, simulator
from ppiscs_jax.surrogate.predict import outside_problems, surrogate_for

REACH = 5.0
"""Bounds that are not given are so many prior standard deviations from the nominal value."""

UNITS = {
    "angstrom2": 1.0,
    "nm2": 1 / UNITS_OF_AREA["nm²"],
    "megabarn": 1 / UNITS_OF_AREA["megabarn"],
}
"""Units of measured values, in Å²."""

Limits = dict[str, tuple[float, float]]


class Simulated(Model):
    """The simulator as forward model, as in `simulator`."""

    waves: PositiveInt = WAVES
    seed: NonNegativeInt = 0


class FitConfig(Model):
    """Schema of the configuration of a fit: the microscope, and the noise of a measured curve.

    Attributes:
        nominal: nominal settings; configs of version 0.1 call them `stated`.
        std: standard deviations of the nominal values, by field, "gain" and "offset_angstrom2" too:
            Gaussian priors of fits, half widths of propagated errors.
        bounds: lowest and highest value, by field. Fields in neither keep their nominal values.
        gain, offset_angstrom2: nominal values in measured = gain × PPISCS + offset.
        unit: of the measured values and of standard_error.
        standard_error: of every measured value, in `unit`.
        relative_error: instead, in parts of each value.
        dose_per_angstrom2: instead, the dose [e⁻/Å²] whose Poisson noise is all the noise.
        method, cost: as in `fit`. With the cost "absolute" std are half widths, the paper's way.
        surrogate: name, or .npz or .mat file, of the forward model.
        simulator: the forward model instead of a surrogate; for fits only.
    """

    model_config = ConfigDict(populate_by_name=True)

    nominal: Annotated[Nominal, Field(validation_alias=AliasChoices("nominal", "stated"))]
    std: dict[str, PositiveFloat] = Field(default_factory=dict)
    bounds: Limits = Field(default_factory=dict)
    gain: float = 1.0
    offset_angstrom2: float = 0.0
    unit: Literal["angstrom2", "nm2", "megabarn"] = "angstrom2"
    standard_error: PositiveFloat | None = None
    relative_error: PositiveFloat | None = None
    dose_per_angstrom2: PositiveFloat | None = None
    method: Method = "trf"
    cost: Cost = "likelihood"
    surrogate: str = "additive"
    simulator: Simulated | None = None

    @model_validator(mode="after")
    def _one_of_each(self) -> "FitConfig":
        given = (self.standard_error, self.relative_error, self.dose_per_angstrom2)
        if sum(noise is not None for noise in given) > 1:
            raise ValueError(
                "standard_error, relative_error, dose_per_angstrom2: give one of them at most"
            )
        if self.simulator and "surrogate" in self.model_fields_set:
            raise ValueError("surrogate, simulator: give one of them at most")
        return self

    def forward(self, n_atoms: int | None) -> tuple[Forward, Limits, Precision]:
        """The forward model of curves up to n_atoms, its trained range, and its precision.

        Raises:
            InputError, FileNotFoundError: there is no such surrogate, or it was not made for the
                nominal settings; or a simulator is asked for without n_atoms.
        """
        if self.simulator is None:
            settings = self.settings()
            surrogate, x = surrogate_for(settings, self.surrogate), settings.to_vector()
            if problems := outside_problems(surrogate, x[None]):
                raise InputError(problems)
            limits = surrogate.trained_range.limits_of(x)
            return surrogate.curve, limits, "double"
        if n_atoms is None:
            raise InputError("simulator: only fits can use it")
        settings = self.settings()
        return simulator(settings, n_atoms, **self.simulator.model_dump()), {}, "single"

    def settings(self) -> Settings:
        """The nominal settings; raises InputError for values out of range."""
        return self.nominal.settings()

    def problem(self, limits: Limits) -> Problem:
        """The problem of a fit; default bounds are restricted to the trained range.

        Raises:
            InputError: as `Settings` and `Problem`; std or bounds of what cannot be estimated.
        """
        if self.cost == "absolute":
            return self.half_widths(self.bounds)
        nominal = self._nominal()
        free = {}
        for name in dict.fromkeys((*self.std, *self.bounds)):
            reach = REACH * self.std.get(name, 0.0)
            low, high = self.bounds.get(name) or _around(nominal[name], reach, name, limits)
            free[name] = Free(low, high, self.std.get(name))
        return self._problem(free)

    def half_widths(self, bounds: Limits | None = None) -> Problem:
        """Uniform priors of half width std (paper, §3.3), or between the given bounds.

        Raises:
            InputError: as `problem`.
        """
        nominal = self._nominal()
        spans = {name: (nominal[name] - std, nominal[name] + std) for name, std in self.std.items()}
        return self._problem({n: Free(*span) for n, span in {**spans, **(bounds or {})}.items()})

    def measured(self, library: Library) -> Measured:
        """A measured curve in Å², with the noise of the config, or else of its file.

        Raises:
            InputError: as `Measured`.
        """
        error: Any = self.standard_error
        if self.relative_error is not None:
            error = self.relative_error * np.abs(library.ppiscs)
        return Measured.from_library(
            library,
            error,
            dose_per_angstrom2=self.dose_per_angstrom2,
            angstrom2=UNITS[self.unit],
        )

    def _problem(self, free: dict[str, Free]) -> Problem:
        return Problem(self.settings(), free, self.gain, self.offset_angstrom2)

    def _nominal(self) -> dict[str, float]:
        """All nominal numbers by name, after a check of the names of std and bounds."""
        problems: list[str | None] = [
            choice_problem(part, name, LIMITS)
            for part, names in (("std", self.std), ("bounds", self.bounds))
            for name in names
        ]
        numbers: list[Any] = []
        try:
            numbers = [*self.settings().to_vector(), self.gain, self.offset_angstrom2]
        except InputError as error:
            problems += error.problems
        if any(problems):
            raise InputError(p for p in problems if p)
        return dict(zip(NUMBERS, numbers, strict=True))


def _around(value: float, reach: float, name: str, limits: Limits) -> tuple[float, float]:
    """Value ± reach, cut to the possible values and to the range of the forward model."""
    spans = [(value - reach, value + reach), LIMITS[name][:2], limits.get(name, (-np.inf, np.inf))]
    lows, highs = zip(*spans, strict=True)
    return max(lows), min(highs)
