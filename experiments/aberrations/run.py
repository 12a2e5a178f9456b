"""Null test: PPISCS of probe scans with different aberrations.

Scans with every aberration go through the same frozen-phonon crystals. If aberrations do not
matter, the spread between them is noise, falls like 1/√configurations, and every value tends
to the tilt average. Writes spread.csv, values.csv, result.json and aberrations.png.

    python -m experiments.aberrations.run [--config FILE] [--out FOLDER]
"""

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

from experiments.aberrations.figure import draw
from experiments.aberrations.schema import (
    Config,
)
from experiments.common import (
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    wide_console,
)
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch
from ppiscs_jax.simulation.scan import ScanOptions, paper_grid, simulate_scan


def scan_all(config: Config, console: Console) -> np.ndarray:
    """PPISCS [Å²] of every single crystal: (probes, configurations, detectors, n)."""
    probes, total = config.probes, config.configurations[-1]
    values = np.zeros((len(probes), total, len(config.detectors_mrad), config.scan.n_atoms))
    jobs = [(p, c) for p in range(len(probes)) for c in range(total)]
    for p, c in track(jobs, "scans", console=console):
        probe = probes[p]
        result = simulate_scan(
            config.specimen.settings(
                config.detectors_mrad[0],
                c10_angstrom=probe.c10_angstrom,
                c30_mm=1e-3 * probe.c30_um,
            ),
            # One crystal a call, so that each value is known: its seed is its number, the
            # same for every probe.
            ScanOptions(
                configurations=1,
                seed=config.seed + c,
                core_correction=True,
                defocus_spread_angstrom=probe.defocus_spread_angstrom,
                **config.scan.model_dump(exclude={"n_atoms", "supercell_angstrom"}),
            ),
            n_atoms=config.scan.n_atoms,
            supercell_angstrom=config.scan.supercell_angstrom,
            detectors_mrad=config.detectors_mrad,
        )
        values[p, c] = [curve.ppiscs for curve in result.curves]
    return values


def tilt_average(config: Config) -> np.ndarray:
    """PPISCS [Å²] by the mean over tilts, (batches, detectors, n).

    The tilts are the reciprocal vectors of the supercell inside the aperture, of which the
    probe on this supercell consists: both averages then have one expectation, whatever the
    supercell's angular resolution.
    """
    settings = config.specimen.settings(config.detectors_mrad[0])
    a = settings.element_data.lattice_angstrom
    grid = paper_grid(
        settings.zone_axis,
        a,
        supercell_angstrom=config.scan.supercell_angstrom,
        pixels=config.scan.pixels,
    )
    mrad = 1e3 * float(wavelength_angstrom(settings.voltage_kv)) / a
    x, y = (mrad * f for f in np.meshgrid(*grid.frequencies, indexing="ij"))
    inside = np.hypot(x, y) <= settings.convergence_mrad
    tilts = jnp.asarray(np.stack([x[inside], y[inside]], axis=-1), jnp.float32)
    edges = np.unique(np.array(config.detectors_mrad).ravel())
    specimen = make_specimen(settings, grid)
    # Past the seeds of the scans, so that nothing is shared with them.
    key = jax.random.key(config.seed + config.configurations[-1])
    batches = []
    for batch in range(config.tilt_average.batches):
        fractions = scatter_batch(
            grid,
            specimen,
            jax.random.fold_in(key, batch),
            tilts,
            jnp.asarray(edges, jnp.float32),
            n_atoms=config.scan.n_atoms,
            n_planes=config.tilt_average.planes,
        )
        mean = np.asarray(fractions, dtype=float).mean(axis=0)
        at = list(edges)
        batches.append(
            [mean[:, at.index(i) : at.index(o)].sum(axis=-1) for i, o in config.detectors_mrad]
        )
    return settings.zone_axis_data.column_area * a**2 * np.array(batches)


