"""A campaign: what a config asks to be simulated, as tasks in a useful order."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import (
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ppiscs_jax.config import Model
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES, zone_axis
from ppiscs_jax.errors import InputError, choice_problem, range_problem
from ppiscs_jax.settings import LARGEST_MRAD, LARGEST_SEED, MOST_ATOMS, RANGES, Settings
from ppiscs_jax.simulation.bins import Bins
from ppiscs_jax.units import LEAST_RELATIVE_ERROR

Numbers = Annotated[list[float], Field(min_length=1)]


class AngleRange(Model):
    """Bins of equal width from where the range before ends (at first 0) up to `to_mrad`."""

    to_mrad: PositiveFloat
    step_mrad: PositiveFloat


class NoiseLimit(Model):
    """Largest mean standard error over thickness, over the curve's maximum, for an aperture."""

    convergence_mrad: PositiveFloat
    limit: Annotated[float, Field(ge=LEAST_RELATIVE_ERROR, lt=1)]


class Campaign(Model):
    """Every combination of element, zone axis, voltage and rmsd, to a noise.

    Attributes:
        seed: of the whole campaign; a task's own seed follows from it and the task's name.
        elements, zone_axes, voltages_kv, rmsd_angstrom: the specimens and voltages, in the
            order in which elements and zone axes are to be worked through.
        rmsd_angstrom_of: rmsd of single elements, by symbol, instead of `rmsd_angstrom`.
        rings_mrad: edges of the rings of tilts [mrad] that are simulated, from 0, each with as
            many waves; their number is a power of two.
        kept_rings_mrad: those of the edges that are kept.
        angles: bins of collection angle.
        lattice_mrad: largest distance λ / L [mrad] between the reciprocal lattice points of the
            supercell.
        band: fraction of the band limit of `simulation.grids.band_limit_inv_angstrom`.
        detectors_mrad: the detectors (inner, outer) [mrad] of the noise limits.
        noise: the limits, one per aperture.
        max_waves: of a task.
        n_atoms: largest thickness by zone axis [atoms per column]; by default the usual ones.
    """

    NODES: ClassVar = (
        "elements",
        "zone_axes",
        "voltages_kv",
        "rmsd_angstrom",
        "rmsd_angstrom_of",
    )
    """Fields whose values may be extended when a campaign is resumed."""

    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)]
    elements: Annotated[list[str], Field(min_length=1)]
    zone_axes: Annotated[list[str], Field(min_length=1)]
    voltages_kv: Numbers
    rmsd_angstrom: Numbers
    rmsd_angstrom_of: dict[str, Numbers] = Field(default_factory=dict)
    rings_mrad: Annotated[list[float], Field(min_length=2)]
    kept_rings_mrad: Annotated[list[float], Field(min_length=2)]
    angles: Annotated[list[AngleRange], Field(min_length=1)]
    lattice_mrad: Annotated[float, Field(ge=1.0, le=30.0)] = 10.0
    band: Annotated[float, Field(ge=0.5, le=4.0)] = 1.0
    detectors_mrad: Annotated[list[tuple[float, float]], Field(min_length=1)]
    noise: Annotated[list[NoiseLimit], Field(min_length=1)]
    max_waves: PositiveInt = 1 << 16
    n_atoms: dict[str, Annotated[int, Field(ge=1, le=MOST_ATOMS)]] = Field(default_factory=dict)

    @field_validator("elements")
    @classmethod
    def _known_elements(cls, values: list[str]) -> list[str]:
        return _checked(values, [choice_problem("element", e, ELEMENTS) for e in values])

    @field_validator("rmsd_angstrom_of")
    @classmethod
    def _known_rmsd(cls, values: dict[str, list[float]]) -> dict[str, list[float]]:
        _checked(list(values), [choice_problem("rmsd_angstrom_of", e, ELEMENTS) for e in values])
        for numbers in values.values():
            range_problems = [
                range_problem("rmsd_angstrom_of", r, *RANGES["rmsd_angstrom"]) for r in numbers
            ]
            _checked(numbers, range_problems)
        return values

    @field_validator("zone_axes", "n_atoms")
    @classmethod
    def _known_zone_axes(cls, values: Any) -> Any:
        names, problems = [], []
        for name in values:
            try:
                names.append(zone_axis(name).name)
            except InputError as error:
                problems += error.problems
        _checked(names, problems)
        return dict(zip(names, values.values(), strict=True)) if isinstance(values, dict) else names

    @field_validator("voltages_kv", "rmsd_angstrom")
    @classmethod
    def _within_ranges(cls, values: list[float], info: ValidationInfo) -> list[float]:
        field = {"voltages_kv": "voltage_kv"}.get(str(info.field_name), str(info.field_name))
        return _checked(values, [range_problem(field, v, *RANGES[field]) for v in values])

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        _checked(self, self._ring_problems() + self._detector_problems())
        _checked(self, self._noise_problems())
        return self

    def _ring_problems(self) -> list[str]:
        edges, problems = self.rings_mrad, []
        if edges[0] != 0 or np.any(np.diff(edges) <= 0) or edges[-1] > 100:
            problems.append(f"rings_mrad = {edges}: must increase from 0 to at most 100 mrad")
        rings = len(edges) - 1
        if rings & (rings - 1):
            problems.append(f"rings_mrad: {rings} rings; their number must be a power of two")
        kept = self.kept_rings_mrad
        if not set(kept) <= set(edges) or (kept[0], kept[-1]) != (edges[0], edges[-1]):
            problems.append(
                f"kept_rings_mrad = {kept}: must be some of rings_mrad, first and last included"
            )
        elif kept != sorted(set(kept)):
            problems.append(f"kept_rings_mrad = {kept}: must increase")
        for limit in self.noise:
            problem = range_problem(
                "noise.convergence_mrad", limit.convergence_mrad, kept[1], kept[-1], "mrad, as kept"
            )
            problems += [problem] if problem else []
        return problems

    def _detector_problems(self) -> list[str]:
        problems, start = [], 0.0
        for part in self.angles:
            steps = (part.to_mrad - start) / part.step_mrad
            if steps < 1 - 1e-9 or abs(steps - round(steps)) > 1e-6 or part.to_mrad > LARGEST_MRAD:
                problems.append(
                    f"angles.to_mrad = {part.to_mrad:g}: must be whole steps of "
                    f"{part.step_mrad:g} mrad above {start:g} mrad, up to {LARGEST_MRAD:g} mrad"
                )
            start = part.to_mrad
        for inner, outer in self.detectors_mrad:
            if not 0 <= inner < outer <= start:
                problems.append(
                    f"detectors_mrad = ({inner:g}, {outer:g}): must be 0 ≤ inner < outer ≤ "
                    f"{start:g} mrad"
                )
        return problems

    def _noise_problems(self) -> list[str]:
        """Noise limits that kernels with these edges cannot resolve."""
        apertures = [limit.convergence_mrad for limit in self.noise]
        bins = Bins(np.array(self.kept_rings_mrad), self.angle_edges_mrad)
        problems: list[str] = []
        for aperture, detector in product(apertures, self.detectors_mrad):
            try:
                bins.detector_weights(aperture, *detector)
                bins.aperture_weights(aperture)
            except InputError as error:
                problems += error.problems
        return list(dict.fromkeys(problems))

    @property
    def angle_edges_mrad(self) -> np.ndarray:
        """Edges of the collection-angle bins [mrad]."""
        edges = [0.0]
        for part in self.angles:
            steps = round((part.to_mrad - edges[-1]) / part.step_mrad)
            edges += list(np.linspace(edges[-1], part.to_mrad, steps + 1)[1:])
        return np.array(edges)

    @property
    def noise_limits(self) -> list[tuple[float, float, float, float]]:
        """Aperture, inner and outer angle [mrad] and limit of the noise, for all detectors."""
        return [
            (limit.convergence_mrad, *detector, limit.limit)
            for limit in self.noise
            for detector in self.detectors_mrad
        ]

    @property
    def fingerprint(self) -> str:
        """Hash of all fields that affect the result of a task; it identifies the campaign."""
        decisive = self.model_dump(mode="json", exclude=set(self.NODES))
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    def thickest(self, specimen: "Task | Settings") -> int:
        """Largest thickness of a task, or of settings [atoms per column]."""
        usual = ZONE_AXES[specimen.zone_axis].thickest(ELEMENTS[specimen.element])
        return self.n_atoms.get(specimen.zone_axis, usual)

    def settings(self, task: "Task") -> Settings:
        """Settings of a task, with the first aperture and detector of the noise limits."""
        return task.settings(self.noise[0].convergence_mrad, self.detectors_mrad[0])

    def tasks(self) -> list["Task"]:
        """All tasks, ordered so that an unfinished campaign is already useful.

        Elements and zone axes are completed one after another. Within each, the ends and then the
        midpoints of voltage and rmsd come first, so that early results can be interpolated over the
        whole range.
        """
        return [
            Task(element, zone, voltage, rmsd, self.seed)
            for element, zone in product(self.elements, self.zone_axes)
            for voltage, rmsd in self._nodes(element)
        ]

    def _nodes(self, element: str) -> list[tuple[float, float]]:
        """Voltages and rmsd of an element, ends and middles first."""
        rmsd = self.rmsd_angstrom_of.get(element, self.rmsd_angstrom)
        levels = {
            (v, r): max(lv, lr)
            for (v, lv), (r, lr) in product(_levels(self.voltages_kv), _levels(rmsd))
        }
        return sorted(levels, key=lambda node: (levels[node], node))


