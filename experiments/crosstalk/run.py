"""How much a column's cross-section depends on the numbers of atoms of its neighbours.

Images of slabs with steps are compared with those of slabs without, on the same displacements. What
has been simulated is kept; a run that was stopped goes on from there. Writes table.csv, result.json
and crosstalk.png.

    python -m experiments.crosstalk.run [--config FILE] [--out FOLDER]
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from experiments.common import main, save_cases
from experiments.crosstalk.figure import draw
from experiments.crosstalk.schema import Case, Config, Step
from experiments.crosstalk.slabs import Slabs, Structure
from experiments.crosstalk.volumes import gaussians, interpolated, voronoi
from ppiscs_jax.surrogate.predict import predict

Measure = Callable[[np.ndarray, Slabs, np.ndarray], np.ndarray]

VORONOI = "Voronoi"
VARIANTS: dict[str, tuple[Measure, bool]] = {
    VORONOI: (voronoi, False),
    f"{VORONOI}, no tails": (voronoi, True),
    "Gaussians": (partial(gaussians, one_width=True), False),
    "Gaussians, no tails": (partial(gaussians, one_width=True), True),
    "Gaussians, no tails, own widths": (gaussians, True),
}
"""Ways to measure, and whether the tails of the probe are removed before."""


def rows_from_step(slabs: Slabs) -> np.ndarray:
    """Number of the row of each column, from 1 beside the nearest step."""
    along = slabs.columns[:, 1]
    apart = np.abs(along[:, None] - along)
    apart = np.minimum(apart, 1 - apart)
    apart[slabs.lower[:, None] == slabs.lower] = np.inf
    nearest = apart.min(axis=1)
    return np.searchsorted(np.unique(np.round(nearest, 6)), nearest - 1e-5) + 1


def measured(
    slabs: Slabs, structure: Structure, source: float, variant: str, parts: Path
) -> np.ndarray:
    """Cross-sections [Å²], (configurations, thicknesses, columns)."""
    measure, removed = VARIANTS[variant]
    how = {
        "source": source,
        "pixel": slabs.config.pixel_angstrom,
        "without_tails": slabs.settings if removed else None,
    }
    every = []
    for configuration in range(slabs.case.configurations):
        images = slabs.images(structure, configuration, parts)
        every.append(
            [
                measure(interpolated(image, slabs.box_angstrom, **how), slabs, atoms > 0)
                for image, n in zip(images, slabs.config.n_atoms, strict=True)
                if (atoms := structure.atoms(n)).any()
            ]
        )
    return np.array(every)


def compared(
    slabs: Slabs, slab: np.ndarray, step: Step, source: float, variant: str, parts: Path
) -> Iterator[dict[str, Any]]:
    """A row for each thickness, side of the step and distance from it."""
    case, thicknesses = slabs.case, slabs.config.n_atoms
    structure = slabs.stepped(step)
    stepped = measured(slabs, structure, source, variant, parts)
    expected = predict(slabs.settings).ppiscs
    row = rows_from_step(slabs)
    for i, n in enumerate(thicknesses):
        atoms = structure.atoms(n)
        higher, lower = int(atoms[~slabs.lower][0]), int(atoms[slabs.lower][0])
        if higher == lower:
            continue
        for side, number in product((False, True), np.unique(row)):
            own, other = (lower, higher) if side else (higher, lower)
            # Lower columns that begin inside the crystal have no slab with their displacements.
            if own not in thicknesses or (side and step.side == "entrance"):
                continue
            at = (slabs.lower == side) & (row == number)
            plain = slab[:, thicknesses.index(own)]
            scale = 100 / plain.mean()
            difference = scale * (stepped[:, i] - plain)[:, at]
            yield {
                "case": f"{case.element} [{case.zone_axis}] {case.voltage_kv:g} kV",
                "c10_angstrom": case.c10_angstrom,
                "step": step.side,
                "source_angstrom": source,
                "by": variant,
                "atoms": own,
                "beyond_the_step": other,
                "row": int(number),
                "difference_percent": float(difference.mean()),
                "standard_error_percent": float(difference.std(ddof=1) / difference.size**0.5),
                "difference_atoms": float(difference.mean() * own / 100),
                "slab_over_surrogate": float(plain.mean() / expected[own - 1]),
            }


def simulate(config: Config, case: Case, parts: Path) -> list[dict[str, Any]]:
    """Rows of a case."""
    slabs = Slabs(config, case)
    plain = {
        (source, variant): measured(slabs, slabs.slab(), source, variant, parts)
        for source, variant in product(config.source_angstrom, VARIANTS)
        if variant.startswith(VORONOI) or source >= config.gaussians_from_angstrom
    }
    rows = []
    for step, ((source, variant), slab) in product(case.steps, plain.items()):
        rows += compared(slabs, slab, step, source, variant, parts)
    return rows


def run(config: Config, out: Path) -> None:
    """Simulate, measure, print, save."""
    for case in config.cases:  # bad settings are reported before any work
        case.settings(case.detector_mrad)
    parts = out / "parts"
    parts.mkdir(exist_ok=True)
    results = (simulate(config, case, parts) for case in config.cases)
    save_cases(config, results, draw, out / "crosstalk.png")


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
