"""Curves against those of larger supercells, wider bands and simulated values of rmsd."""

from functools import partial
from itertools import pairwise
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.common import Annulus
from experiments.dataset.study import measure
from experiments.dataset.study.filling import detector_deviation, diffuse_share, spacings
from experiments.dataset.study.schema import Config
from experiments.dataset.study.simulate import grid_of, settings_of, simulate
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.surrogate.table import neighbours

Rows = list[dict[str, Any]]


def title(specimen: Illuminated) -> str:
    """A specimen in words."""
    return f"{specimen.element} [{specimen.zone_axis}] {specimen.voltage_kv:g} kV"


def row(name: str, aperture: float, detector: Annulus, **further: Any) -> dict[str, Any]:
    """What rows of all tables begin with."""
    inner, outer = detector
    return {
        "specimen": name,
        "convergence_mrad": aperture,
        "inner_mrad": inner,
        "outer_mrad": outer,
        **further,
    }


def supercell_rows(config: Config, campaign: Campaign) -> Rows:
    """A specimen on every supercell, each with waves of its own, against the last one.

    Beside it what the filling of annuli by the two lattices has one expect of the mean over
    thickness.
    """
    specimen = config.supercell.specimen
    settings, aperture = settings_of(config, specimen), specimen.convergence_mrad
    kernels, cells, rows = [], [], []
    for i, waves in enumerate(config.supercell.waves):
        lattice = config.supercell.lattices_mrad[i]
        wanted = campaign.model_copy(update={"lattice_mrad": lattice})
        kernels.append(simulate(config, wanted, settings, waves, stream=i))
        cells.append(grid_of(config, wanted, settings))
    for kernel, cell in zip(kernels[:-1], cells[:-1], strict=True):
        for detector in config.detectors_mrad:
            expected = [
                detector_deviation(
                    spacings(c, settings), aperture, detector, partial(diffuse_share, settings)
                )
                for c in (cell, cells[-1])
            ]
            curves = [measure.fractions(k, aperture, detector) for k in (kernel, kernels[-1])]
            average = curves[-1].mean() / curves[-1].mean(axis=0).max()
            rows.append(
                row(
                    title(specimen),
                    aperture,
                    detector,
                    cell="{} × {}".format(*cell.repeats),
                    reference="{} × {}".format(*cells[-1].repeats),
                    spacing_mrad=float(max(spacings(cell, settings))),
                    waves=kernel.waves,
                    filling_permille=float(1e3 * average * (expected[0] - expected[1])),
                    **measure.unpaired(*curves),
                )
            )
    return rows


def band_rows(config: Config, campaign: Campaign) -> Rows:
    """The same waves on grids of several band limits, against the widest."""
    *factors, widest = config.band.factors
    rows: Rows = []
    for specimen in config.band.specimens:
        settings, aperture = settings_of(config, specimen), specimen.convergence_mrad
        kernels = {}
        for factor in (widest, *factors):
            wanted = campaign.model_copy(update={"band": factor})
            kernels[factor] = simulate(config, wanted, settings, config.band.waves)
        rows += [
            row(
                title(specimen),
                aperture,
                detector,
                band=factor,
                reference=widest,
                **measure.paired(
                    *(measure.fractions(kernels[k], aperture, detector) for k in (factor, widest))
                ),
            )
            for factor in factors
            for detector in config.detectors_mrad
        ]
    return rows


def rmsd_rows(config: Config, campaign: Campaign) -> Rows:
    """The same waves at nodes of rmsd and between them: what interpolation makes of it."""
    nodes = sorted(campaign.rmsd_angstrom)
    between = [(a + b) / 2 for a, b in pairwise(nodes)]
    schemes = [("all nodes", x, nodes) for x in between]
    schemes += [("one node left out", x, [n for n in nodes if n != x]) for x in nodes[1:-1]]
    schemes += [("every second node", x, nodes[::2]) for x in (*between, *nodes[1::2])]
    rows: Rows = []
    for specimen in config.rmsd.specimens:
        aperture, kernels = specimen.convergence_mrad, {}
        for x in (*nodes, *between):
            settings = settings_of(config, specimen.model_copy(update={"rmsd_angstrom": x}))
            kernels[x] = simulate(config, campaign, settings, config.rmsd.waves)
        for detector in config.detectors_mrad:
            curves = {x: measure.fractions(k, aperture, detector) for x, k in kernels.items()}
            rows += [
                row(
                    title(specimen),
                    aperture,
                    detector,
                    nodes=name,
                    rmsd_angstrom=x,
                    **measure.paired(interpolated(curves, given, x), curves[x]),
                )
                for name, x, given in schemes
            ]
    return rows


def interpolated(curves: dict[float, np.ndarray], nodes: list[float], x: float) -> np.ndarray:
    """A curve between nodes, as the table of kernels interpolates it."""
    near, weights = neighbours(jnp.array(nodes), x)
    return sum(w * curves[nodes[i]] for i, w in zip(near.tolist(), weights.tolist(), strict=True))
