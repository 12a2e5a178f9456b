"""What bins of collection angle cost where the rings of Laue zones are sharp.

Kernels are simulated with fine bins. Of detectors that begin anywhere on a ring, curves from wider
bins are compared with those from the fine ones, of the same waves. Writes table.csv, result.json
and rings.png.

    python -m experiments.rings.run [--config FILE] [--out FOLDER]
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from experiments.common import ROOT, main, save_cases, tidy
from experiments.dataset.study.interpolate import with_bins
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.campaign.task import task_grid
from ppiscs_jax.config import Model, load_config
from ppiscs_jax.plots.curves import COLOURS
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.averaging import kernel_to_noise
from ppiscs_jax.simulation.kernel import ScatteringKernel
from ppiscs_jax.simulation.plan import Plan
from ppiscs_jax.surrogate.evaluate import score

Numbers = Annotated[list[PositiveFloat], Field(min_length=1)]


class Config(Model):
    """What the config may say; a specimen is element, zone axis and voltage [kV]."""

    seed: PositiveInt
    campaign: str
    specimens: Annotated[list[tuple[str, str, PositiveFloat]], Field(min_length=1)]
    rmsd_angstrom: PositiveFloat
    n_atoms: PositiveInt | None = None
    noise: PositiveFloat
    max_waves: PositiveInt
    apertures_mrad: Numbers
    starts_mrad: tuple[PositiveFloat, PositiveFloat]
    width_mrad: PositiveFloat
    bins_mrad: Numbers
    fine_mrad: PositiveFloat

    @model_validator(mode="after")
    def _bins_fit(self) -> Self:
        """Wider bins are put together from whole fine ones, and fill the range of detectors."""
        span = self.starts_mrad[1] + self.width_mrad - self.starts_mrad[0]
        for step in self.bins_mrad:
            fine, parts = step / self.fine_mrad, span / step
            if abs(fine - round(fine)) > 1e-6:
                raise ValueError(f"bins_mrad = {step:g} mrad: must be a multiple of fine_mrad")
            if parts < 1 or abs(parts - round(parts)) > 1e-6:
                raise ValueError(
                    f"bins_mrad = {step:g} mrad: must divide the {span:g} mrad from the first "
                    "start to the end of the last detector"
                )
        return self


def edges_of(config: Config, campaign: Campaign, step_mrad: float) -> np.ndarray:
    """Edges of the campaign's bins, with others this step apart where detectors begin and end."""
    low, high = config.starts_mrad[0], config.starts_mrad[1] + config.width_mrad
    inside = np.arange(low, high + step_mrad / 2, step_mrad)
    edges = campaign.angle_edges_mrad
    return np.concatenate([edges[edges < low], inside, edges[edges > inside[-1]]])


def simulate(config: Config, campaign: Campaign, settings: Settings) -> ScatteringKernel:
    """The kernel in fine bins, as the campaign would simulate it."""
    n_atoms = config.n_atoms or campaign.thickest(settings)
    plan = Plan.of(
        settings,
        task_grid(campaign, settings, n_atoms),
        np.array(campaign.rings_mrad),
        edges_of(config, campaign, config.fine_mrad),
        n_atoms,
        config.seed,
    )
    limits = [
        (aperture, *detector, config.noise)
        for aperture in config.apertures_mrad
        for detector in campaign.detectors_mrad
    ]
    kept = np.array(campaign.kept_rings_mrad)
    return kernel_to_noise(plan, limits, config.max_waves, kept_rings_mrad=kept, control=False)


def largest_score(
    config: Config, fine: ScatteringKernel, wide: ScatteringKernel, aperture_mrad: float
) -> tuple[float, float]:
    """Largest score of curves from wide bins, and where that detector begins [mrad]."""
    found = []
    for start in np.arange(*config.starts_mrad, config.fine_mrad):
        detector = aperture_mrad, start, start + config.width_mrad
        truth = fine.curve(*detector).ppiscs
        off = score(wide.curve(*detector).ppiscs, truth, np.zeros(len(truth)))
        found.append((float(off), float(start)))
    return max(found)


def cases(config: Config, campaign: Campaign) -> Iterator[list[dict[str, Any]]]:
    """Rows of each specimen, which all share its simulation."""
    first = config.apertures_mrad[0], *campaign.detectors_mrad[0], config.rmsd_angstrom
    # All of them before any work, so that bad values are found at once.
    for settings in [Settings(*specimen, *first) for specimen in config.specimens]:
        fine = simulate(config, campaign, settings)
        rows = []
        for step in config.bins_mrad:
            wide = with_bins(fine, edges_of(config, campaign, step))
            for aperture in config.apertures_mrad:
                largest, start = largest_score(config, fine, wide, aperture)
                rows.append(
                    {
                        "element": settings.element,
                        "zone_axis": settings.zone_axis,
                        "voltage_kv": settings.voltage_kv,
                        "convergence_mrad": aperture,
                        "bins_mrad": step,
                        "largest_score": largest,
                        "inner_mrad": start,
                    }
                )
        yield rows


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """Largest scores of each specimen, by width of the bins; a point for each aperture."""
    names = [f"{r['element']} [{r['zone_axis']}] {r['voltage_kv']:g} kV" for r in rows]
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    figure = Figure(figsize=(7, 0.32 * len(places) + 1.1), layout="constrained")
    axes = figure.subplots()
    for colour, step in zip(COLOURS, dict.fromkeys(r["bins_mrad"] for r in rows), strict=False):
        some = [
            (1e3 * r["largest_score"], places[n])
            for r, n in zip(rows, names, strict=True)
            if r["bins_mrad"] == step
        ]
        axes.plot(*zip(*some, strict=True), "o", color=colour, label=f"bins of {step:g} mrad")
    axes.set_yticks(list(places.values()), list(places))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("Largest score of detectors that begin on the ring (10⁻³)")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    tidy(axes)
    return figure


def run(config: Config, out: Path) -> None:
    """Simulate, print, draw, save."""
    campaign = load_config(ROOT / config.campaign, Campaign)
    save_cases(config, cases(config, campaign), draw, out / "rings.png")


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
