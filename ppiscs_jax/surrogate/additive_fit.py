"""Fit an additive model to a data set: one linear least-squares problem along each axis."""

import jax.numpy as jnp
import numpy as np

from ppiscs_jax.crystal import column_area_angstrom2, repeat_angstrom, specimen_of
from ppiscs_jax.errors import InputError
from ppiscs_jax.surrogate.additive import (
    REFERENCE_MRAD,
    AdditiveModel,
    along_angle,
    along_voltage,
    trained_range,
)
from ppiscs_jax.surrogate.splines import (
    SplineAxis,
    clamped,
    design_matrix,
    interpolating_knots,
)
from ppiscs_jax.surrogate.table import KernelTable

COEFFICIENTS_PER_ATOM = 0.44
THICKNESS_POWER = 0.8
"""Knots are even in n^0.8: curves bend most where they begin. 38 coefficients for 87 atoms leave
out 0.03 % of the maximum, which is noise of single thicknesses."""

FINE_UP_TO_MRAD, LEAST_STEP_MRAD = 50.0, 2.0
SHARP_MRAD = (88.0, 112.0)
"""Beyond the first, nodes of the axis of angles are at least the second apart, except between the
others. There the rings of the first Laue zone along [111] are, for which data have narrower bins:
at √(2λ/c), and for a wave that is tilted by t at √(2λ/c + t²)."""

RMSD_KNOT = 0.3
BENDS_FROM_MRAD, BENDS_OVER_MRAD = 60.0, 40.0
"""Place of the inner knot along rmsd, as a fraction of its range, and places along the axis of
angles from which on, and over which, it comes to count. One cubic misses how rings of Laue zones
fade, by up to 1 % of 20-mrad detectors around them; where there are none it averages more noise."""

INSIDE_WEIGHT = 1e-3
"""Weight of coefficients inside the aperture where coefficients have to be put in falling order."""

SMALL_N = 0.05
"""Thin curves count more: weights are 1 / (SMALL_N + n / largest n)."""


