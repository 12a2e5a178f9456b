"""What planar slices and the paraxial propagator change, on shared displacements.

Writes table.csv, result.json and approximations.png.

    python -m experiments.approximations.run [--config FILE] [--out FOLDER]
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.approximations.figure import draw
from experiments.approximations.schema import Case, Config
from experiments.approximations.waves import scattered
from experiments.common import main, save_cases
from ppiscs_jax.multislice.illumination import sample_tilts
from ppiscs_jax.multislice.wave import make_specimen
from ppiscs_jax.simulation.grids import simulation_grid

EFFECTS = {"displacements along the beam": (1.0, 0.0), "exact propagator": (0.0, 1.0)}
"""Rmsd along the beam over that across it, and whether the propagator is exact."""


def simulate(config: Config, case: Case) -> list[dict[str, Any]]:
    """Rows of a case: one for each effect, detector and thickness."""
    settings = case.settings(config.detectors_mrad[0])
    n_atoms = max(case.n_atoms)
    grid = simulation_grid(settings, config.outer_mrad, n_atoms, case.convergence_mrad)
    edges = np.unique(np.array(config.detectors_mrad).ravel())
    tilts = sample_tilts(
        settings.zone_axis_data.wedge_deg,
        np.array([0.0, case.convergence_mrad]),
        (config.seed,),
        0,
        config.waves,
    )[0]
    waves = partial(
        scattered,
        grid,
        make_specimen(settings, grid),
        jax.random.key(config.seed),
        jnp.asarray(tilts, jnp.float32),
        jnp.asarray(edges, jnp.float32),
        n_atoms=n_atoms,
    )

    def collected(along: float, exact: float) -> np.ndarray:
        """Fractions in the detectors, (waves, thicknesses, detectors)."""
        found = np.asarray(waves(along * case.rmsd_angstrom, exact), dtype=float)
        running = np.cumsum(found[:, np.array(case.n_atoms) - 1, :-1], axis=-1)
        running = np.concatenate([np.zeros_like(running[..., :1]), running], axis=-1)
        at = np.searchsorted(edges, np.array(config.detectors_mrad))
        return running[..., at[:, 1]] - running[..., at[:, 0]]

    plain = collected(0.0, 0.0)
    value = plain.mean(axis=0)
    rows = []
    for effect, arguments in EFFECTS.items():
        difference = 100 * (collected(*arguments) - plain) / value
        error = difference.std(axis=0, ddof=1) / np.sqrt(config.waves)
        for d, (inner, outer) in enumerate(config.detectors_mrad):
            for i, n in enumerate(case.n_atoms):
                rows.append(
                    {
                        "case": f"{case.element} [{case.zone_axis}] {case.voltage_kv:g} kV",
                        "effect": effect,
                        "inner_mrad": inner,
                        "outer_mrad": outer,
                        "n": n,
                        "ppiscs_angstrom2": float(settings.column_area_angstrom2 * value[i, d]),
                        "difference_percent": float(difference[:, i, d].mean()),
                        "standard_error_percent": float(error[i, d]),
                    }
                )
    return rows


def run(config: Config, out: Path) -> None:
    """Simulate, print, save."""
    for case in config.cases:  # bad settings are reported before any work
        case.settings(config.detectors_mrad[0])
    parts = (simulate(config, case) for case in config.cases)
    save_cases(config, parts, draw, out / "approximations.png")


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
