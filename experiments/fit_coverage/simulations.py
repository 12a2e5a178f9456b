"""Fresh simulated curves at random settings, with the modes of their errors.

They are simulated once and kept in one file, because they do not depend on any surrogate. No
surrogate is trained on them, and no covariance is estimated from them.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import provenance
from ppiscs_jax.config import Model
from ppiscs_jax.files import replacing
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.curve import Curve
from ppiscs_jax.simulation.simulate import simulate

Ends = tuple[PositiveFloat, PositiveFloat]


class Simulations(Model):
    """Ranges that the settings are drawn from, and how precisely they are simulated."""

    seed: int
    number: PositiveInt
    elements: Annotated[list[str], Field(min_length=1)]
    zone_axes: Annotated[list[str], Field(min_length=1)]
    voltages_kv: Ends
    convergence_mrad: Ends
    inner_mrad: Ends
    width_mrad: Ends
    rmsd_angstrom: Ends
    n_atoms: dict[str, PositiveInt]
    relative_error: PositiveFloat
    max_waves: PositiveInt


def draw(config: Simulations, number: int) -> Settings:
    """Settings of one simulation: elements and zone axes in turn, everything else drawn."""
    random = np.random.default_rng((config.seed, number))
    elements = len(config.elements)
    aperture = random.uniform(*config.convergence_mrad)
    inner = random.uniform(max(config.inner_mrad[0], aperture + 2), config.inner_mrad[1])
    return Settings(
        element=config.elements[number % elements],
        zone_axis=config.zone_axes[number // elements % len(config.zone_axes)],
        voltage_kv=np.exp(random.uniform(*np.log(config.voltages_kv))),
        convergence_mrad=aperture,
        inner_mrad=inner,
        outer_mrad=inner + random.uniform(*config.width_mrad),
        rmsd_angstrom=random.uniform(*config.rmsd_angstrom),
    )


def simulated(config: Simulations, number: int) -> Curve:
    """One curve, to a relative standard error at every thickness."""
    settings = draw(config, number)
    usual = settings.zone_axis_data.thickest(settings.element_data)
    return simulate(
        settings,
        config.relative_error,
        config.seed + number,
        n_atoms=config.n_atoms.get(settings.zone_axis, usual),
        max_waves=config.max_waves,
    )


def load_or_simulate(config: Simulations, folder: Path) -> list[Curve]:
    """The curves of `simulations.npz`; what is missing is simulated, and kept in `parts`.

    Raises:
        InputError: the file is of another configuration.
    """
    together = folder / "simulations.npz"
    about = json.dumps(config.model_dump(mode="json"))
    if together.exists():
        with np.load(together) as file:
            if str(file["config"]) == about:
                return [_loaded(file, config.seed, number) for number in range(config.number)]
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for number in range(config.number):
        path = parts / f"{number:03d}.npz"
        if not path.exists():
            curve = simulated(config, number)
            content = {
                f"settings_{number}": curve.settings.to_vector(),
                f"ppiscs_{number}": curve.ppiscs,
                f"error_modes_{number}": curve.error_modes,
                f"waves_{number}": np.array(curve.waves),
            }
            with replacing(path) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, **content)
            print(f"simulated {number + 1} of {config.number}", flush=True)
        with np.load(path) as part:
            arrays.update(part)
    arrays |= {"config": np.array(about), "provenance": np.array(json.dumps(provenance()))}
    with replacing(together) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    with np.load(together) as file:
        return [_loaded(file, config.seed, number) for number in range(config.number)]


def _loaded(file: Any, seed: int, number: int) -> Curve:
    ppiscs, modes = file[f"ppiscs_{number}"], file[f"error_modes_{number}"]
    return Curve(
        n_atoms=np.arange(1, len(ppiscs) + 1),
        ppiscs=ppiscs,
        standard_error=np.sqrt(np.sum(modes**2, axis=0)),
        settings=Settings.from_vector(file[f"settings_{number}"]),
        seed=seed + number,
        waves=int(file[f"waves_{number}"]),
        batches=len(modes),
        error_modes=modes,
    )
