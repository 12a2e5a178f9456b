"""Counting the atoms of simulated particles in many noisy images.

Every image of a probe scan gets an intensity scale, a source size, a background and a scan noise
of its own, and the noise of a dose; atoms are counted with the nominal settings. Writes table.csv,
pit.csv, noisy_images.png and result.json. The results for each particle and dose are saved when
they are there, so that a run that was stopped goes on from there.

    python -m experiments.noisy_images.run [--config FILE] [--out FOLDER]
"""

import csv
import hashlib
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import scipy
from pydantic import Field, NonNegativeFloat, PositiveFloat

from experiments.common import (
    ROOT,
    main,
    provenance,
    save_csv,
    save_figure,
    save_json,
    show_rows,
)
from experiments.counting.run import pit
from experiments.noisy_images.figure import draw
from experiments.particles.run import Particle
from ppiscs_jax.config import Model
from ppiscs_jax.counting.counts import Counts
from ppiscs_jax.counting.cross_sections import cross_sections
from ppiscs_jax.counting.images import AdfImage, load_image
from ppiscs_jax.counting.methods import STD, count_cross_sections
from ppiscs_jax.surrogate.predict import predict

WAYS = {
    "library, plain": "library",
    "library": "library",
    "hybrid": "hybrid",
    "joint": "joint",
}
"""Methods of `count_cross_sections`; by Gaussians with both corrections unless the name says
otherwise."""


class Images(Model):
    """Particles of experiments/particles by name, and how many images of each at each dose."""

    particles: Annotated[list[str], Field(min_length=1)]
    draws: Annotated[int, Field(ge=2)]


class Config(Model):
    """Schema of the configuration. Quantities given as a range are drawn uniformly for each image.

    Number k of the images of every particle and dose has the same scale, source and so on.

    Attributes:
        source_angstrom: standard deviation of the source [Å].
        background: added, as a fraction of the brightest pixel.
        jitter_angstrom: standard deviation of the shifts of rows along x [Å].
        gain_std: standard deviation of the images' scale around 1.
    """

    images: Annotated[list[Images], Field(min_length=1)]
    doses_per_angstrom2: Annotated[list[PositiveFloat], Field(min_length=1)]
    source_angstrom: tuple[PositiveFloat, PositiveFloat]
    background: tuple[NonNegativeFloat, NonNegativeFloat]
    jitter_angstrom: tuple[NonNegativeFloat, NonNegativeFloat]
    gain_std: Annotated[float, Field(ge=1e-3, le=0.1)]
    seed: Annotated[int, Field(ge=0)]


PARTICLES = ROOT / "experiments" / "particles" / "result"


def particle_of(name: str) -> Particle:
    """A particle of experiments/particles."""
    saved = json.loads((PARTICLES / "result.json").read_text(encoding="utf-8"))
    (found,) = (p for p in saved["config"]["particles"] if p["name"] == name)
    return Particle.model_validate(found)


