"""PPISCS of one atom per column against the band limit of the grid.

With and without core correction, beside abTEM (where it is installed) and the published
network. Writes table.csv, result.json and convergence.png.

    python -m experiments.convergence.run [--config FILE] [--out FOLDER]
"""

import dataclasses
import math
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from experiments.common import (
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    wide_console,
)
from experiments.convergence.figure import draw
from experiments.convergence.schema import Case, Config, GridSeries
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.interop.abtem import potential, scattered_fractions, slab
from ppiscs_jax.multislice.grid import CrystalGrid, make_grid
from ppiscs_jax.multislice.illumination import sample_tilts
from ppiscs_jax.multislice.potential import displace
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch
from ppiscs_jax.settings import Settings


def cell_grid(series: GridSeries, settings: Settings, band_limit: float) -> CrystalGrid:
    """The smallest fast grid of a series, its band limit exactly the one asked for."""
    a = settings.element_data.lattice_angstrom
    grid = make_grid(
        settings.zone_axis,
        a,
        band_limit,
        cell_angstrom=series.cell_angstrom,
        band_fraction=series.band_fraction,
    )
    # Fast FFT sizes are a little too large: without this, k_c would be too.
    return dataclasses.replace(grid, band_fraction=band_limit * a / min(grid.nyquist))


def tilts_of(config: Config, settings: Settings, batch: int) -> np.ndarray:
    """Tilts of a batch [mrad], (waves, 2)."""
    rings = np.array([0.0, float(settings.convergence_mrad)])
    wedge = settings.zone_axis_data.wedge_deg
    return sample_tilts(wedge, rings, (config.seed, batch), 0, config.waves_per_batch)[0]


