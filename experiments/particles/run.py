"""Simulate ADF images of small particles whose numbers of atoms are known.

Writes, for each particle, its image without noise in fractions of the incident beam (NAME.tif)
and its columns (NAME.csv); result.json; and measured.tif, the first particle with a source of
finite size and the noise of a dose. Each configuration is saved when it is done; a run that was
stopped goes on from there.

    python -m experiments.particles.run [--config FILE] [--out FOLDER]
"""

import hashlib
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import scipy
import tifffile
from pydantic import Field, PositiveFloat, PositiveInt

from experiments.common import Annulus, main, provenance, save_csv, save_json, show_rows
from experiments.particles.by_abtem import abtem_image
from ppiscs_jax.config import Model
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.counting.methods import STD
from ppiscs_jax.files import replacing
from ppiscs_jax.settings import Settings
from ppiscs_jax.settings_config import Illuminated
from ppiscs_jax.simulation.image import simulate_image
from ppiscs_jax.simulation.scan import ScanOptions


class Particle(Illuminated):
    """A particle and its nominal microscope.

    Attributes:
        name: of its files.
        box_angstrom: edge of the periodic, square box that is scanned [Å].
        radii_angstrom: of the ellipsoid along x and y [Å].
        thickest: number of atoms of its centre, before facets.
        facet: columns of more atoms are cut to this number.
        step: atoms that are missing from columns at x > 1 Å.
        configurations: of the image, each with a seed of its own; every batch of probe positions
            has thermal displacements of its own.
        simulator: this package, or abTEM as an independent one.
        drawn: whether α, θ₀ and rmsd are drawn from their errors (`counting.methods.STD`).
        seed: of what is drawn.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9_]+$")]
    detector_mrad: Annulus
    box_angstrom: PositiveFloat
    radii_angstrom: tuple[PositiveFloat, PositiveFloat]
    thickest: PositiveInt
    facet: PositiveInt = 99
    step: Annotated[int, Field(ge=0)] = 0
    configurations: Annotated[int, Field(ge=2)]
    simulator: Literal["own", "abtem"] = "own"
    drawn: bool = False
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def nominal(self) -> Settings:
        """The nominal settings."""
        return self.settings(self.detector_mrad)

    @property
    def true(self) -> Settings:
        """The settings that are simulated."""
        if not self.drawn:
            return self.nominal
        generator = np.random.default_rng(self.seed)
        names = [name for name in STD if name != "gain"]
        off = {n: getattr(self.nominal, n) + STD[n] * generator.standard_normal() for n in names}
        return replace(self.nominal, **{n: round(value, 4) for n, value in off.items()})


class Config(Model):
    """Schema of the configuration.

    Attributes:
        source_angstrom: standard deviation of the Gaussian source of measured.tif.
        dose_per_angstrom2: of measured.tif.
        seed: of the first configuration of each image, and of the noise of measured.tif.
    """

    particles: Annotated[list[Particle], Field(min_length=1)]
    source_angstrom: PositiveFloat
    dose_per_angstrom2: PositiveFloat
    seed: Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Columns:
    """Atomic columns in the box.

    Attributes:
        positions_angstrom: (columns, 2).
        n_atoms: (columns,).
        layer: number of the atomic plane of each column in the repeat.
    """

    positions_angstrom: np.ndarray
    n_atoms: np.ndarray
    layer: np.ndarray

    def atoms(self, repeat_angstrom: float, layers: int) -> np.ndarray:
        """Positions x, y, z [Å] of all atoms, each column centred along the beam."""
        return np.array(
            [
                (*site, (k - count // 2 + layer / layers) * repeat_angstrom)
                for site, count, layer in zip(
                    self.positions_angstrom, self.n_atoms, self.layer, strict=True
                )
                for k in range(count)
            ]
        )


def columns(particle: Particle) -> Columns:
    """The columns of an ellipsoid with facets and a step, around a column in the box's centre."""
    settings = particle.nominal
    zone = settings.zone_axis_data
    cell = np.array(zone.cell) * settings.element_data.lattice_angstrom
    corners = np.array([(i, j) for i in range(-9, 10) for j in range(-9, 10)], float)
    sites = np.concatenate([corners + site for layer in zone.layers for site in layer]) * cell
    layer = np.repeat(
        [number for number, layer in enumerate(zone.layers) for _ in layer], len(corners)
    )
    distance = np.hypot(*(sites / particle.radii_angstrom).T)
    inside = distance < 1
    heights = particle.thickest * np.sqrt(1 - distance[inside] ** 2)
    counts = np.clip(np.round(heights), 1, particle.facet).astype(int)
    counts[(sites[inside, 0] > 1.0) & (counts > particle.step)] -= particle.step
    return Columns(sites[inside] + particle.box_angstrom / 2, counts, layer[inside])