def fit_additive(table: KernelTable) -> AdditiveModel:
    """An additive model of a data set.

    Splines go through the nodes of voltage (quadratic) and aperture (cubic), and through nodes of
    collection angle (quadratic), of which those closer than the model resolves are left out. Along
    rmsd (cubic, at large angles with an inner knot) and thickness they are fitted, which averages
    noise. Groups with no more atoms than coefficients along thickness keep the values themselves.
    The unscattered beam is fitted along rmsd and voltage with coefficients not below 0.

    Raises:
        InputError: the data set has fewer than two voltages, apertures or rmsd.
    """
    few = {
        "voltage": table.voltages_kv,
        "rmsd": table.rmsd_angstrom[0],
        "aperture": table.beyond[0, 0, 0],
    }
    if problems := [f"{name}: at least two are needed" for name, v in few.items() if len(v) < 2]:
        raise InputError(problems)
    low, high = (table.rmsd_angstrom[:, [end]] for end in (0, -1))
    fractions = np.asarray((table.rmsd_angstrom - low) / (high - low), float)
    if np.ptp(fractions, axis=0).max() > 1e-3:
        raise InputError("rmsd: the nodes of some specimens are spaced otherwise than of others")
    rmsd = fractions[0]
    degree = min(3, len(rmsd) - 1)
    inner = [RMSD_KNOT] if len(rmsd) > degree + 2 else []
    voltages = np.asarray(along_voltage(table.voltages_kv), float)
    edges = np.asarray(table.ring_edges_mrad, float)
    angles = np.asarray(table.angles_mrad, float)
    places = _places(angles)
    axes = {
        "voltage": _through(voltages, 2),
        "aperture": _through(edges[1:] ** 2, 3),
        "rmsd": (clamped(0.0, inner, 1.0, degree), degree, rmsd),
        "angle": _through(places, 2),
    }
    solve = {name: np.linalg.pinv(design_matrix(*axis)) for name, axis in axes.items()}
    axes["aperture"], finer = _refined(*axes["aperture"])
    solve["aperture"] = finer @ solve["aperture"]
    largest = table.beyond.shape[-1]
    thickness = _thickness_matrix(largest)
    k = thickness.shape[1]
    weights = 1 / (SMALL_N + np.arange(1, largest + 1) / largest)
    of_thickness = np.linalg.pinv(thickness * weights[:, None]) * weights
    # Inside the aperture what is scattered is a small difference: it gives way to the rest.
    centres = np.convolve(axes["angle"][0][1:-1], [0.5, 0.5], "valid")
    certain = np.where(centres > REFERENCE_MRAD, 1.0, INSIDE_WEIGHT)
    bends = np.clip((centres - BENDS_FROM_MRAD) / BENDS_OVER_MRAD, 0, 1)
    one_cubic = _least_squares(clamped(0.0, [], 1.0, degree), degree, rmsd)
    codes = np.stack([table.atomic_numbers, table.zone_codes], axis=1).tolist()
    specimens = [specimen_of(*pair) for pair in codes]
    scattered, unscattered = [], []
    for group, thickest in enumerate(np.asarray(table.thickest)):
        beyond = _continued(np.asarray(table.beyond[group], float), thickest)
        repeat = repeat_angstrom(*specimens[group])
        nodes = np.asarray(table.voltages_kv), edges[1:]
        beyond = _along_angles(beyond, angles, places, *nodes, repeat)
        direct = np.einsum("rR,VRaN->VraN", one_cubic, np.asarray(table.unscattered[group], float))
        at_rmsd = np.einsum(
            "vV,aA,tT,kN,VRATN->vatkR",
            *(solve[name] for name in ("voltage", "aperture", "angle")),
            np.eye(k, largest) if thickest <= k else of_thickness,
            beyond / (edges[1:] ** 2)[:, None, None],
            optimize=True,
        )
        smooth = at_rmsd @ one_cubic.T
        at_rmsd = smooth + bends[:, None, None] * (at_rmsd - smooth)
        coefficients = np.moveaxis(at_rmsd @ solve["rmsd"].T, -1, 2)
        scattered.append(falling(coefficients, certain))
        for axis, name in ((1, "rmsd"), (0, "voltage")):
            direct = not_negative(design_matrix(*axes[name]), direct, axis)
        unscattered.append(direct)
    splines = {
        name: SplineAxis(jnp.asarray(knots, jnp.float32), degree)
        for name, (knots, degree, _) in axes.items()
    }
    rmsd_ends = jnp.concatenate([low, high], axis=1)
    return AdditiveModel(
        trained_range=trained_range(
            table.atomic_numbers,
            table.zone_codes,
            table.voltages_kv,
            rmsd_ends,
            splines["aperture"],
            splines["angle"],
        ),
        scattered=jnp.asarray(np.stack(scattered), jnp.float32),
        unscattered=jnp.asarray(np.stack(unscattered), jnp.float32),
        thickness=jnp.asarray(thickness.T, jnp.float32),
        atomic_numbers=table.atomic_numbers,
        zone_codes=table.zone_codes,
        thickest=table.thickest,
        column_area=jnp.asarray([column_area_angstrom2(*s) for s in specimens], jnp.float32),
        rmsd_ends=rmsd_ends,
        ring_edges_mrad=table.ring_edges_mrad,
        voltages_kv=table.voltages_kv,
        **splines,
    )


def _along_angles(
    beyond: np.ndarray,
    angles: np.ndarray,
    places: np.ndarray,
    voltages_kv: np.ndarray,
    apertures_mrad: np.ndarray,
    repeat: float,
) -> np.ndarray:
    """A group's table at places along `along_angle` instead of angles.

    (voltages, rmsd, apertures, places, n).
    """
    from scipy.interpolate import CubicSpline

    fine = jnp.linspace(angles[0], angles[-1], 20001)
    moved = np.empty((*beyond.shape[:3], len(places), beyond.shape[-1]))
    for v, voltage in enumerate(voltages_kv):
        for a, aperture in enumerate(apertures_mrad):
            along = np.asarray(along_angle(fine, voltage, aperture, repeat))
            at = np.interp(places, along, fine)
            moved[v, :, a] = CubicSpline(angles, beyond[v, :, a], axis=-2)(at)
    return moved


