"""How often atoms are miscounted where scale and microscope are known with errors only.

Particles' true settings and gain are drawn from their priors, and their cross-sections are those of
the surrogate with the noise of a dose; they are counted with the nominal settings. Images and the
exchange of neighbours are not in it.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import Annulus, main, provenance, save_json, show_rows
from ppiscs_jax.counting.counts import Counts, count_by_hybrid, count_by_library
from ppiscs_jax.counting.joint import count_jointly
from ppiscs_jax.counting.methods import STD, uncertain
from ppiscs_jax.inverse.error_probability import error_probability
from ppiscs_jax.settings import Settings, column
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.surrogate.predict import load_surrogate, predict


class Config(Illuminated):
    """Schema of the configuration: the nominal microscope, the particles, the dose.

    Attributes:
        thickest: largest number of atoms per column, of each set of particles.
        variance: factor by which fitting overlapping Gaussians raises the variance of a volume.
    """

    detector_mrad: Annulus
    thickest: Annotated[list[PositiveInt], Field(min_length=1)]
    particles: Annotated[int, Field(ge=2)]
    columns: PositiveInt
    dose_per_angstrom2: PositiveFloat
    variance: PositiveFloat


def particle(
    config: Config, nominal: Settings, generator: np.random.Generator, thickest: int
) -> tuple[np.ndarray, ...]:
    """Numbers of atoms, cross-sections with noise, standard errors [Å²]."""
    x = nominal.to_vector()
    gain = 1 + STD["gain"] * generator.standard_normal()
    for name, std in STD.items():
        if name != "gain":
            x[column(name)] += std * generator.standard_normal()
    atoms = generator.integers(1, thickest + 1, config.columns)
    values = gain * predict(x).astype(float)[atoms - 1]
    error = np.sqrt(config.variance * values / config.dose_per_angstrom2)
    return atoms, values + error * generator.standard_normal(config.columns), error


def pit(counts: Counts, atoms: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Randomised probability integral transform, uniform where probabilities are right."""
    below = np.cumsum(np.pad(counts.probabilities, ((0, 0), (1, 0))), axis=1)
    rows = np.arange(len(atoms))
    at = atoms - counts.n_atoms[0]
    low, high = below[rows, at], below[rows, at + 1]
    return low + (high - low) * generator.random(len(atoms))


def of_thickest(config: Config, thickest: int) -> dict[str, Any]:
    """Wrong counts of each method, and how honest the joint probabilities are."""
    nominal = config.settings(config.detector_mrad)
    generator = np.random.default_rng(thickest)
    surrogate, curve = load_surrogate(), predict(nominal, outside="raise")
    problem = uncertain(nominal, STD)
    wrong: dict[str, list[float]] = {"library": [], "hybrid": [], "joint": []}
    expected, transforms = [], []
    for number in range(config.particles):
        atoms, values, error = particle(config, nominal, generator, thickest)
        found = {
            "library": count_by_library(values, error, curve.ppiscs, curve.standard_error),
            "hybrid": count_by_hybrid(values, curve.ppiscs, gain_std=STD["gain"]),
            "joint": count_jointly(
                values, error, surrogate.curve, problem, error_modes=curve.error_modes
            ),
        }
        for name, counts in found.items():
            wrong[name].append(float(np.mean(counts.counts != atoms)))
        expected.append(float(np.mean(1 - found["joint"].probability)))
        transforms.append(pit(found["joint"], atoms, generator))
        print(thickest, number, {k: round(v[-1], 3) for k, v in wrong.items()}, file=sys.stderr)
    limit = error_probability(curve.ppiscs[:thickest], config.dose_per_angstrom2 / config.variance)
    mean = {name: float(np.mean(values)) for name, values in wrong.items()}
    spread = {n: float(np.std(v, ddof=1) / np.sqrt(config.particles)) for n, v in wrong.items()}
    return {
        "thickest": thickest,
        "limit": float(limit),
        "wrong": mean,
        "standard_error_over_particles": spread,
        "joint_expected_wrong": float(np.mean(expected)),
        "joint_particles_wrong_by_tenth": float(np.mean(np.array(wrong["joint"]) > 0.1 + limit)),
        "pit_deciles": np.histogram(np.concatenate(transforms), 10, (0, 1))[0].tolist(),
    }


def run(config: Config, out: Path) -> None:
    """Count, print, save."""
    results = [of_thickest(config, thickest) for thickest in config.thickest]
    show_rows(
        [
            {"thickest": r["thickest"], "limit": r["limit"], **r["wrong"],
             "joint, expected": r["joint_expected_wrong"]}
            for r in results
        ]
    )  # fmt: skip
    content = {"config": config.model_dump(), "provenance": provenance(), "results": results}
    save_json(out / "result.json", content)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
