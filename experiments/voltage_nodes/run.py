"""Leave one simulated voltage out: how far interpolation along voltage is off.

Of every voltage between the ends, the additive model is fitted to all others and compared with
the kernels of the one left out. Writes cases.csv, voltages.csv and result.json.

    python -m experiments.voltage_nodes.run [--config FILE] [--out FOLDER]
"""

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import ROOT, Annulus, main, provenance, save_csv, save_json, show_rows
from ppiscs_jax import Settings
from ppiscs_jax.campaign.inspect import kernel_files
from ppiscs_jax.config import Model
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.surrogate.additive_fit import fit_additive
from ppiscs_jax.surrogate.evaluate import score
from ppiscs_jax.surrogate.table import KernelTable, load_table


class Config(Model):
    """What the config may say."""

    data: str
    elements: Annotated[list[str], Field(min_length=1)]
    convergence_mrad: Annotated[list[PositiveFloat], Field(min_length=1)]
    rmsd_step: PositiveInt
    detectors_mrad: Annotated[list[Annulus], Field(min_length=1)]


def of_voltages(table: KernelTable, voltages: list[int]) -> KernelTable:
    """The table with some of its voltages."""
    at = np.array(voltages)
    return dataclasses.replace(
        table,
        beyond=table.beyond[:, at],
        unscattered=table.unscattered[:, at],
        voltages_kv=table.voltages_kv[at],
    )


def simulated(
    config: Config, table: KernelTable, group: int, voltage: int
) -> tuple[list[Settings], list[np.ndarray]]:
    """Settings of a group at a voltage's nodes, and the curves of its kernels."""
    names = {e.atomic_number: name for name, e in ELEMENTS.items()}
    zones = {z.code: name for name, z in ZONE_AXES.items()}
    n_atoms = int(table.thickest[group])
    angles = np.unique(np.ravel(config.detectors_mrad))
    beyond = jax.jit(KernelTable.beyond_angles)
    settings, curves = [], []
    for rmsd in np.asarray(table.rmsd_angstrom[group])[1 : -1 : config.rmsd_step]:
        for aperture in config.convergence_mrad:
            edges = jnp.asarray(angles, jnp.float32)
            values = np.asarray(beyond(table, group, voltage, rmsd, aperture, edges), float)
            for inner, outer in config.detectors_mrad:
                settings.append(
                    Settings(
                        names[int(table.atomic_numbers[group])],
                        zones[int(table.zone_codes[group])],
                        float(table.voltages_kv[voltage]),
                        aperture,
                        inner,
                        outer,
                        float(rmsd),
                    )
                )
                at = np.searchsorted(angles, (inner, outer))
                curves.append((values[at[0]] - values[at[1]])[:n_atoms])
    return settings, curves


def compared(config: Config, table: KernelTable, voltage: int) -> list[dict[str, Any]]:
    """Rows of all curves at a voltage that is left out."""
    others = [i for i in range(len(table.voltages_kv)) if i != voltage]
    model = fit_additive(of_voltages(table, others))
    rows = []
    for group in range(len(table.thickest)):
        settings, curves = simulated(config, table, group, voltage)
        x = jnp.asarray(np.stack([s.to_vector() for s in settings]), jnp.float32)
        predicted = np.asarray(jax.lax.map(model.curve, x), float)
        errors = np.asarray(jax.lax.map(model.standard_error, x), float)
        for s, truth, found, error in zip(settings, curves, predicted, errors, strict=True):
            n = len(truth)
            off = score(found[:n], truth, np.zeros(n))
            rows.append(
                {
                    "element": s.element,
                    "zone_axis": s.zone_axis,
                    "voltage_kv": float(s.voltage_kv),
                    "convergence_mrad": float(s.convergence_mrad),
                    "inner_mrad": float(s.inner_mrad),
                    "outer_mrad": float(s.outer_mrad),
                    "rmsd_angstrom": float(s.rmsd_angstrom),
                    "score": float(off),
                    "over_standard_error": float(
                        np.sqrt(np.mean(((found[:n] - truth) / error[:n]) ** 2))
                    ),
                }
            )
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each voltage and zone axis: mean and largest scores, rms over standard error."""
    keys = sorted({(row["voltage_kv"], row["zone_axis"]) for row in rows})
    found = []
    for voltage, zone in keys:
        some = [r for r in rows if (r["voltage_kv"], r["zone_axis"]) == (voltage, zone)]
        scores = np.array([row["score"] for row in some])
        ratios = np.array([row["over_standard_error"] for row in some])
        found.append(
            {
                "voltage_kv": voltage,
                "zone_axis": zone,
                "curves": len(some),
                "mean": float(scores.mean()),
                "largest": float(scores.max()),
                "rms_over_standard_error": float(np.sqrt(np.mean(ratios**2))),
            }
        )
    return found


def run(config: Config, out: Path) -> None:
    """Leave out every voltage between the ends."""
    files = [
        path
        for path in kernel_files(ROOT / config.data)
        if path.stem.split("_")[0] in config.elements
    ]
    table = load_table(files)
    rows: list[dict[str, Any]] = []
    for voltage in range(1, len(table.voltages_kv) - 1):
        rows += compared(config, table, voltage)
        print(f"{float(table.voltages_kv[voltage]):g} kV", flush=True)
    summaries = summary(rows)
    save_csv(out / "cases.csv", rows)
    save_csv(out / "voltages.csv", summaries)
    about = {"config": config.model_dump(mode="json"), "provenance": provenance()}
    save_json(out / "result.json", about | {"voltages": summaries})
    show_rows(summaries)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