@dataclass(frozen=True)
class Task:
    """One simulation of a campaign."""

    element: str
    zone_axis: str
    voltage_kv: float
    rmsd_angstrom: float
    campaign_seed: int

    @property
    def group(self) -> str:
        """Name of what is packed together."""
        return f"{self.element}_{self.zone_axis}"

    @property
    def name(self) -> str:
        """Name of the task and of its kernel, unique in a campaign."""
        return f"{self.group}_{self.voltage_kv:.10g}kV_{self.rmsd_angstrom:.10g}A"

    @property
    def seed(self) -> int:
        """Seed of this task's random draws, from the seed of the campaign and the name alone."""
        digest = hashlib.sha256(f"{self.campaign_seed}/{self.name}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def settings(self, convergence_mrad: float, detector_mrad: tuple[float, float]) -> Settings:
        """Its settings, with a default aperture and detector."""
        inner, outer = detector_mrad
        return Settings(
            self.element,
            self.zone_axis,
            self.voltage_kv,
            convergence_mrad,
            inner,
            outer,
            self.rmsd_angstrom,
        )


def _checked(value: Any, problems: Sequence[str | None]) -> Any:
    """The value, if there are no problems, and it names nothing twice."""
    found = [p for p in problems if p]
    if isinstance(value, list) and len(set(value)) < len(value):
        found.append("a value is there twice")
    if found:
        raise ValueError("; ".join(found))
    return value


def _levels(values: Sequence[float]) -> list[tuple[float, int]]:
    """Each value with the round in which halving intervals reaches it: 0 the ends, 1 the middle."""
    ordered = sorted(values)
    levels = {ordered[0]: 0, ordered[-1]: 0}
    gaps, level = [(0, len(ordered) - 1)], 1
    while gaps:
        halves = []
        for low, high in gaps:
            if high - low > 1:
                middle = (low + high) // 2
                levels[ordered[middle]] = level
                halves += [(low, middle), (middle, high)]
        gaps, level = halves, level + 1
    return list(levels.items())
