"""The explorer: one HTML page that holds the default surrogate and needs nothing else."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from ppiscs_jax.constants import ELECTRON_REST_ENERGY_KEV, PLANCK_TIMES_C_KEV_ANGSTROM
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES, zone_axis
from ppiscs_jax.errors import InputError
from ppiscs_jax.explorer.weights import Group, read_compact, read_groups
from ppiscs_jax.files import output_problem, replacing
from ppiscs_jax.inverse.error_probability import MOST_DOSE
from ppiscs_jax.settings import RANGES, Column
from ppiscs_jax.surrogate import additive
from ppiscs_jax.surrogate.additive import AdditiveModel
from ppiscs_jax.surrogate.additive_file import load_additive, unpacked
from ppiscs_jax.surrogate.error_model import REFERENCE_APERTURE_MRAD, REFERENCE_WIDTH_MRAD
from ppiscs_jax.surrogate.predict import load_surrogate, predict, shipped_file

SUFFIXES = (".html", ".htm")

SCRIPTS = (
    "model.js",
    "counting.js",
    "curvefile.js",
    "settings.js",
    "charts.js",
    "results.js",
    "page.js",
)
"""Source files of the page's script, in the order in which they are put together."""

CONSTANTS = (
    "VOLTAGE_GAP",
    "REFERENCE_KV",
    "REFERENCE_MRAD",
    "REACH_MRAD",
    "PAST_ZONE",
    "FALL_MRAD",
    "LARGEST_MRAD",
)
"""Constants of `surrogate.additive` that `model.js` uses."""

CHECKED_SETTINGS = 200
"""Random settings at which the error of compact weights is measured."""


def write_page(
    path: str | Path,
    zones: Sequence[str] | None = None,
    compact: bool = False,
    surrogate: str | Path | None = None,
) -> None:
    """Write the explorer page, whole or not at all.

    The page evaluates the default surrogate in the browser. It works from a file, and requests
    nothing from the network.

    Args:
        path: an .html file.
        zones: zone axes to keep, for a smaller page. Default: all.
        compact: round the weights. The page is about a third as large, and states and shows the
            error that comes from it.
        surrogate: file of an additive model. Default: the one that comes with the package.

    Raises:
        InputError: the path cannot be written, there is no such zone axis, or the file holds no
            additive model.
    """
    if problem := output_problem(path, SUFFIXES):
        raise InputError(problem)
    content = explorer_page(zones, compact, surrogate)
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8", newline="\n")


def explorer_page(
    zones: Sequence[str] | None = None,
    compact: bool = False,
    surrogate: str | Path | None = None,
) -> str:
    """The explorer page as text; arguments and errors as in `write_page`."""
    names = None if zones is None else tuple(zone_axis(name).name for name in zones)
    with shipped_file() if surrogate is None else nullcontext(surrogate) as path:
        shared, groups = (read_compact if compact else read_groups)(path, names)
    if not groups:
        raise InputError(f"zones = {', '.join(zones or ())}: the surrogate has no such zone axis")
    model = load_surrogate() if surrogate is None else load_additive(surrogate)
    spread, largest = rounding_error(model, groups) if compact else (0.0, 0.0)
    about = {
        **shared,
        "groups": [group.about for group in groups],
        "rounding_error": spread,
        "largest_rounding_error": largest,
        "compact": compact,
        "version": version("ppiscs-jax"),
        "limits": model.trained_range.limits,
        "ranges": RANGES,
        "most_dose": MOST_DOSE,
        "constants": {name: getattr(additive, name) for name in CONSTANTS},
        "error": {
            **dataclasses.asdict(additive.ERROR),
            "reference_width_mrad": REFERENCE_WIDTH_MRAD,
            "reference_aperture_mrad": REFERENCE_APERTURE_MRAD,
        },
        "rest_energy_kev": ELECTRON_REST_ENERGY_KEV,
        "planck_times_c": PLANCK_TIMES_C_KEV_ANGSTROM,
        "elements": {
            symbol: {
                "lattice_angstrom": e.lattice_angstrom,
                "debye_waller_low": e.debye_waller_low,
                "debye_waller_high": e.debye_waller_high,
                "hottest_k": min(1000.0, e.melting_k),
            }
            for symbol, e in ELEMENTS.items()
        },
        "spacing": {name: zone.repeat for name, zone in ZONE_AXES.items()},
    }
    weights = "\n".join(
        f'<script type="text/plain" id="weights-{place}">{group.text}</script>'
        for place, group in enumerate(groups)
    )
    parts = {
        "style": _source("uplot/uPlot.min.css") + _source("page.css"),
        "licence": _source("uplot/LICENSE"),
        "uplot": _source("uplot/uPlot.iife.min.js"),
        "about": json.dumps(about, ensure_ascii=False, allow_nan=False).replace("</", "<\\/"),
        "weights": weights,
        "script": "\n".join(map(_source, SCRIPTS)),
    }
    page = _source("page.html")
    for name, text in parts.items():
        page = page.replace(f"{{{{{name}}}}}", text.strip(), 1)
    return page


def rounding_error(model: AdditiveModel, groups: Sequence[Group]) -> tuple[float, float]:
    """Difference between curves of rounded and of full weights, divided by the curve's maximum.

    Measured at CHECKED_SETTINGS random settings, detectors outside the aperture and at least
    10 mrad wide. Gives the root-mean-square over settings and thicknesses, and the largest
    deviation that 95 % of the settings keep to.
    """
    random = np.random.default_rng(0)
    sizes = model.aperture.size, model.rmsd.size
    scattered = np.array(model.scattered)
    for group in groups:
        scattered[group.about["index"]] = unpacked(group.parts, *sizes)
    rounded = replace(model, scattered=jnp.asarray(scattered))
    indices = [group.about["index"] for group in groups]
    rows = random_settings(model, random.choice(indices, CHECKED_SETTINGS), random)
    exact = predict(rows, surrogate=model)
    error = predict(rows, surrogate=rounded) - exact
    relative = np.abs(error) / np.nanmax(exact, axis=1, keepdims=True)
    largest = np.quantile(np.nanmax(relative, axis=1), 0.95)
    return float(np.sqrt(np.nanmean(relative**2))), float(largest)


def random_settings(
    model: AdditiveModel, groups: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Random rows of nine numbers inside the trained range, one for each index of a group."""
    limits = model.trained_range.limits
    number = len(groups)
    low, high = np.asarray(model.rmsd_ends, float)[groups].T
    rows = np.zeros((number, 9))
    rows[:, Column.ELEMENT] = np.asarray(model.atomic_numbers)[groups]
    rows[:, Column.ZONE_AXIS] = np.asarray(model.zone_codes)[groups]
    rows[:, Column.VOLTAGE_KV] = random.uniform(*limits["voltage_kv"], number)
    rows[:, Column.CONVERGENCE_MRAD] = random.uniform(*limits["convergence_mrad"], number)
    end = limits["outer_mrad"][1]
    rows[:, Column.INNER_MRAD] = random.uniform(rows[:, Column.CONVERGENCE_MRAD], 0.6 * end)
    rows[:, Column.OUTER_MRAD] = random.uniform(rows[:, Column.INNER_MRAD] + 10, end)
    rows[:, Column.RMSD_ANGSTROM] = random.uniform(low, high)
    return rows


def _source(name: str) -> str:
    return (files("ppiscs_jax.explorer") / name).read_text(encoding="utf-8")