def _places(angles: np.ndarray) -> np.ndarray:
    """Nodes of the axis of angles, some of the table's."""
    kept = [angles[0]]
    for angle in angles[1:-1]:
        everywhere = angle <= FINE_UP_TO_MRAD or SHARP_MRAD[0] <= angle <= SHARP_MRAD[1]
        if everywhere or angle - kept[-1] > LEAST_STEP_MRAD - 1e-6:
            kept.append(angle)
    return np.array([*kept, angles[-1]])


def falling(coefficients: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The nearest coefficients that fall along the last axis but one and are not negative.

    Noise and kinks make some rise where next to nothing is scattered. `weights`, along that axis,
    say how much each is to stay what it is.
    """
    from scipy.optimize import isotonic_regression

    rows = np.moveaxis(coefficients, -2, -1)
    shape, rows = rows.shape, rows.reshape(-1, rows.shape[-1]).copy()
    for i in np.flatnonzero(np.any(np.diff(rows) > 0, axis=1)):
        rows[i] = isotonic_regression(rows[i], weights=weights, increasing=False).x
    return np.maximum(np.moveaxis(rows.reshape(shape), -1, -2), 0)


def not_negative(matrix: np.ndarray, values: np.ndarray, axis: int) -> np.ndarray:
    """Coefficients along an axis that fit values best by least squares, none below 0.

    Cutting off those of the usual fit instead would raise curves wherever they come near 0.
    """
    from scipy.optimize import nnls

    values = np.moveaxis(values, axis, -1)
    rows = values.reshape(-1, values.shape[-1])
    found = rows @ np.linalg.pinv(matrix).T
    for i in np.flatnonzero(np.any(found < 0, axis=1)):
        found[i] = nnls(matrix, rows[i])[0]
    return np.moveaxis(found.reshape(*values.shape[:-1], -1), -1, axis)


def _through(nodes: np.ndarray, degree: int) -> tuple[np.ndarray, int, np.ndarray]:
    """Knots, degree and nodes of a spline with as many coefficients as nodes."""
    degree = min(degree, len(nodes) - 1)
    return interpolating_knots(nodes, degree), degree, nodes


def _refined(
    knots: np.ndarray, degree: int, nodes: np.ndarray
) -> tuple[tuple[np.ndarray, int, np.ndarray], np.ndarray]:
    """The axis with knots in the middle of its first and last span too, and the matrix to it.

    Splines remain what they are, but coefficients come closer to their values.
    """
    spans = np.unique(knots)
    finer = np.sort(np.append(knots, np.unique([spans[:2].mean(), spans[-2:].mean()])))
    size = len(finer) - degree - 1
    at = np.array([finer[i + 1 : i + 1 + degree].mean() for i in range(size)])
    matrix = np.linalg.solve(design_matrix(finer, degree, at), design_matrix(knots, degree, at))
    return (finer, degree, nodes), matrix


def _least_squares(knots: np.ndarray, degree: int, nodes: np.ndarray) -> np.ndarray:
    """Matrix from values at nodes to those of the spline that fits them best."""
    matrix = design_matrix(knots, degree, nodes)
    return matrix @ np.linalg.pinv(matrix)


def _thickness_matrix(largest: int) -> np.ndarray:
    """Weights of the coefficients at 1, 2, … atoms, shape (n, coefficients)."""
    power = np.arange(1, largest + 1) ** THICKNESS_POWER
    coefficients = max(4, round(COEFFICIENTS_PER_ATOM * largest))
    inner = np.linspace(power[0], power[-1], coefficients - 2)[1:-1]
    return design_matrix(clamped(power[0], inner, power[-1], 3), 3, power)


def _continued(curves: np.ndarray, thickest: int) -> np.ndarray:
    """Extrapolate curves linearly beyond the largest thickness; these values are never returned."""
    slope = np.mean(np.diff(curves[..., max(0, thickest - 6) : thickest], axis=-1), axis=-1)
    further = np.arange(1, curves.shape[-1] - thickest + 1)
    curves[..., thickest:] = curves[..., thickest - 1, None] + slope[..., None] * further
    return curves
