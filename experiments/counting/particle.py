"""Simulate the ADF image of a small platinum particle whose numbers of atoms are known.

`python -m experiments.counting.particle` writes `result/particle.tif`, the image without noise in
fractions of the incident beam, and `result/particle_counts.csv`, the columns' positions and numbers
of atoms; it takes 40 minutes on one core. Configurations that are done are kept, so that a run
that was stopped goes on from there. From the image follows `result/measured.tif`, with a source of
finite size and a finite dose; where the image is there, only this is made.
"""

import csv
from pathlib import Path

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.files import replacing
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.image import simulate_image
from ppiscs_jax.simulation.scan import ScanOptions

SETTINGS = Settings(
    element="Pt",
    zone_axis="110",
    voltage_kv=300.0,
    convergence_mrad=21.0,
    inner_mrad=46.0,
    outer_mrad=190.0,
    rmsd_angstrom=0.08,
)
BOX_ANGSTROM = (17.5, 17.5)
RADII_ANGSTROM = (6.0, 6.3)
THICKEST = 7
STEP_ANGSTROM = 0.2333
SEEDS = range(8)
"""Each gives an image with thermal displacements of its own; their mean is saved."""

SOURCE_ANGSTROM = 0.4
"""Standard deviation of the Gaussian source."""

DOSE_PER_ANGSTROM2 = 2e4


def columns() -> tuple[np.ndarray, np.ndarray]:
    """Positions [Å], shape (columns, 2), and numbers of atoms of an ellipsoid with one step."""
    a = ELEMENTS["Pt"].lattice_angstrom
    cell = np.array(ZONE_AXES["110"].cell) * a
    corners = np.array([(i, j) for i in range(-4, 5) for j in range(-4, 5)], float)
    sites = np.concatenate([corners, corners + 0.5]) * cell
    distance = np.hypot(*(sites / RADII_ANGSTROM).T)
    inside = distance < 1
    sites, distance = sites[inside], distance[inside]
    counts = np.maximum(np.round(THICKEST * np.sqrt(1 - distance**2)), 1).astype(int)
    # A missing terrace, so that the number of atoms also changes abruptly.
    step = (sites[:, 0] > 1.0) & (counts > 2)
    counts[step] -= 2
    return sites + np.array(BOX_ANGSTROM) / 2, counts


def atoms(sites: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Positions x, y, z [Å] of all atoms, each column centred along the beam."""
    a = ELEMENTS["Pt"].lattice_angstrom
    repeat = ZONE_AXES["110"].repeat * a
    first = sites[np.argmin(np.hypot(*(sites - np.array(BOX_ANGSTROM) / 2).T))]
    shifted = np.round((sites - first)[:, 1] / (a / 2)).astype(int) % 2
    return np.array(
        [
            (*site, (k - count // 2 + 0.5 * odd) * repeat)
            for site, count, odd in zip(sites, counts, shifted, strict=True)
            for k in range(count)
        ]
    )


def simulate(folder: Path) -> None:
    """Simulate and save the image and its numbers of atoms."""
    sites, counts = columns()
    print(f"{len(sites)} columns, {counts.sum()} atoms", flush=True)
    parts = folder / "parts"
    parts.mkdir(exist_ok=True)
    image = np.mean([simulated(seed, parts / f"particle_{seed}.npy") for seed in SEEDS], axis=0)
    # Images have rows along y; positions count from the centre of the first pixel.
    save(folder / "particle.tif", image.T)
    with open(folder / "particle_counts.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["x_angstrom", "y_angstrom", "count"])
        for site, count in zip(sites, counts, strict=True):
            writer.writerow([*(f"{v:.4f}" for v in site), count])


def simulated(seed: int, file: Path) -> np.ndarray:
    """The image of one seed, (x, y), from its file if there is one."""
    if file.is_file():
        return np.load(file)
    image, _ = simulate_image(
        SETTINGS,
        atoms(*columns()),
        BOX_ANGSTROM,
        ZONE_AXES["110"].slice_thickness * ELEMENTS["Pt"].lattice_angstrom,
        ScanOptions(
            pixels=360,
            scan_step_angstrom=STEP_ANGSTROM,
            configurations=1,
            core_correction=True,
            positions_at_once=8,
            own_displacements=True,
            seed=seed,
        ),
    )
    with replacing(file) as temporary:
        np.save(temporary, image)
    print(f"configuration {seed + 1} of {len(SEEDS)}", flush=True)
    return image


def save(path: Path, pixels: np.ndarray) -> None:
    """Save an image with its pixel size."""
    per_angstrom = len(pixels) / BOX_ANGSTROM[1]
    tifffile.imwrite(
        path,
        pixels.astype(np.float32),
        imagej=True,
        resolution=(per_angstrom, per_angstrom),
        metadata={"unit": "Angstrom"},
    )


def measure(folder: Path, seed: int = 0) -> None:
    """Add a source of finite size and the noise of a dose to the image, and save it."""
    pixels = tifffile.imread(folder / "particle.tif").astype(float)
    pixel = BOX_ANGSTROM[1] / len(pixels)
    blurred = gaussian_filter(pixels, SOURCE_ANGSTROM / pixel, mode="wrap")
    electrons = DOSE_PER_ANGSTROM2 * pixel**2
    noisy = np.random.default_rng(seed).poisson(blurred * electrons) / electrons
    save(folder / "measured.tif", noisy)


def main() -> None:
    """Simulate where there is no image yet, then add source and noise."""
    folder = Path(__file__).parent / "result"
    if not (folder / "particle.tif").is_file():
        simulate(folder)
    measure(folder)


if __name__ == "__main__":
    main()
