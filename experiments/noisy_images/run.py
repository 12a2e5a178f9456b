"""Counting the atoms of a simulated particle in many noisy images.

The image of a probe scan gets a source of finite size and the noise of a dose, and each image an
intensity scale of its own; atoms are counted with the nominal settings. Writes table.csv and
result.json.

    python -m experiments.noisy_images.run [--config FILE] [--out FOLDER]
"""

import csv
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import ROOT, Annulus, main, provenance, save_csv, save_json, show_rows
from ppiscs_jax.counting.count import STD, count
from ppiscs_jax.counting.images import AdfImage, load_image
from ppiscs_jax.counting.result import Counted
from ppiscs_jax.settings import Settings
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.surrogate.predict import predict

WAYS: dict[str, dict[str, Any]] = {
    "library, plain": {"method": "library", "plain": True},
    "library": {"method": "library"},
    "library, Voronoi": {"method": "library", "by": "voronoi"},
    "hybrid": {"method": "hybrid"},
    "joint, plain": {"method": "joint", "plain": True},
    "joint": {"method": "joint"},
}
"""Options of `count`."""


class Config(Illuminated):
    """Schema of the configuration.

    Attributes:
        image: without noise, in fractions of the incident beam, from the root of the repository.
        counts: CSV file with positions and numbers of atoms.
        source_angstrom: standard deviation of the source [Å].
        draws: images for each dose.
        gain_std: standard deviation of the images' scale around 1.
    """

    detector_mrad: Annulus
    image: str
    counts: str
    source_angstrom: PositiveFloat
    doses_per_angstrom2: Annotated[list[PositiveFloat], Field(min_length=1)]
    draws: Annotated[PositiveInt, Field(ge=2)]
    gain_std: Annotated[float, Field(ge=0, le=0.1)]
    seed: Annotated[int, Field(ge=0)]


def particle(config: Config) -> tuple[AdfImage, np.ndarray, np.ndarray]:
    """The blurred image, positions [Å] and numbers of atoms."""
    image = load_image(ROOT / config.image, normalised=True)
    width = config.source_angstrom / image.pixel_angstrom
    blurred = scipy.ndimage.gaussian_filter(image.pixels.astype(float), width, mode="wrap")
    with open(ROOT / config.counts, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    positions = np.array([[row["x_angstrom"], row["y_angstrom"]] for row in rows], float)
    atoms = np.array([int(row["count"]) for row in rows])
    return AdfImage(blurred, image.pixel_angstrom, normalised=True), positions, atoms


def limit(counted: Counted, settings: Settings, atoms: np.ndarray) -> np.ndarray:
    """Probability that the nearest value is another number, where all but the noise is known."""
    means = np.concatenate([[-np.inf], [0.0], predict(settings).ppiscs])
    below, own, above = (means[atoms + shift] for shift in (0, 1, 2))
    error = counted.cross_sections.standard_error
    right = scipy.stats.norm.cdf((above - own) / 2 / error)
    return 1 - right + scipy.stats.norm.cdf((below - own) / 2 / error)


def of_dose(config: Config, dose: float) -> list[dict[str, Any]]:
    """A row for each way to count and kind of columns."""
    settings = config.settings(config.detector_mrad)
    clean, positions, atoms = particle(config)
    electrons = dose * clean.pixel_area_angstrom2
    wrong: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    stated: dict[str, list[np.ndarray]] = {way: [] for way in WAYS}
    limits, edge = [], np.zeros(len(atoms), bool)
    for draw in range(config.draws):
        generator = np.random.default_rng((config.seed, draw))
        gain = 1 + config.gain_std * generator.standard_normal()
        noisy = generator.poisson(np.maximum(clean.pixels, 0) * electrons) / electrons
        image = AdfImage(gain * noisy, clean.pixel_angstrom, normalised=True)
        for way, options in WAYS.items():
            counted = count(
                image,
                settings,
                positions_angstrom=positions,
                dose_per_angstrom2=dose / gain,
                std={**STD, "gain": max(config.gain_std, 1e-3)},
                **options,
            )
            wrong[way].append(counted.n_atoms != atoms)
            stated[way].append(1 - counted.probability)
            edge = counted.cross_sections.edge
            if way == "library":
                limits.append(limit(counted, settings, atoms))
    rows = []
    for way in WAYS:
        for columns, chosen in (("edge", edge), ("interior", ~edge)):
            of_image = np.mean(np.array(wrong[way])[:, chosen], axis=1)
            rows.append(
                {
                    "dose_per_angstrom2": dose,
                    "way": way,
                    "columns": columns,
                    "wrong_percent": float(100 * of_image.mean()),
                    "standard_error_percent": float(100 * of_image.std(ddof=1) / config.draws**0.5),
                    "stated_percent": float(100 * np.mean(np.array(stated[way])[:, chosen])),
                    "limit_percent": float(100 * np.mean(np.array(limits)[:, chosen])),
                }
            )
    return rows


def run(config: Config, out: Path) -> None:
    """Count, print, save."""
    rows: list[dict[str, Any]] = []
    for dose in config.doses_per_angstrom2:
        part = of_dose(config, dose)
        show_rows(part)
        rows += part
        save_csv(out / "table.csv", rows)
    content = {"config": config.model_dump(), "provenance": provenance(), "rows": rows}
    save_json(out / "result.json", content)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
