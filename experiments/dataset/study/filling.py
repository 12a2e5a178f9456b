"""How evenly the reciprocal lattice of a supercell fills annuli of the diffraction plane.

Every tilt inside the aperture scatters onto the points of one and the same lattice, shifted by
the tilt. The mean over an aperture is a sum over discs of radius α around lattice points: where
these leave gaps or overlap, an annulus gets too little or too much of smooth diffuse scattering.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from experiments.common import Annulus
from experiments.dataset.study.schema import Config, Filling
from experiments.dataset.study.simulate import grid_of
from ppiscs_jax.campaign.config import Campaign
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.settings import Settings


def common_area(distance: np.ndarray, radius: float, other: np.ndarray) -> np.ndarray:
    """Area that two discs share, from the distance of their centres."""
    d = np.maximum(distance, 1e-9)
    near = np.clip((d**2 + radius**2 - other**2) / (2 * d * radius), -1, 1)
    far = np.clip((d**2 + other**2 - radius**2) / (2 * d * other), -1, 1)
    # Sectors minus triangles: 0 where discs are apart, the smaller disc where it lies inside.
    return radius**2 * (np.arccos(near) - near * np.sqrt(1 - near**2)) + other**2 * (
        np.arccos(far) - far * np.sqrt(1 - far**2)
    )


def deviation(
    spacing_mrad: tuple[float, float], convergence_mrad: float, inner: np.ndarray, width: float
) -> np.ndarray:
    """Scattering that annuli get of an even distribution, relative to their share, minus 1."""
    gx, gy = spacing_mrad
    reach = inner.max() + width + convergence_mrad
    x, y = (g * np.arange(int(reach / g) + 1) for g in (gx, gy))
    distance = np.hypot(x[:, None], y)
    copies = np.where(x > 0, 2, 1)[:, None] * np.where(y > 0, 2, 1)
    near = distance < reach
    distance, copies = distance[near], copies[near]

    def inside(radius: np.ndarray) -> np.ndarray:
        areas = common_area(distance[:, None], convergence_mrad, radius)
        return copies @ areas / (np.pi * convergence_mrad**2) * gx * gy

    share = np.pi * ((inner + width) ** 2 - inner**2)
    return (inside(inner + width) - inside(inner)) / share - 1


def detector_deviation(
    spacing_mrad: tuple[float, float],
    convergence_mrad: float,
    detector_mrad: Annulus,
    diffuse: Callable[[np.ndarray], np.ndarray] = np.ones_like,
) -> float:
    """What a detector gets too much of scattering that falls like θ⁻⁴, relative.

    `diffuse` is the diffuse share of the scattering at an angle [mrad], by default all of it.
    Bragg reflections lie on the lattice of every supercell and are not in error.
    """
    inner = np.arange(*detector_mrad)
    middle = inner + 0.5
    found = deviation(spacing_mrad, convergence_mrad, inner, 1.0) * diffuse(middle)
    return float(np.average(found, weights=middle**-3.0))


def diffuse_share(settings: Settings, angle_mrad: np.ndarray) -> np.ndarray:
    """1 − exp(−4π² u² g²), g = θ / λ: what one scattering by displaced atoms leaves diffuse."""
    g = angle_mrad / (1e3 * float(wavelength_angstrom(settings.voltage_kv)))
    return 1 - np.exp(-((2 * np.pi * float(settings.rmsd_angstrom) * g) ** 2))


def annuli(filling: Filling) -> np.ndarray:
    """Inner angles [mrad] of the annuli, from just above the aperture."""
    return np.arange(filling.convergence_mrad + 2, filling.to_mrad - filling.width_mrad, 1.0)


def spacings(grid: CrystalGrid, settings: Settings) -> tuple[float, float]:
    """Distances [mrad] of the lattice points of a grid's supercell."""
    unit = 1e3 * float(wavelength_angstrom(settings.voltage_kv))
    a, b = (length * settings.element_data.lattice_angstrom for length in grid.lengths)
    return unit / a, unit / b


def filling_rows(config: Config, campaign: Campaign) -> list[dict[str, Any]]:
    """Lattices of every spacing, square and 1 : √2, and all those of the campaign."""
    filling = config.filling
    steps = np.arange(
        filling.from_spacing_mrad, filling.to_spacing_mrad + 1e-9, filling.step_mrad
    ).tolist()
    rows = [_row(config, campaign, "square", (g, g)) for g in steps]
    rows += [_row(config, campaign, "1 : √2", (g, g / np.sqrt(2))) for g in steps]
    for task in campaign.tasks():
        if task.rmsd_angstrom == max(campaign.rmsd_angstrom):
            settings = task.settings(filling.convergence_mrad, campaign.detectors_mrad[0])
            spacing = spacings(grid_of(config, campaign, settings), settings)
            name = f"{task.element} [{task.zone_axis}] {task.voltage_kv:g} kV"
            diffuse = partial(diffuse_share, settings)
            rows.append(_row(config, campaign, name, spacing, diffuse))
    return rows


def _row(
    config: Config,
    campaign: Campaign,
    name: str,
    spacing: tuple[float, float],
    diffuse: Callable[[np.ndarray], np.ndarray] = np.ones_like,
) -> dict[str, Any]:
    """Errors of annuli, of their diffuse part, and of the detectors of the noise limits."""
    filling = config.filling
    inner, alpha, width = annuli(filling), filling.convergence_mrad, filling.width_mrad
    found = 1e3 * deviation(spacing, alpha, inner, width)
    worst = int(np.argmax(np.abs(found)))
    wide = [detector_deviation(spacing, alpha, d, diffuse) for d in campaign.detectors_mrad]
    return {
        "lattice": name,
        "wider_mrad": max(spacing),
        "closer_mrad": min(spacing),
        "rms_permille": float(np.sqrt(np.mean(found**2))),
        "largest_permille": float(abs(found[worst])),
        "largest_from_mrad": float(inner[worst]),
        "diffuse_largest_permille": float(np.abs(found * diffuse(inner + width / 2)).max()),
        "wide_permille": float(1e3 * np.abs(wide).max()),
    }