def spread_percent(values: np.ndarray, n_configurations: int) -> np.ndarray:
    """Standard deviation over probes, in % of the mean: (detectors, n).

    Of means over groups of crystals, (probes, configurations, detectors, n); root mean square
    over the disjoint groups there are.
    """
    probes, total, *rest = values.shape
    groups = values.reshape(probes, total // n_configurations, n_configurations, *rest).mean(axis=2)
    variance = groups.var(axis=0, ddof=1).mean(axis=0)
    return 100 * np.sqrt(variance) / values.mean(axis=(0, 1))


def spread_rows(config: Config, values: np.ndarray) -> list[dict[str, Any]]:
    """Spread against the number of configurations, over the grid and over all probes."""
    n_grid = len(config.probes) - len(config.further)
    rows = []
    for n_configurations in config.configurations:
        grid = spread_percent(values[:n_grid], n_configurations)
        everything = spread_percent(values, n_configurations)
        # Of one probe alone: the noise between scans that do not share their crystals.
        noise = values.var(axis=1, ddof=1).mean(axis=0) / n_configurations
        alone = 100 * np.sqrt(noise) / values.mean(axis=(0, 1))
        for d, (inner, outer) in enumerate(config.detectors_mrad):
            for n in range(config.scan.n_atoms):
                rows.append(
                    {
                        "configurations": n_configurations,
                        "groups": config.configurations[-1] // n_configurations,
                        "inner_mrad": inner,
                        "outer_mrad": outer,
                        "n_atoms": n + 1,
                        "spread_grid_percent": float(grid[d, n]),
                        "spread_all_percent": float(everything[d, n]),
                        "standard_error_percent": float(alone[d, n]),
                    }
                )
    return rows


def value_rows(config: Config, values: np.ndarray, tilts: np.ndarray) -> list[dict[str, Any]]:
    """PPISCS of every probe from all crystals, against the tilt average and each other."""
    total = values.shape[1]
    mean, error = values.mean(axis=1), values.std(axis=1, ddof=1) / np.sqrt(total)
    tilt_mean = tilts.mean(axis=0)
    tilt_error = tilts.std(axis=0, ddof=1) / np.sqrt(len(tilts))
    # Between probes on the same crystals, crystal by crystal: what all share drops out.
    apart = values - values.mean(axis=0)
    apart_mean = apart.mean(axis=1)
    apart_error = apart.std(axis=1, ddof=1) / np.sqrt(total)
    rows = []
    for p, probe in enumerate(config.probes):
        for d, (inner, outer) in enumerate(config.detectors_mrad):
            for n in range(config.scan.n_atoms):
                at, same = (p, d, n), (d, n)
                rows.append(
                    {
                        "c10_angstrom": probe.c10_angstrom,
                        "c30_um": probe.c30_um,
                        "defocus_spread_angstrom": probe.defocus_spread_angstrom,
                        "inner_mrad": inner,
                        "outer_mrad": outer,
                        "n_atoms": n + 1,
                        "ppiscs_angstrom2": float(mean[at]),
                        "standard_error_angstrom2": float(error[at]),
                        "tilt_average_angstrom2": float(tilt_mean[same]),
                        "tilt_average_error_angstrom2": float(tilt_error[same]),
                        "from_tilt_average_sigma": float(
                            (mean[at] - tilt_mean[same]) / np.hypot(error[at], tilt_error[same])
                        ),
                        "from_probes_mean_percent": float(100 * apart_mean[at] / tilt_mean[same]),
                        "from_probes_mean_sigma": float(apart_mean[at] / apart_error[at]),
                    }
                )
    return rows


SETS = {
    "grid": "spread_grid_percent",
    "all": "spread_all_percent",
    "own crystals": "standard_error_percent",
}
"""Over which probes a spread is taken, and its column."""


def summaries(
    config: Config, spreads: list[dict[str, Any]], values: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Per detector and set of probes: spread (root mean square over n), its exponent, outliers.

    The exponent is the slope of log spread against log configurations, fitted where at least
    four groups are averaged over.
    """
    published = {s.detector_mrad: s.percent for s in config.published.spreads}
    found = []
    for inner, outer in config.detectors_mrad:
        here = [r for r in values if (r["inner_mrad"], r["outer_mrad"]) == (inner, outer)]
        apart = np.abs([r["from_probes_mean_sigma"] for r in here])
        for probes, column in SETS.items():
            spread, groups = [], []
            for count in config.configurations:
                mine = [
                    r
                    for r in spreads
                    if (r["inner_mrad"], r["outer_mrad"], r["configurations"])
                    == (inner, outer, count)
                ]
                spread.append(root_mean_square([r[column] for r in mine]))
                groups.append(mine[0]["groups"])
            enough = np.array(groups) >= min(4, groups[0] // 2)
            logs = np.log(np.array(config.configurations)), np.log(spread)
            network = published.get((inner, outer))
            found.append(
                {
                    "inner_mrad": inner,
                    "outer_mrad": outer,
                    "probes": probes,
                    "spread_percent": spread,
                    "exponent": float(np.polyfit(logs[0][enough], logs[1][enough], 1)[0]),
                    "published_percent": root_mean_square(network) if network else None,
                    "largest_from_tilt_average_sigma": float(
                        np.max(np.abs([r["from_tilt_average_sigma"] for r in here]))
                    ),
                    "largest_between_probes_sigma": float(apart.max()),
                    "beyond_2_sigma_between_probes": float(np.mean(apart > 2)),
                }
            )
    return found


def root_mean_square(numbers: list[float]) -> float:
    """√ of the mean of squares."""
    return float(np.sqrt(np.mean(np.square(numbers))))


def show(config: Config, summary: list[dict[str, Any]], console: Console) -> None:
    """Print spreads and how many standard errors values lie apart."""
    table = Table(
        title="Spread of PPISCS over probes [%], root mean square over n, against the number of "
        "configurations",
        caption="grid: every C10 with every C30, over which the published network's spread is "
        "taken too; all: with those beyond; own crystals: standard error of one probe, the spread "
        "to expect if probes did not share their crystals; σ: standard errors, all probes and n",
    )
    table.add_column("detector (mrad)")
    table.add_column("probes")
    for n_configurations in config.configurations:
        table.add_column(f"{n_configurations}", justify="right")
    for heading in (
        "exponent",
        "published\nnetwork",
        "largest from\ntilt average",
        "largest between\nprobes",
        "beyond 2 σ\nbetween probes",
    ):
        table.add_column(heading, justify="right")
    for s in summary:
        first = s["probes"] == "grid"
        network = s["published_percent"]
        table.add_row(
            f"{s['inner_mrad']:g}–{s['outer_mrad']:g}" if first else "",
            s["probes"],
            *(f"{x:.2g}" for x in s["spread_percent"]),
            f"{s['exponent']:+.2f}",
            f"{network:.2g}" if network and first else "",
            f"{s['largest_from_tilt_average_sigma']:.1f} σ" if first else "",
            f"{s['largest_between_probes_sigma']:.1f} σ" if first else "",
            f"{s['beyond_2_sigma_between_probes']:.1%}" if first else "",
        )
    console.print(table)


def run(config: Config, out: Path) -> None:
    """Simulate, print, save."""
    for detector in config.detectors_mrad:
        config.specimen.settings(detector)
    progress = Console(stderr=True)
    values = scan_all(config, progress)
    tilts = tilt_average(config)
    spreads, each = spread_rows(config, values), value_rows(config, values, tilts)
    summary = summaries(config, spreads, each)
    show(config, summary, wide_console())
    save_csv(out / "spread.csv", spreads)
    save_csv(out / "values.csv", each)
    save_json(
        out / "result.json",
        {
            "config": config.model_dump(),
            "provenance": provenance(),
            "scan_seeds": [config.seed, config.seed + config.configurations[-1] - 1],
            "summary": summary,
            "spreads": spreads,
            "values": each,
        },
    )
    save_figure(out / "aberrations.png", draw(config.model_dump(), spreads, each))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
