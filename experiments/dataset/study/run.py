"""What the sampling of the data-set campaign costs in accuracy, choice by choice.

Supercell, band limit, nodes of rmsd, rings of tilts, bins of collection angle, compression:
each against a finer choice of the same waves, or of other waves where it has to be. Writes a
CSV file a part, result.json and study.png.

    python -m experiments.dataset.study.run [--config FILE] [--out FOLDER]
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rich.console import Console

from experiments.common import main, provenance, save_csv, save_figure, save_json, wide_console
from experiments.dataset.study.compare import Rows, band_rows, rmsd_rows, supercell_rows
from experiments.dataset.study.figure import draw
from experiments.dataset.study.filling import filling_rows
from experiments.dataset.study.interpolate import (
    aperture_rows,
    bin_rows,
    compression_rows,
    fine_kernels,
)
from experiments.dataset.study.report import show
from experiments.dataset.study.schema import Config
from experiments.dataset.study.simulate import settings_of
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.simulation.kernel import ScatteringKernel

ALONE: dict[str, Callable[[Config, Campaign], Rows]] = {
    "filling": filling_rows,
    "supercell": supercell_rows,
    "band": band_rows,
    "rmsd": rmsd_rows,
}
"""Parts that simulate what they need, by the name of their file."""

OF_FINE_KERNELS: dict[str, Callable[[Config, Campaign, str, ScatteringKernel], Rows]] = {
    "apertures": aperture_rows,
    "bins": bin_rows,
}
"""Parts that are about each of the kernels in fine rings and bins."""


def _check(config: Config, campaign: Campaign) -> None:
    """Raise InputError for bad settings, all before any work."""
    first, last = campaign.kept_rings_mrad[1], campaign.kept_rings_mrad[-1]
    specimens = [*config.band.specimens, *config.rmsd.specimens, *config.angles.specimens]
    for specimen in (config.supercell.specimen, *specimens):
        settings_of(config, specimen)
        aperture = specimen.convergence_mrad
        if problem := range_problem("convergence_mrad", aperture, first, last, "mrad"):
            raise InputError(problem)


def run(config: Config, out: Path) -> None:
    """Simulate, print, save."""
    campaign = config.load_campaign()
    _check(config, campaign)
    parts: dict[str, Rows] = {}
    progress = Console(stderr=True)
    for name, rows_of in ALONE.items():
        progress.print(f"{name} …")
        parts[name] = rows_of(config, campaign)
    progress.print("fine rings and bins …")
    kernels = fine_kernels(config, campaign)
    for name, part in OF_FINE_KERNELS.items():
        parts[name] = [r for n, k in kernels.items() for r in part(config, campaign, n, k)]
    parts["compression"] = compression_rows(config, campaign, *next(iter(kernels.items())))

    show(parts, wide_console())
    for name, rows in parts.items():
        save_csv(out / f"{name}.csv", rows)
    content = {
        "config": config.model_dump(),
        "campaign": campaign.model_dump(),
        "provenance": provenance(),
    }
    save_json(out / "result.json", content | parts)
    save_figure(out / "study.png", draw(campaign.model_dump(), parts))


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
