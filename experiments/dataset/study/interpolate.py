"""Apertures and collection angles interpolated by the table, and kernels read from files."""

import dataclasses
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common import Annulus
from experiments.dataset.study import measure
from experiments.dataset.study.compare import Rows, row, title
from experiments.dataset.study.schema import Config
from experiments.dataset.study.simulate import settings_of, simulate
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.io.kernels import load_kernels, save_kernels
from ppiscs_jax.simulation.kernel import ScatteringKernel, noise
from ppiscs_jax.surrogate import table


def fine_kernels(config: Config, campaign: Campaign) -> dict[str, ScatteringKernel]:
    """Kernels in fine rings and bins, by specimen."""
    fine = campaign.model_copy(update={"angles": config.angles.angles}).angle_edges_mrad
    rings = np.array(config.angles.rings_mrad)
    return {
        title(s): simulate(
            config,
            campaign,
            settings_of(config, s),
            config.angles.waves,
            rings_mrad=rings,
            edges_mrad=fine,
        )
        for s in config.angles.specimens
    }


def with_bins(kernel: ScatteringKernel, edges_mrad: np.ndarray) -> ScatteringKernel:
    """The same kernel in fewer bins, whose edges are among those of this one."""
    starts = np.searchsorted(kernel.angle_edges_mrad, edges_mrad[:-1] - 1e-9)
    means = np.add.reduceat(kernel.batch_means, starts, axis=-1)
    return dataclasses.replace(kernel, angle_edges_mrad=edges_mrad, batch_means=means)


def table_of(kernel: ScatteringKernel) -> table.KernelTable:
    """Its batches, and last their mean, in place of a table's elements and zone axes."""
    rings, edges = kernel.ring_edges_mrad, kernel.angle_edges_mrad
    batches = np.concatenate([kernel.batch_means, kernel.batch_means.mean(axis=0)[None]])
    beyond = np.cumsum(batches[..., ::-1], axis=-1)[..., ::-1]
    beyond = np.pad(beyond, ((0, 0), (0, 0), (0, 0), (0, 1))).swapaxes(2, 3)
    # Of the table itself, so that it is its way of leaving out the unscattered beam.
    running, unscattered = zip(
        *(table.split_unscattered(b, rings, edges) for b in beyond), strict=True
    )
    codes = jnp.zeros(len(batches), int)
    return table.KernelTable(
        beyond=jnp.asarray(np.stack(running)[:, None, None]),
        unscattered=jnp.asarray(np.stack(unscattered)[:, None, None]),
        atomic_numbers=codes,
        zone_codes=codes,
        thickest=codes + batches.shape[2],
        voltages_kv=jnp.array([kernel.voltage_kv]),
        rmsd_angstrom=jnp.array([kernel.rmsd_angstrom]),
        ring_edges_mrad=jnp.array(rings),
        angles_mrad=jnp.array(edges),
    )


@jax.jit
def _beyond(kernels: table.KernelTable, aperture: jax.Array, angles: jax.Array) -> jax.Array:
    def of_batch(group: jax.Array) -> jax.Array:
        zero = jnp.array(0)
        return kernels.beyond_angles(group, zero, kernels.rmsd_angstrom[0], aperture, angles)

    return jax.vmap(of_batch)(jnp.arange(len(kernels.beyond)))


def differences(
    kernels: table.KernelTable,
    fine: ScatteringKernel,
    aperture: float,
    detectors: list[Annulus],
) -> list[dict[str, float]]:
    """Of detectors as the table gives them, from the same waves in fine rings and bins."""
    angles = np.unique(np.array(detectors))
    beyond = np.asarray(_beyond(kernels, jnp.array(aperture), jnp.array(angles)), dtype=float)
    found = []
    for inner, outer in detectors:
        low, high = np.searchsorted(angles, (inner, outer))
        *batches, mean = beyond[:, low] - beyond[:, high]
        reference = measure.fractions(fine, aperture, (inner, outer))
        found.append(measure.paired(np.array(batches), reference, mean))
    return found


def aperture_rows(config: Config, campaign: Campaign, name: str, kernel: ScatteringKernel) -> Rows:
    """Apertures between edges of rings, for detectors that start more or less far above them."""
    angles, rows = config.angles, []
    kept, bins = np.array(campaign.kept_rings_mrad), campaign.angle_edges_mrad
    wider = np.array(angles.wider_rings_mrad)
    tables = {
        "kept rings": (kept, table_of(kernel.with_rings(kept))),
        "kept rings and bins": (kept, table_of(with_bins(kernel.with_rings(kept), bins))),
        "wider rings": (wider, table_of(kernel.with_rings(wider))),
    }
    for sampling, (edges, kernels) in tables.items():
        for aperture in sorted(set(angles.apertures_mrad) - set(edges.tolist())):
            starts = [aperture + x for x in angles.above_aperture_mrad]
            detectors = [(x, x + angles.width_mrad) for x in starts] + angles.wide_mrad
            found = differences(kernels, kernel, aperture, detectors)
            rows += [
                row(name, aperture, d, sampling=sampling, **difference)
                for d, difference in zip(detectors, found, strict=True)
            ]
    return rows


def bin_rows(config: Config, campaign: Campaign, name: str, kernel: ScatteringKernel) -> Rows:
    """Detectors between edges of the campaign's bins, at the first and last kept aperture."""
    angles, rows = config.angles, []
    kept, bins = np.array(campaign.kept_rings_mrad), campaign.angle_edges_mrad
    kernels = table_of(with_bins(kernel.with_rings(kept), bins))
    fine = set(kernel.angle_edges_mrad.tolist())
    between = sorted(fine - set(bins.tolist()))
    for aperture in (kept[1], kept[-1]):
        starts = [x for x in between if x > aperture and x + angles.width_mrad in fine]
        detectors = [(x, x + angles.width_mrad) for x in starts] + angles.wide_between_mrad
        found = differences(kernels, kernel, float(aperture), detectors)
        rows += [
            row(name, float(aperture), d, **difference)
            for d, difference in zip(detectors, found, strict=True)
        ]
    return rows


def compression_rows(
    config: Config, campaign: Campaign, name: str, kernel: ScatteringKernel
) -> Rows:
    """What a kernel's file loses: difference of curves over standard error, ratio of errors."""
    kept = kernel.with_rings(np.array(campaign.kept_rings_mrad))
    before = with_bins(kept, campaign.angle_edges_mrad)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.h5"
        save_kernels(path, {"kernel": before})
        size, after = path.stat().st_size, load_kernels(path)["kernel"]
    rows = []
    for aperture in config.compression.apertures_mrad:
        for detector in config.compression.detectors_mrad:
            here, there = (k.curve(aperture, *detector) for k in (before, after))
            lost = (there.ppiscs - here.ppiscs) / here.standard_error
            rows.append(
                row(
                    name,
                    aperture,
                    detector,
                    error_permille=float(1e3 * noise(before, aperture, *detector)),
                    rms_over_error=measure.root_mean_square(lost),
                    largest_over_error=float(np.abs(lost).max()),
                    error_ratio=float(np.mean(there.standard_error / here.standard_error)),
                    file_bytes=size,
                    float32_bytes=4 * before.batch_means.size,
                )
            )
    return rows
