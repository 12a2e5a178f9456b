"""The paper's probe scan beside converged cross-sections and the published network.

Each batch of probe positions is saved when it is done; a run that was stopped goes on from there.
Writes table.csv, result.json and paper_protocol.png.

    python -m experiments.paper_protocol.run [--config FILE] [--out FOLDER]
"""

import hashlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import (
    Annulus,
    main,
    provenance,
    published_file,
    save_csv,
    save_figure,
    save_json,
    show_rows,
    tidy,
)
from ppiscs_jax.files import replacing
from ppiscs_jax.multislice.probe import Planes, scan_positions
from ppiscs_jax.multislice.wave import make_specimen
from ppiscs_jax.settings import Settings
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.simulation.scan import paper_grid
from ppiscs_jax.simulation.simulate import scattering_kernel
from ppiscs_jax.surrogate.predict import load_surrogate, predict


class Config(Illuminated):
    """Schema of the configuration; the fields of a scan are those of `ScanOptions`.

    Attributes:
        n_atoms: thickness [atoms per column].
        supercell_angstrom: largest edge of the supercell [Å].
        precision_percent: standard error of the converged cross-sections.
    """

    n_atoms: PositiveInt
    supercell_angstrom: PositiveFloat
    pixels: PositiveInt
    scan_step_angstrom: PositiveFloat
    configurations: PositiveInt
    positions_at_once: PositiveInt
    seed: Annotated[int, Field(ge=0)]
    precision_percent: PositiveFloat
    detectors_mrad: Annotated[list[Annulus], Field(min_length=1)]