def wave_key(config: Config, batch: int, wave: int) -> jax.Array:
    """Key of a wave's own crystal: the same on every grid."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(config.seed), batch), wave)


def column_area(settings: Settings) -> float:
    """Projected area per column [Å²]."""
    return settings.zone_axis_data.column_area * settings.element_data.lattice_angstrom**2


def angle_edges(config: Config) -> np.ndarray:
    """All edges of the detectors, sorted [mrad]."""
    return np.unique(np.array(config.detectors_mrad).ravel())


def into_detectors(config: Config, fractions: np.ndarray) -> np.ndarray:
    """Bins between all edges to detectors, along the last axis."""
    edges = list(angle_edges(config))
    parts = [fractions[..., edges.index(i) : edges.index(o)] for i, o in config.detectors_mrad]
    return np.stack([p.sum(axis=-1) for p in parts], axis=-1)


def our_waves(
    config: Config, settings: Settings, series: GridSeries, band_limit: float
) -> np.ndarray:
    """Cross-sections of every wave [Å²], (batches, waves, detectors)."""
    grid = cell_grid(series, settings, band_limit)
    specimen = make_specimen(settings, grid, core_correction=series.core_correction)
    edges = jnp.asarray(angle_edges(config), jnp.float32)
    fractions = [
        [
            # A call a wave: each gets a crystal of its own, and abTEM can be given the same.
            scatter_batch(
                grid,
                specimen,
                wave_key(config, batch, wave),
                jnp.asarray(tilt[None], jnp.float32),
                edges,
                n_atoms=1,
                n_planes=1,
            )[0, 0, :-1]
            for wave, tilt in enumerate(tilts_of(config, settings, batch)[: series.waves_per_batch])
        ]
        for batch in range(config.batches)
    ]
    return column_area(settings) * into_detectors(config, np.array(fractions, dtype=float))


def abtem_waves(config: Config, settings: Settings, band_limit: float) -> np.ndarray:
    """The first waves of every batch by abTEM [Å²], (batches, waves, detectors)."""
    series = config.grids[0]
    # Only the cell and its sites are taken from this grid.
    grid = cell_grid(series, settings, band_limit)
    size = np.array(grid.lengths) * settings.element_data.lattice_angstrom
    rmsd = jnp.asarray(float(settings.rmsd_angstrom) / size)
    pixels = tuple(np.ceil(3 * band_limit * size).astype(int).tolist())
    fractions = []
    for batch in range(config.batches):
        tilts = tilts_of(config, settings, batch)[: config.abtem.waves_per_batch]
        for wave, tilt in enumerate(tilts):
            # The draws of `scatter_batch` for its only copy of each plane.
            key = jax.random.fold_in(wave_key(config, batch, wave), 0)
            planes = [
                np.asarray(displace(jax.random.fold_in(key, i), jnp.asarray(s), rmsd))
                for i, s in enumerate(grid.sites)
            ]
            made = potential(slab(settings, size, planes), len(planes), pixels)
            voltage = float(settings.voltage_kv)
            fractions.append(scattered_fractions(made, voltage, tilt, angle_edges(config)))
    shape = (config.batches, config.abtem.waves_per_batch, -1)
    return column_area(settings) * into_detectors(config, np.reshape(fractions, shape))


def batch_error(batches: np.ndarray) -> np.ndarray:
    """Standard error of the mean over the first axis."""
    return batches.std(axis=0, ddof=1) / np.sqrt(len(batches))


def rows_of(
    config: Config,
    case: Case,
    method: str,
    band_limit: float,
    waves: np.ndarray,
    converged: np.ndarray,
) -> list[dict[str, Any]]:
    """Table rows of one method: values, and differences from the converged, wave by wave."""
    values = waves.mean(axis=1)
    same = converged[:, : waves.shape[1]].mean(axis=1)
    difference = 100 * (values - same) / same.mean(axis=0)
    reach = band_limit * 1e3 * float(wavelength_angstrom(case.voltage_kv))
    return [
        {
            "case": case.name,
            "method": method,
            "band_limit_inv_angstrom": float(band_limit),
            "inner_mrad": inner,
            "outer_mrad": outer,
            "ppiscs_angstrom2": float(values[:, d].mean()),
            "standard_error_angstrom2": float(batch_error(values)[d]),
            "difference_percent": float(difference[:, d].mean()),
            "difference_error_percent": float(batch_error(difference)[d]),
            "waves": waves.shape[0] * waves.shape[1],
            "band_holds_detector": reach >= outer,
        }
        for d, (inner, outer) in enumerate(config.detectors_mrad)
    ]


def published_rows(config: Config, case: Case, converged: np.ndarray) -> list[dict[str, Any]]:
    """Table rows of the published network."""
    batches = converged.mean(axis=1)
    mean, error = batches.mean(axis=0), batch_error(batches)
    rows = []
    for published in case.published:
        for d, (inner, outer) in enumerate(config.detectors_mrad):
            value, spread = published.values[d], published.spread_percent[d] / 100
            ratio = value / mean[d]
            rows.append(
                {
                    "case": case.name,
                    "method": published.name,
                    "band_limit_inv_angstrom": config.published.band_limit_inv_angstrom,
                    "inner_mrad": inner,
                    "outer_mrad": outer,
                    "ppiscs_angstrom2": value,
                    "standard_error_angstrom2": value * spread,
                    "difference_percent": float(100 * (ratio - 1)),
                    "difference_error_percent": float(
                        100 * ratio * np.hypot(spread, error[d] / mean[d])
                    ),
                    "waves": 0,
                    "band_holds_detector": True,
                }
            )
    return rows


def concise(value: float, error: float, sign: str = "", most_digits: int = 9) -> str:
    """A value with the two leading digits of its error in brackets: 0.016958(16) for 1.6e-5."""
    if error == 0:
        return f"{value:{sign}g}"
    digits = min(most_digits, max(0, 1 - math.floor(math.log10(error))))
    return f"{value:{sign}.{digits}f}({round(error * 10**digits)})"


def show(config: Config, case: Case, rows: list[dict[str, Any]], console: Console) -> None:
    """Print the table of a case."""
    table = Table(
        title=f"{case.name}: {case.element} [{case.zone_axis}], {case.voltage_kv:g} kV, "
        f"α {case.convergence_mrad:g} mrad, rmsd {case.rmsd_angstrom:g} Å, n = 1",
        caption="PPISCS [Å²] and difference from the converged value [%]; in brackets the "
        "standard error in units of the last digits, of the published network the spread over "
        "aberrations; † the band ends inside the detector",
    )
    table.add_column("method")
    table.add_column("k_c [Å⁻¹]", justify="right")
    for inner, outer in config.detectors_mrad:
        table.add_column(f"{inner:g}–{outer:g} mrad", justify="right")
        table.add_column("%", justify="right")
    n = len(config.detectors_mrad)
    for start in range(0, len(rows), n):
        first, cells = rows[start], []
        for r in rows[start : start + n]:
            mark = "" if r["band_holds_detector"] else "†"
            cells += [
                mark + concise(r["ppiscs_angstrom2"], r["standard_error_angstrom2"]),
                concise(r["difference_percent"], r["difference_error_percent"], "+", 3),
            ]
        table.add_row(first["method"], f"{first['band_limit_inv_angstrom']:g}", *cells)
    console.print(table)


def run(config: Config, out: Path) -> None:
    """Simulate, print, save."""
    # All settings at once, so that bad ones are reported before any work.
    cases = [(case, case.settings(config.detectors_mrad[0])) for case in config.cases]
    for case, _ in cases:
        for detector in config.detectors_mrad:
            case.settings(detector)
    progress = Console(stderr=True)
    try:
        import abtem  # noqa: F401

        with_abtem = True
    except ImportError:
        with_abtem = False
        progress.print("abTEM is not installed: its rows are left out (pip install abtem)")

    rows: list[dict[str, Any]] = []
    for case, settings in cases:
        first = config.grids[0]
        largest = max(first.band_limits_inv_angstrom)
        converged = our_waves(config, settings, first, largest)
        jobs = [(s, k) for s in config.grids for k in s.band_limits_inv_angstrom]
        found = []
        for series, k in track(jobs, f"case {case.name}", console=progress):
            is_reference = series is first and k == largest
            waves = converged if is_reference else our_waves(config, settings, series, k)
            found += rows_of(config, case, series.name, k, waves, converged)
        if with_abtem:
            for k in config.abtem.band_limits_inv_angstrom:
                waves = abtem_waves(config, settings, k)
                found += rows_of(config, case, "abTEM", k, waves, converged)
        found += published_rows(config, case, converged)
        show(config, case, found, wide_console())
        rows += found

    save_csv(out / "table.csv", rows)
    save_json(
        out / "result.json",
        {
            "config": config.model_dump(),
            "provenance": provenance("abtem", "ase"),
            "converged": f"{first.name}, k_c {largest:g} Å⁻¹",
            "rows": rows,
        },
    )
    save_figure(out / "convergence.png", draw(config.model_dump(), rows))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