def scan_options(particle: Particle, seed: int) -> ScanOptions:
    """A grid that includes the detector, and scan steps of about λ/4α, which resolve the probe."""
    wavelength = float(wavelength_angstrom(particle.voltage_kv))
    finest = 2 * 1e-3 * 1.05 * particle.detector_mrad[1] / wavelength
    step = wavelength / (4 * 1e-3 * particle.convergence_mrad)
    return ScanOptions(
        pixels=2 * scipy.fft.next_fast_len(int(np.ceil(particle.box_angstrom * finest / 2))),
        scan_step_angstrom=round(step / 1.005, 4),
        configurations=1,
        core_correction=True,
        own_displacements=True,
        seed=seed,
    )


def simulated(particle: Particle, seed: int, parts: Path) -> np.ndarray:
    """The image of one configuration, (x, y), from its file if there is one."""
    settings, options = particle.true, scan_options(particle, seed)
    zone, a = settings.zone_axis_data, settings.element_data.lattice_angstrom
    atoms = columns(particle).atoms(zone.repeat * a, len(zone.layers))
    box = particle.box_angstrom
    what = repr((settings, np.round(atoms, 3).tolist(), box, options, particle.simulator))
    digest = hashlib.sha256(what.encode()).hexdigest()[:8]
    file = parts / f"{particle.name}_{digest}_{seed}.npy"
    if file.is_file():
        return np.load(file)
    if particle.simulator == "own":
        image, _ = simulate_image(settings, atoms, (box, box), zone.slice_thickness * a, options)
    else:
        image = abtem_image(settings, atoms, box, zone.slice_thickness * a, options)
    with replacing(file) as temporary:
        np.save(temporary, image)
    print(f"{particle.name}: configuration of seed {seed}", file=sys.stderr, flush=True)
    return image


def nearest_sums(images: np.ndarray, particle: Particle) -> np.ndarray:
    """Sums over the pixels that are nearest to each column, (configurations, columns)."""
    pixel = particle.box_angstrom / images.shape[1]
    positions = columns(particle).positions_angstrom
    at = np.stack(np.meshgrid(*2 * [np.arange(images.shape[1]) * pixel], indexing="ij"), axis=-1)
    tree = scipy.spatial.cKDTree(positions)
    _, nearest = tree.query(at, distance_upper_bound=0.35 * particle.box_angstrom)
    of_column = [images[:, nearest == number].sum(axis=1) for number in range(len(positions))]
    return np.array(of_column).T


def save_image(path: Path, pixels: np.ndarray, box_angstrom: float) -> None:
    """Save an image, rows along y, with its pixel size."""
    per_angstrom = len(pixels) / box_angstrom
    with replacing(path) as temporary:
        tifffile.imwrite(
            temporary,
            pixels.astype(np.float32),
            imagej=True,
            resolution=(per_angstrom, per_angstrom),
            metadata={"unit": "Angstrom"},
        )


def measured(config: Config, pixels: np.ndarray, box_angstrom: float) -> np.ndarray:
    """An image with a source of finite size and the noise of a dose."""
    pixel = box_angstrom / len(pixels)
    blurred = scipy.ndimage.gaussian_filter(pixels, config.source_angstrom / pixel, mode="wrap")
    electrons = config.dose_per_angstrom2 * pixel**2
    return np.random.default_rng(config.seed).poisson(blurred * electrons) / electrons


def of_particle(config: Config, particle: Particle, out: Path) -> dict[str, Any]:
    """Simulate and save a particle, and return its row of the results."""
    parts = out / "parts"
    parts.mkdir(exist_ok=True)
    seeds = range(config.seed, config.seed + particle.configurations)
    images = np.array([simulated(particle, seed, parts) for seed in seeds])
    # Images have rows along y; positions count from the centre of the first pixel.
    image = images.mean(axis=0).T.astype(np.float32)
    save_image(out / f"{particle.name}.tif", image, particle.box_angstrom)
    sums = nearest_sums(images, particle)
    error = 100 * sums.std(axis=0, ddof=1) / np.sqrt(len(seeds)) / sums.mean(axis=0)
    own = columns(particle)
    rows = [
        {
            "x_angstrom": round(float(x), 4),
            "y_angstrom": round(float(y), 4),
            "count": int(count),
            "thermal_error_percent": round(float(percent), 2),
        }
        for (x, y), count, percent in zip(own.positions_angstrom, own.n_atoms, error, strict=True)
    ]
    save_csv(out / f"{particle.name}.csv", rows)
    return {
        "name": particle.name,
        "columns": len(own.n_atoms),
        "atoms": int(own.n_atoms.sum()),
        "pixels": len(image),
        **{name: float(getattr(particle.true, name)) for name in STD if name != "gain"},
        "thermal_error_percent": float(np.sqrt(np.mean(error**2))),
    }


def run(config: Config, out: Path) -> None:
    """Simulate, print, save."""
    rows = [of_particle(config, particle, out) for particle in config.particles]
    show_rows(rows)
    first = config.particles[0]
    pixels = tifffile.imread(out / f"{first.name}.tif").astype(float)
    save_image(
        out / "measured.tif", measured(config, pixels, first.box_angstrom), first.box_angstrom
    )
    content = {"config": config.model_dump(), "provenance": provenance("abtem"), "particles": rows}
    save_json(out / "result.json", content)


command = partial(main, __doc__, Path(__file__).parent, Config, run)


if __name__ == "__main__":
    sys.exit(command())