def columns_of(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions [Å], numbers of atoms, and the thermal error of the simulated image (relative)."""
    with open(PARTICLES / f"{name}.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    positions = np.array([[row["x_angstrom"], row["y_angstrom"]] for row in rows], float)
    error = np.array([float(row["thermal_error_percent"]) for row in rows]) / 100
    return positions, np.array([int(row["count"]) for row in rows]), error


def noisy(
    config: Config, clean: AdfImage, dose: float, generator: np.random.Generator
) -> tuple[AdfImage, float]:
    """An image as a microscope records it, and its dose as its owner would state it [e⁻/Å²]."""
    pixel = clean.pixel_angstrom
    gain = 1 + config.gain_std * generator.standard_normal()
    source = generator.uniform(*config.source_angstrom)
    background = generator.uniform(*config.background)
    jitter = generator.uniform(*config.jitter_angstrom)
    blurred = scipy.ndimage.gaussian_filter(clean.pixels.astype(float), source / pixel, mode="wrap")
    shifts = jitter * generator.standard_normal(len(blurred)) / pixel
    rows = [
        scipy.ndimage.shift(row, shift, order=3, mode="grid-wrap")
        for row, shift in zip(blurred, shifts, strict=True)
    ]
    expected = np.maximum(rows, 0) + background * blurred.max()
    electrons = dose * clean.pixel_area_angstrom2
    pixels = gain * generator.poisson(expected * electrons) / electrons
    return AdfImage(pixels, pixel, normalised=True), dose / gain


def error_probability_of(error: np.ndarray, means: np.ndarray, atoms: np.ndarray) -> np.ndarray:
    """Probability that the nearest of the means of 0, 1, … atoms is of another number."""
    padded = np.concatenate([[-np.inf], means])
    below, own, above = (padded[atoms + shift] for shift in (0, 1, 2))
    right = scipy.stats.norm.cdf((above - own) / 2 / error)
    return 1 - right + scipy.stats.norm.cdf((below - own) / 2 / error)


def count_images(config: Config, name: str, dose: float, draws: int) -> dict[str, Any]:
    """Which columns of each image are counted wrong, and how probable that was.

    `wrong` and `stated`, the reported probability of a wrong count, are of each way to count.
    `limit` is the probability at exact settings, from the standard errors of the Gaussians, and
    `limit_thermal` includes the thermal error of the simulated image. `pit` is the randomised
    probability integral transform of the joint method. Each has a row per image.
    """
    particle = particle_of(name)
    clean = load_image(PARTICLES / f"{name}.tif", normalised=True)
    positions, atoms, thermal = columns_of(name)
    true_means = np.concatenate([[0.0], predict(particle.true).ppiscs])
    std = {**STD, "gain": config.gain_std}
    rows: dict[str, list[Any]] = {"limit": [], "limit_thermal": [], "pit": []}
    rows |= {f"{kind} {way}": [] for way in WAYS for kind in ("wrong", "stated")}
    edge = np.zeros(len(atoms), bool)
    for number in range(draws):
        generator = np.random.default_rng((config.seed, number))
        image, stated_dose = noisy(config, clean, dose, generator)

        measure = partial(cross_sections, image, positions, dose_per_angstrom2=stated_dose)
        corrected = measure(settings=particle.nominal)
        sections = dict.fromkeys(WAYS, corrected) | {"library, plain": measure()}
        counts: dict[str, Counts] = {}
        for way, method in WAYS.items():
            counts[way] = count_cross_sections(
                sections[way].values,
                particle.nominal,
                standard_error_angstrom2=sections[way].standard_error,
                method=method,
                std=std,
            )
            rows[f"wrong {way}"].append(counts[way].counts != atoms)
            rows[f"stated {way}"].append(1 - counts[way].probability)
        error, edge = corrected.standard_error, corrected.edge
        both = np.hypot(error, thermal * true_means[atoms])
        rows["limit"].append(error_probability_of(error, true_means, atoms))
        rows["limit_thermal"].append(error_probability_of(both, true_means, atoms))
        rows["pit"].append(pit(counts["joint"], atoms, generator))
    return {
        "edge": edge.tolist(),
        **{k: np.array(v).astype(float).tolist() for k, v in rows.items()},
    }


def saved_or_counted(
    config: Config, name: str, dose: float, draws: int, out: Path
) -> dict[str, Any]:
    """What `count_images` gives, from its file if there is one of the same images."""
    drawn = config.model_dump_json(exclude={"images", "doses_per_angstrom2"})
    digest = hashlib.sha256(drawn.encode() + (PARTICLES / f"{name}.tif").read_bytes()).hexdigest()
    parts = out / "parts"
    parts.mkdir(exist_ok=True)
    file = parts / f"{name}_{dose:g}_{draws}_{digest[:8]}.json"
    if not file.is_file():
        print(f"{name}, {dose:g} e⁻/Å²", file=sys.stderr, flush=True)
        save_json(file, count_images(config, name, dose, draws))
    return json.loads(file.read_text(encoding="utf-8"))


def rows_of(name: str, dose: float, found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each way to count, at the edge and within."""
    edge = np.array(found["edge"], bool)
    rows = []
    for way in WAYS:
        for columns, chosen in (("edge", edge), ("interior", ~edge), ("all", edge | True)):
            of = {
                k: 100 * np.array(v)[:, chosen].mean(axis=1)
                for k, v in found.items()
                if k != "edge"
            }
            wrong = of[f"wrong {way}"]
            rows.append(
                {
                    "particle": name,
                    "dose_per_angstrom2": dose,
                    "way": way,
                    "columns": columns,
                    "wrong_percent": float(wrong.mean()),
                    "standard_error_percent": float(wrong.std(ddof=1) / len(wrong) ** 0.5),
                    "stated_percent": float(of[f"stated {way}"].mean()),
                    "limit_percent": float(of["limit"].mean()),
                    "limit_with_thermal_error_percent": float(of["limit_thermal"].mean()),
                }
            )
    return rows


def run(config: Config, out: Path) -> None:
    """Count, print, save."""
    rows: list[dict[str, Any]] = []
    transforms: list[dict[str, Any]] = []
    for images in config.images:
        for name in images.particles:
            for dose in config.doses_per_angstrom2:
                found = saved_or_counted(config, name, dose, images.draws, out)
                part = rows_of(name, dose, found)
                show_rows([row for row in part if row["columns"] == "all"])
                rows += part
                tenths, _ = np.histogram(np.ravel(found["pit"]), 10, (0, 1))
                shares = (tenths / tenths.sum()).tolist()
                transforms.append(
                    {"particle": name, "dose_per_angstrom2": dose}
                    | {f"tenth_{i}": share for i, share in enumerate(shares, 1)}
                )
    save_csv(out / "table.csv", rows)
    save_csv(out / "pit.csv", transforms)
    save_figure(out / "noisy_images.png", draw(rows, transforms))
    content = {
        "config": config.model_dump(),
        "provenance": provenance(surrogates=["additive"]),
        "rows": rows,
        "pit": transforms,
    }
    save_json(out / "result.json", content)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
