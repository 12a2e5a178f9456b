"""Images of periodic slabs with steps, all with the same thermal displacements."""

import hashlib
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments.crosstalk.schema import Case, Config, Step
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.files import replacing
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.probe import Planes
from ppiscs_jax.multislice.wave import make_specimen
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.scan import ScanOptions, check_band, run_scan

MARGIN = 1.1
"""Band limit over the largest detected frequency. Differences on shared displacements, in parts of
the cross-section, need no converged grid."""


@dataclass(frozen=True)
class Structure:
    """First and one past the last repeat of the crystal in which each column has an atom.

    Attributes:
        first, last: shape (columns,).
    """

    first: np.ndarray
    last: np.ndarray

    def atoms(self, n: int) -> np.ndarray:
        """Atoms of each column behind n repeats."""
        return np.maximum(np.minimum(n, self.last) - self.first, 0)


@dataclass(frozen=True)
class Slabs:
    """The structures of a case and their images."""

    config: Config
    case: Case

    @cached_property
    def settings(self) -> Settings:
        """Settings of the case."""
        return self.case.settings(self.case.detector_mrad, c10_angstrom=self.case.c10_angstrom)

    @cached_property
    def box_angstrom(self) -> np.ndarray:
        """Edges of the periodic box [Å]."""
        cell = np.array(self.settings.zone_axis_data.cell)
        return cell * self.config.cells * self.settings.element_data.lattice_angstrom

    @cached_property
    def grid(self) -> CrystalGrid:
        """The cell and its pixels, in lattice constants."""
        a = self.settings.element_data.lattice_angstrom
        lengths = tuple((self.box_angstrom / a).tolist())
        outer = 1e-3 * self.case.detector_mrad[1] / float(wavelength_angstrom(self.case.voltage_kv))
        cell = CrystalGrid(lengths, (2, 2), 1.0, self.case.zone_axis, self.config.cells)
        return cell.resampled(MARGIN * outer * a)

    @cached_property
    def columns(self) -> np.ndarray:
        """Positions of the columns [fractions of the box], (columns, 2), layer by layer."""
        return self.grid.sites.reshape(-1, 2)

    @property
    def lower(self) -> np.ndarray:
        """Which columns are the lower ones of a step."""
        return self.columns[:, 1] >= 0.5 - 1e-9

    def slab(self) -> Structure:
        """A slab without steps."""
        count = len(self.columns)
        return Structure(np.zeros(count, int), np.full(count, max(self.config.n_atoms)))

    def stepped(self, step: Step) -> Structure:
        """A slab with a step."""
        slab = self.slab()
        if step.side == "exit":
            return Structure(slab.first, np.where(self.lower, step.atoms, slab.last))
        return Structure(np.where(self.lower, step.atoms, 0), slab.last)

    def images(self, structure: Structure, configuration: int, parts: Path) -> np.ndarray:
        """Fractions at the thicknesses of the config, (thicknesses, nx, ny); saved when made."""
        seed = self.config.seed + configuration
        named = [self.case.model_dump(exclude={"steps", "configurations"}), self.config.cells,
                 structure.first.tolist(), structure.last.tolist(), seed]  # fmt: skip
        name = hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
        file = parts / f"{name}.npz"
        if not file.is_file():
            images = self._scanned(structure, seed)
            with replacing(file) as temporary:
                np.savez_compressed(temporary, images=images.astype(np.float32))
            print(f"{self.case.element}: structure simulated", file=sys.stderr, flush=True)
        with np.load(file) as saved:
            return saved["images"][np.array(self.config.n_atoms) - 1].astype(float)

    def _scanned(self, structure: Structure, seed: int) -> np.ndarray:
        """Fractions behind every repeat of the crystal."""
        a = self.settings.element_data.lattice_angstrom
        detectors = [self.case.detector_mrad]
        check_band(self.grid, a, self.settings, detectors)
        n, layers = max(self.config.n_atoms), len(self.grid.sites)
        repeat = np.arange(n)[:, None]
        occupied = (repeat >= structure.first) & (repeat < structure.last)
        planes = Planes(
            jnp.asarray(np.tile(self.grid.sites, (n, 1, 1)), jnp.float32),
            jnp.asarray(occupied.reshape(n * layers, -1), jnp.float32),
        )
        # The image of a probe has no frequencies above twice the aperture.
        step = float(wavelength_angstrom(self.case.voltage_kv)) / (
            4e-3 * self.case.convergence_mrad
        )
        steps = np.ceil(self.box_angstrom / step).astype(int)
        fractions = run_scan(
            self.grid,
            make_specimen(self.settings, self.grid),
            planes,
            self.settings,
            detectors,
            steps,
            (1.0, 1.0),
            ScanOptions(
                configurations=1,
                core_correction=True,
                positions_at_once=8,
                own_displacements=True,
                seed=seed,
            ),
            None,
        )
        return fractions[0, layers - 1 :: layers, 0].reshape(n, *steps)