@dataclass(frozen=True)
class ProbeScan:
    """The paper's scan of one projected cell, batch by batch.

    Attributes:
        batches: probe positions [fractions of the supercell], (batches, positions_at_once, 2); the
            last batch is filled up with the scan's first positions.
        positions: number of positions in the scan.
    """

    config: Config
    settings: Settings
    batches: np.ndarray
    positions: int

    @classmethod
    def of(cls, config: Config) -> "ProbeScan":
        """The scan of a config, in steps of a / ⌊a / Δ⌋ (paper, section 2.1)."""
        settings = config.settings(config.detectors_mrad[0])
        cell = np.array(settings.zone_axis_data.cell) * settings.element_data.lattice_angstrom
        steps = np.floor(cell / config.scan_step_angstrom + 1e-9).astype(int)
        x, y = (
            np.arange(n) / n / repeats
            for n, repeats in zip(steps, cls._grid(config, settings).repeats, strict=True)
        )
        positions = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        batches = -(-len(positions) // config.positions_at_once)
        filled = np.resize(positions, (batches, config.positions_at_once, 2))
        return cls(config, settings, filled, len(positions))

    @staticmethod
    def _grid(config: Config, settings: Settings) -> Any:
        return paper_grid(
            settings.zone_axis,
            settings.element_data.lattice_angstrom,
            supercell_angstrom=config.supercell_angstrom,
            pixels=config.pixels,
        )

    def simulated(self, parts: Path) -> Iterator[tuple[int, np.ndarray, float]]:
        """Configuration, fractions (n, detectors, positions_at_once) and seconds of each batch."""
        grid = self._grid(self.config, self.settings)
        layers = np.tile(grid.sites, (self.config.n_atoms, 1, 1))
        planes = Planes(jnp.asarray(layers, jnp.float32), jnp.ones(layers.shape[:2], jnp.float32))
        specimen = make_specimen(self.settings, grid, core_correction=False)
        edges = jnp.asarray(self.config.detectors_mrad, jnp.float32)
        probe = (self.config.convergence_mrad, 0.0, 0.0)
        repeat = len(grid.sites)
        for configuration in range(self.config.configurations):
            key = jax.random.fold_in(jax.random.key(self.config.seed), configuration)
            for number, batch in enumerate(self.batches):
                file = parts / f"{configuration}_{number:04d}.npz"
                if not file.is_file():
                    start = time.perf_counter()
                    out = scan_positions(
                        grid, specimen, planes, key, probe, edges, jnp.asarray(batch, jnp.float32)
                    )
                    fractions = np.asarray(out)[repeat - 1 :: repeat]
                    seconds = time.perf_counter() - start
                    with replacing(file) as temporary:
                        np.savez(temporary, fractions=fractions, seconds=seconds)
                    print(f"batch {number + 1} of {len(self.batches)}", file=sys.stderr, flush=True)
                with np.load(file) as saved:
                    yield configuration, saved["fractions"], float(saved["seconds"])

    def cross_sections(self, parts: Path) -> tuple[np.ndarray, list[float]]:
        """PPISCS [Å²], (configurations, n, detectors), and seconds of every batch."""
        found: list[list[np.ndarray]] = [[] for _ in range(self.config.configurations)]
        seconds = []
        for configuration, fractions, took in self.simulated(parts):
            found[configuration].append(fractions)
            seconds.append(took)
        every = np.array([np.concatenate(f, axis=-1)[..., : self.positions] for f in found])
        return self.settings.column_area_angstrom2 * every.mean(axis=-1), seconds


def on_sine_scale(detector: Annulus) -> Annulus:
    """A detector of true angles θ as the paper's program takes it, |k| = sin θ / λ [mrad]."""
    inner, outer = (float(1e3 * np.sin(1e-3 * edge)) for edge in detector)
    return inner, outer


def compared(config: Config, scanned: np.ndarray) -> list[dict[str, Any]]:
    """One row for each detector and thickness."""
    settings = [config.settings(detector) for detector in config.detectors_mrad]
    kernel = scattering_kernel(
        settings[0],
        n_atoms=config.n_atoms,
        relative_error=config.precision_percent / 100,
        detectors_mrad=config.detectors_mrad,
    )
    published = load_surrogate(str(file)) if (file := published_file()) else None
    rows = []
    for d, detector in enumerate(config.detectors_mrad):
        curve = kernel.curve(config.convergence_mrad, *detector)
        sine = kernel.curve(config.convergence_mrad, *on_sine_scale(detector))
        network = predict(settings[d], surrogate=published).ppiscs if published else None
        for n in range(1, config.n_atoms + 1):
            rows.append(
                {
                    "inner_mrad": detector[0],
                    "outer_mrad": detector[1],
                    "n": n,
                    "scan_angstrom2": float(scanned[:, n - 1, d].mean()),
                    "converged_angstrom2": float(curve.ppiscs[n - 1]),
                    "standard_error_angstrom2": float(curve.standard_error[n - 1]),
                    "published_angstrom2": float(network[n - 1]) if network is not None else None,
                    "sine_scale_percent": float(
                        100 * (sine.ppiscs[n - 1] / curve.ppiscs[n - 1] - 1)
                    ),
                }
            )
    return rows


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Scan and published network over the converged value, a panel for each detector."""
    detectors = list(dict.fromkeys((row["inner_mrad"], row["outer_mrad"]) for row in rows))
    columns = min(3, len(detectors))
    lines = -(-len(detectors) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.6 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True).ravel()
    for axes, (inner, outer) in zip(panels, detectors, strict=False):
        of = [row for row in rows if (row["inner_mrad"], row["outer_mrad"]) == (inner, outer)]
        n, converged = (np.array([r[k] for r in of]) for k in ("n", "converged_angstrom2"))
        for name, label in (("scan", "probe scan"), ("published", "published network")):
            values = np.array([row[f"{name}_angstrom2"] for row in of], float)
            axes.plot(n, values / converged, lw=1.2, label=label)
        error = np.array([row["standard_error_angstrom2"] for row in of]) / converged
        axes.fill_between(n, 1 - error, 1 + error, color="0.8", label="converged, standard error")
        axes.set_title(f"{inner:g}–{outer:g} mrad", fontsize=8)
        axes.set_xlabel("atoms per column")
        axes.set_ylabel("PPISCS over converged")
        tidy(axes)
    for axes in panels[len(detectors) :]:
        axes.set_visible(False)
    panels[0].legend(fontsize=6, frameon=False)
    return figure


def run(config: Config, out: Path) -> None:
    """Scan, compare, print, save."""
    scan = ProbeScan.of(config)
    # Batches of another config must not be taken for those of this one.
    scanned_by = config.model_dump_json(exclude={"precision_percent"})
    digest = hashlib.sha256(scanned_by.encode()).hexdigest()[:12]
    parts = out / "parts" / digest
    parts.mkdir(parents=True, exist_ok=True)
    scanned, seconds = scan.cross_sections(parts)
    rows = compared(config, scanned)
    reported = {1, 5, 10, 20, 40, 60, config.n_atoms}
    show_rows([row for row in rows if row["n"] in reported])
    save_csv(out / "table.csv", rows)
    timing = {
        "positions": scan.positions,
        "seconds": float(np.sum(seconds)),
        "hours_of_30_configurations": float(30 * np.sum(seconds) / config.configurations / 3600),
    }
    content = {"config": config.model_dump(), "provenance": provenance(), "timing": timing}
    save_json(out / "result.json", content)
    save_figure(out / "paper_protocol.png", draw(rows))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
