"""Simulate random settings of the data set's range, to score surrogates with.

Each simulation is kept as soon as it is finished, and a run that was stopped goes on. In the end
they are put together in held_out.npz, for `ppiscs evaluate`.

    python -m experiments.fresh_check.run [--config FILE] [--out FOLDER]
"""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import Annulus, main, provenance, save_json
from ppiscs_jax.campaign.cluster import THREADS_PER_GPU
from ppiscs_jax.config import Model
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.averaging import kernel_to_noise
from ppiscs_jax.simulation.batches import in_threads
from ppiscs_jax.simulation.grids import band_limit_inv_angstrom, on_accelerator, supercell_grid
from ppiscs_jax.simulation.plan import Plan, power_of_two_rings
from ppiscs_jax.surrogate.evaluate import HeldOut, load_held_out, save_held_out
from ppiscs_jax.surrogate.sample import DETECTORS, INNER, LEAST_INNER_MRAD, LEAST_WIDTH_MRAD, OUTER

FARTHEST_MRAD = 250.0
MOST_WAVES = 1 << 16
MOST_ATOMS = 87


Ends = tuple[PositiveFloat, PositiveFloat]


class Config(Model):
    """What the config may say."""

    seed: int
    simulations: PositiveInt
    elements: Annotated[list[str], Field(min_length=1)]
    zone_axes: Annotated[list[str], Field(min_length=1)]
    voltages_kv: Ends
    convergence_mrad: Ends
    rmsd_angstrom: Ends
    rmsd_angstrom_of: dict[str, Ends] = Field(default_factory=dict)
    n_atoms: dict[str, PositiveInt] = Field(default_factory=dict)
    noise: PositiveFloat
    noise_detectors_mrad: Annotated[list[Annulus], Field(min_length=1)]
    cell_angstrom: PositiveFloat


def draw(config: Config, number: int) -> tuple[Settings, np.ndarray]:
    """Settings of a simulation, and the edges of its 20 consecutive detectors [mrad].

    Elements take turns, and so do zone axes; everything else is drawn.
    """
    random = np.random.default_rng((config.seed, number))
    aperture = random.uniform(*config.convergence_mrad)
    span = DETECTORS * LEAST_WIDTH_MRAD
    inner = random.uniform(max(aperture, LEAST_INNER_MRAD), FARTHEST_MRAD - span)
    spare = np.sort(random.uniform(size=DETECTORS)) * (FARTHEST_MRAD - span - inner)
    widths = LEAST_WIDTH_MRAD * np.arange(1, DETECTORS + 1)
    edges = np.concatenate([[inner], inner + widths + spare])
    element = config.elements[number % len(config.elements)]
    settings = Settings(
        element=element,
        zone_axis=config.zone_axes[number % len(config.zone_axes)],
        voltage_kv=np.exp(random.uniform(*np.log(config.voltages_kv))),
        convergence_mrad=aperture,
        inner_mrad=edges[0],
        outer_mrad=edges[-1],
        rmsd_angstrom=random.uniform(*config.rmsd_angstrom_of.get(element, config.rmsd_angstrom)),
        c30_mm=random.uniform(-1e-3, 1e-3),
        c10_angstrom=random.uniform(-100, 100),
    )
    return settings, edges


def simulate(config: Config, number: int) -> HeldOut:
    """The curves of one simulation's 210 detectors."""
    settings, edges = draw(config, number)
    usual = settings.zone_axis_data.thickest(settings.element_data)
    n_atoms = config.n_atoms.get(settings.zone_axis, usual)
    watched = config.noise_detectors_mrad
    bins = np.unique(np.concatenate([edges, np.ravel(watched), [FARTHEST_MRAD]]))
    grid = supercell_grid(
        settings,
        band_limit_inv_angstrom(settings, FARTHEST_MRAD, n_atoms),
        config.cell_angstrom,
    )
    aperture = float(settings.convergence_mrad)
    rings = power_of_two_rings([aperture])
    plan = Plan.of(settings, grid, rings, bins, n_atoms, config.seed + number)
    limits = [(aperture, *detector, config.noise) for detector in watched]
    kernel = kernel_to_noise(plan, limits, MOST_WAVES)
    curves = [kernel.curve(aperture, edges[i], edges[j]) for i, j in zip(INNER, OUTER, strict=True)]
    missing = [(0, 0), (0, 0), (0, MOST_ATOMS - n_atoms)]
    values = np.array([[c.ppiscs for c in curves]]), np.array([[c.standard_error for c in curves]])
    return HeldOut(
        np.array([[c.settings.to_vector() for c in curves]]),
        *(np.pad(v, missing, constant_values=np.nan) for v in values),
    )


def run(config: Config, out: Path) -> None:
    """Simulate what is not there yet, then put all together."""
    parts = out / "parts"
    parts.mkdir(exist_ok=True)
    files = [parts / f"{number:03d}.npz" for number in range(config.simulations)]

    def make(number: int) -> None:
        if not files[number].exists():
            save_held_out(files[number], simulate(config, number))

    # On a GPU some compile while others compute.
    at_once = THREADS_PER_GPU if on_accelerator() else 1
    calls = [partial(make, number) for number in range(config.simulations)]
    for done, _ in enumerate(in_threads(calls, at_once), 1):
        print(f"{done} of {config.simulations}", flush=True)
    held_out = [load_held_out(path) for path in files]
    about = {"config": config.model_dump(mode="json"), "provenance": provenance()}
    fields = ("x", "ppiscs", "standard_error")
    together = {field: np.concatenate([getattr(c, field) for c in held_out]) for field in fields}
    save_held_out(out / "held_out.npz", HeldOut(**together, about=json.dumps(about)))
    save_json(out / "result.json", about)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
