"""How often atoms are miscounted where the scale and the microscope are known with errors only.

`python -m experiments.counting.scales` draws particles whose true settings and gain are drawn from
their priors, and whose cross-sections are those of the surrogate with the noise of a dose, and
counts them with the nominal settings. It writes `result/scales.json`. Images and the exchange of
neighbours are not in it.
"""

import sys
from pathlib import Path

import numpy as np

from experiments.common import provenance, save_json
from ppiscs_jax.counting.count import STD
from ppiscs_jax.counting.counts import Counts, count_by_hybrid, count_by_library
from ppiscs_jax.counting.joint import count_jointly
from ppiscs_jax.inverse.error_probability import error_probability
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.settings import VECTOR_ORDER, Settings
from ppiscs_jax.surrogate.predict import load_surrogate, predict, predict_curve

NOMINAL = Settings("Pt", "110", 300.0, 21.0, 46.0, 190.0, 0.08)
PARTICLES, COLUMNS = 40, 145
THICKEST = (15, 30)
DOSE_PER_ANGSTROM2 = 1e4
VARIANCE = 1.3
"""By which fitting overlapping Gaussians raises the variance of a volume."""


def particle(generator: np.random.Generator, thickest: int) -> tuple[np.ndarray, ...]:
    """Numbers of atoms, cross-sections with noise, standard errors [Å²]."""
    x = NOMINAL.to_vector()
    gain = 1 + STD["gain"] * generator.standard_normal()
    for name, std in STD.items():
        if name != "gain":
            x[VECTOR_ORDER.index(name)] += std * generator.standard_normal()
    atoms = generator.integers(1, thickest + 1, COLUMNS)
    values = gain * predict(x).astype(float)[atoms - 1]
    error = np.sqrt(VARIANCE * values / DOSE_PER_ANGSTROM2)
    return atoms, values + error * generator.standard_normal(COLUMNS), error


def pit(counts: Counts, atoms: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Randomised probability integral transform, uniform where probabilities are right."""
    below = np.cumsum(np.pad(counts.probabilities, ((0, 0), (1, 0))), axis=1)
    rows = np.arange(len(atoms))
    at = atoms - counts.n_atoms[0]
    low, high = below[rows, at], below[rows, at + 1]
    return low + (high - low) * generator.random(len(atoms))


def run(thickest: int) -> dict[str, object]:
    """Wrong counts of each method, and how honest the joint probabilities are."""
    generator = np.random.default_rng(thickest)
    surrogate, curve = load_surrogate(), predict_curve(NOMINAL)
    known = surrogate.trained_range.limits_of(NOMINAL.to_vector())
    free = {}
    for name, std in STD.items():
        centre = 1.0 if name == "gain" else float(getattr(NOMINAL, name))
        low, high = known.get(name, (0.3, 3.0))
        free[name] = Free(max(low, centre - 5 * std), min(high, centre + 5 * std), std)
    problem = Problem(NOMINAL, free)
    wrong: dict[str, list[float]] = {"library": [], "hybrid": [], "joint": []}
    expected, transforms = [], []
    for number in range(PARTICLES):
        atoms, values, error = particle(generator, thickest)
        found = {
            "library": count_by_library(values, error, curve.ppiscs, curve.standard_error),
            "hybrid": count_by_hybrid(values, curve.ppiscs, gain_std=STD["gain"]),
            "joint": count_jointly(
                values, error, surrogate.curve, problem, error_modes=curve.error_modes
            ),
        }
        for name, counts in found.items():
            wrong[name].append(float(np.mean(counts.counts != atoms)))
        expected.append(float(np.mean(1 - found["joint"].certainty)))
        transforms.append(pit(found["joint"], atoms, generator))
        print(thickest, number, {k: round(v[-1], 3) for k, v in wrong.items()}, file=sys.stderr)
    limit = error_probability(curve.ppiscs[:thickest], DOSE_PER_ANGSTROM2 / VARIANCE)
    mean = {name: float(np.mean(values)) for name, values in wrong.items()}
    spread = {n: float(np.std(v, ddof=1) / np.sqrt(PARTICLES)) for n, v in wrong.items()}
    return {
        "thickest": thickest,
        "limit": float(limit),
        "wrong": mean,
        "standard_error_over_particles": spread,
        "joint_expected_wrong": float(np.mean(expected)),
        "joint_particles_wrong_by_tenth": float(np.mean(np.array(wrong["joint"]) > 0.1 + limit)),
        "pit_deciles": np.histogram(np.concatenate(transforms), 10, (0, 1))[0].tolist(),
    }


def main() -> None:
    """Run and save."""
    results = [run(thickest) for thickest in THICKEST]
    content = {"provenance": provenance(), "results": results}
    save_json(Path(__file__).parent / "result" / "scales.json", content)


if __name__ == "__main__":
    main()
