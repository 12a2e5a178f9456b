"""Fresh simulated curves at random settings, with the means of their batches.

They are simulated once and kept in one file, because they do not depend on any surrogate. No
surrogate is trained on them, and no covariance is estimated from them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import provenance
from ppiscs_jax.batches import run_to_error
from ppiscs_jax.config import Model
from ppiscs_jax.files import replacing
from ppiscs_jax.kernel import noise
from ppiscs_jax.plan import Plan, power_of_two_rings
from ppiscs_jax.sampling import simulation_grid
from ppiscs_jax.settings import Settings

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
    noise: PositiveFloat
    max_waves: PositiveInt


@dataclass(frozen=True)
class Simulated:
    """One simulated curve.

    Attributes:
        settings: what was simulated.
        batches: PPISCS of every batch [Å²].
    """

    settings: Settings
    batches: Float[np.ndarray, "batches n"]


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


def simulate(config: Simulations, number: int) -> Simulated:
    """One curve, to a mean standard error over thickness of `noise` times its maximum."""
    settings = draw(config, number)
    usual = settings.zone_axis_data.thickest(settings.element_data)
    n_atoms = config.n_atoms.get(settings.zone_axis, usual)
    aperture, inner, outer = (
        float(a) for a in (settings.convergence_mrad, settings.inner_mrad, settings.outer_mrad)
    )
    plan = Plan.of(
        settings,
        simulation_grid(settings, outer, n_atoms, aperture),
        power_of_two_rings([aperture]),
        np.array([inner, outer]),
        n_atoms,
        config.seed + number,
    )
    kernel, _ = run_to_error(
        settings,
        plan,
        lambda kernel: noise(kernel, aperture, inner, outer),
        config.noise,
        config.max_waves,
    )
    # The mean over the aperture of every batch, as in `ScatteringKernel.curve`.
    batches = kernel.with_rings(np.array([0.0, aperture])).batch_means[:, 0, :, 0]
    return Simulated(settings, settings.column_area_angstrom2 * batches)


def load_or_simulate(config: Simulations, folder: Path) -> list[Simulated]:
    """The curves of `simulations.npz`; what is missing is simulated, and kept in `parts`.

    Raises:
        InputError: the file is of another configuration.
    """
    together = folder / "simulations.npz"
    about = json.dumps(config.model_dump(mode="json"))
    if together.exists():
        with np.load(together) as file:
            if str(file["config"]) == about:
                return [_loaded(file, number) for number in range(config.number)]
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    for number in range(config.number):
        path = parts / f"{number:03d}.npz"
        if not path.exists():
            found = simulate(config, number)
            content = {
                f"settings_{number}": found.settings.to_vector(),
                f"batches_{number}": found.batches.astype(np.float32),
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
        return [_loaded(file, number) for number in range(config.number)]


def _loaded(file, number: int) -> Simulated:
    settings = Settings.from_vector(file[f"settings_{number}"])
    return Simulated(settings, file[f"batches_{number}"].astype(float))
