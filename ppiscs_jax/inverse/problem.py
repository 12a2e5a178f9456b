"""The problem of a fit: its free parameters, their bounds and their priors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.settings import RANGES, VECTOR_ORDER, Settings

NUMBERS = (*VECTOR_ORDER, "gain", "offset_angstrom2")
"""The nine numbers of `Settings.to_vector`, then gain and offset of the measured intensities."""

GAIN, OFFSET = NUMBERS.index("gain"), NUMBERS.index("offset_angstrom2")
SETTINGS = slice(0, GAIN)
"""Indices of gain, offset and the settings among the numbers."""

LIMITS = {**RANGES, "gain": (1e-30, 1e30, ""), "offset_angstrom2": (-1e6, 1e6, "Å²")}
"""Parameters that can be estimated: lowest and highest bound, unit."""


@dataclass(frozen=True)
class Free:
    """A parameter to be estimated, with its bounds and its prior.

    Attributes:
        low, high: bounds, in the unit of the parameter.
        prior_std: standard deviation of a Gaussian prior around the nominal value; None for a
            uniform prior between the bounds.

    Example:
        >>> import ppiscs_jax as pp
        >>> free = {
        ...     "inner_mrad": pp.Free(56.0, 64.0, prior_std=1.0),  # near the nominal value
        ...     "gain": pp.Free(0.9, 1.1),  # anywhere between the bounds
        ... }
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> pp.Problem(settings, free).prior_width.round(3).tolist()
        [1.0, 0.058]
    """

    low: float
    high: float
    prior_std: float | None = None


@dataclass(frozen=True)
class Problem:
    """Nominal settings, and the parameters to be estimated.

    Attributes:
        x: nominal settings: `Settings`, or the nine numbers of `Settings.to_vector`. They are the
            start of fits and the centre of priors. Kept as numbers, shape (9,).
        free: what is to be estimated, by name: those of `VECTOR_ORDER` past the zone axis,
            "gain", "offset_angstrom2". Kept in the order of `NUMBERS`.
        gain, offset_angstrom2: nominal values in measured = gain × PPISCS + offset.

    Raises:
        InputError: naming every unknown number, bad bound or prior, and start out of bounds.

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> problem = pp.Problem(settings, {"inner_mrad": pp.Free(56.0, 64.0, prior_std=1.0)})
        >>> problem.names, problem.nominal.tolist()
        (('inner_mrad',), [60.0])
        >>> pp.Problem.within(settings, {"inner_mrad": 1.0, "rmsd_angstrom": 0.005}).names
        ('inner_mrad', 'rmsd_angstrom')
    """

    x: Any
    free: Mapping[str, Free]
    gain: float = 1.0
    offset_angstrom2: float = 0.0

    def __post_init__(self) -> None:
        problems = []
        try:
            given = isinstance(self.x, Settings)
            settings = self.x if given else Settings.from_vector(self.x)
            object.__setattr__(self, "x", settings.to_vector())
        except InputError as error:
            problems += error.problems
        for field in ("gain", "offset_angstrom2"):
            if problem := range_problem(field, getattr(self, field), *LIMITS[field]):
                problems.append(problem)
        if not self.free:
            problems.append("free: must name at least one parameter")
        problems += [p for n in self.free if (p := choice_problem("free", n, LIMITS))]
        ordered = {n: self.free[n] for n in NUMBERS if n in self.free and n in LIMITS}
        object.__setattr__(self, "free", ordered)
        problems += [p for n, f in ordered.items() for p in _free_problems(n, f)]
        if problems:
            raise InputError(problems)
        if problems := self._start_problems():
            raise InputError(problems)

    @classmethod
    def within(cls, x: Any, half_widths: Mapping[str, float]) -> Self:
        """The paper's problem: numbers anywhere within ± their measurement error (§3.3).

        By name, as in `free`; a number with an error of 0 keeps its nominal value.
        """
        settings = x if isinstance(x, Settings) else Settings.from_vector(x)
        nominal = dict(zip(NUMBERS, [*settings.to_vector(), 1.0, 0.0], strict=True))
        around = {n: (nominal.get(n, 0.0), half) for n, half in half_widths.items() if half != 0}
        return cls(x, {n: Free(v - half, v + half) for n, (v, half) in around.items()})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what is to be estimated, in the order of `NUMBERS`."""
        return tuple(self.free)

    @property
    def numbers(self) -> Float[np.ndarray, " 11"]:
        """Nominal values of all numbers, in the order of `NUMBERS`."""
        return np.append(self.x, [self.gain, self.offset_angstrom2])

    @property
    def nominal(self) -> Float[np.ndarray, " free"]:
        """Nominal values of what is to be estimated."""
        return self.numbers[[NUMBERS.index(name) for name in self.names]]

    @property
    def bounds(self) -> tuple[Float[np.ndarray, " free"], Float[np.ndarray, " free"]]:
        """Lower and upper bounds."""
        return tuple(np.array([[f.low, f.high] for f in self.free.values()], float).T)

    @property
    def prior_precision(self) -> Float[np.ndarray, " free"]:
        """One over the prior's standard deviation; 0 where there are only bounds."""
        stds = [f.prior_std for f in self.free.values()]
        return np.array([0.0 if std is None else 1 / std for std in stds])

    @property
    def prior_width(self) -> Float[np.ndarray, " free"]:
        """Standard deviation before the measurement: the prior's, or (high − low)/√12 if less."""
        low, high = self.bounds
        return 1 / np.maximum(self.prior_precision, 12**0.5 / (high - low))

    def _start_problems(self) -> list[str]:
        """Nominal values outside their bounds, and bounds that allow inner ≥ outer angle."""
        problems = [
            range_problem(f"nominal {name}", float(value), free.low, free.high, LIMITS[name][2])
            for value, (name, free) in zip(self.nominal, self.free.items(), strict=True)
        ]
        x = dict(zip(VECTOR_ORDER, self.x, strict=True))
        inner = self.free["inner_mrad"].high if "inner_mrad" in self.free else x["inner_mrad"]
        outer = self.free["outer_mrad"].low if "outer_mrad" in self.free else x["outer_mrad"]
        if inner >= outer:
            problems.append(
                f"inner_mrad up to {inner:g} mrad and outer_mrad from {outer:g} mrad: "
                "the two ranges must not overlap"
            )
        return [p for p in problems if p]


def _free_problems(name: str, free: Any) -> list[str]:
    if not isinstance(free, Free):
        return [f"free[{name!r}] = {free!r}: must be Free(low, high, prior_std)"]
    low, high, unit = LIMITS[name]
    problems = [
        range_problem(f"{name}, {which} bound", value, low, high, unit)
        for which, value in (("lower", free.low), ("upper", free.high))
    ]
    if not any(problems) and free.low >= free.high:
        problems.append(
            f"{name}: bounds {free.low:g} to {free.high:g} {unit}: lower must be below upper"
        )
    if free.prior_std is not None:
        problems.append(
            range_problem(f"{name}, prior_std", free.prior_std, 0, 1e30, unit, open_low=True)
        )
    return [p for p in problems if p]
