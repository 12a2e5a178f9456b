"""Kernels of a data set as one dense array that can be interpolated inside jit."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES, column_area_angstrom2
from ppiscs_jax.errors import InputError
from ppiscs_jax.io.compression import expand_mean
from ppiscs_jax.io.kernels import read_kernels, settings_of
from ppiscs_jax.types import Scalar

EXACT = jax.lax.Precision.HIGHEST
"""GPUs would round products to three digits: detectors are differences of larger numbers."""

MOST_NUMBERS = 250_000_000
"""Of a table, which is 1 GB; that of experiments/dataset has 162 million."""

NEIGHBOURS = 4
"""Nodes that an interpolation uses along each axis: cubic polynomials."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KernelTable:
    """Mean kernels on a grid of element and zone axis, voltage, rmsd, aperture and angle.

    Attributes:
        beyond: column area times the fraction scattered beyond a collection angle, mean over
            an aperture times its α² [Å² mrad²], shape (groups, voltages, rmsd, apertures, angles,
            n), 0 where a thickness was not simulated. Running integrals over the aperture's
            area: exact at the edges of rings, and smooth, because the unscattered beam is
            left out: it would put a kink where tilts pass a collection angle.
        unscattered: column area times the fraction left in the unscattered beam, about, by ring
            of tilts [Å²], shape (groups, voltages, rmsd, apertures, n).
        atomic_numbers, zone_codes: of the groups, shape (groups,), coded as in
            `Settings.to_vector`.
        thickest: atoms per column up to which a group was simulated, shape (groups,).
        rmsd_angstrom: the nodes of rmsd of each group, shape (groups, rmsd).
        voltages_kv, ring_edges_mrad, angles_mrad: the other nodes; rings from 0, so that there is
            one edge more than apertures.
    """

    beyond: Float[Array, "groups voltages rmsd apertures angles n"]
    unscattered: Float[Array, "groups voltages rmsd apertures n"]
    atomic_numbers: Int[Array, " groups"]
    zone_codes: Int[Array, " groups"]
    thickest: Int[Array, " groups"]
    voltages_kv: Float[Array, " voltages"]
    rmsd_angstrom: Float[Array, "groups rmsd"]
    ring_edges_mrad: Float[Array, " edges"]
    angles_mrad: Float[Array, " angles"]

    def beyond_angles(
        self,
        group: Int[Array, ""],
        voltage: Int[Array, ""],
        rmsd_angstrom: Scalar,
        convergence_mrad: Scalar,
        angles_mrad: Float[Array, " wanted"],
    ) -> Float[Array, "wanted n"]:
        """Cross-section [Å²] of all that is scattered beyond some collection angles.

        Group and voltage are indices of nodes, the rest is interpolated by cubics. Detectors
        are differences of two; differentiable, and for use inside jit.
        """
        at_rmsd, rmsd_weights = neighbours(self.rmsd_angstrom[group], rmsd_angstrom)
        squared = jnp.square(convergence_mrad)
        edges = self.ring_edges_mrad**2
        at_edge, edge_weights = neighbours(edges, squared)
        # At no aperture the integral is 0, and not stored.
        at_aperture = jnp.maximum(at_edge - 1, 0)
        aperture_weights = jnp.where(at_edge > 0, edge_weights, 0)
        at_angle, angle_weights = jax.vmap(lambda x: neighbours(self.angles_mrad, x))(angles_mrad)
        near = self.beyond[
            group,
            voltage,
            at_rmsd[:, None, None, None],
            at_aperture[:, None, None],
            at_angle,
        ]
        weights = jnp.einsum(
            "i,j,kl->ijkl", rmsd_weights, aperture_weights, angle_weights, precision=EXACT
        )
        scattered = jnp.einsum("ijkln,ijkl->kn", near, weights, precision=EXACT)
        # Tilts inside the aperture and beyond the angle, as an area of each ring.
        low = jnp.maximum(edges[:-1], jnp.square(angles_mrad)[:, None])
        beyond = jnp.maximum(jnp.minimum(edges[1:], squared) - low, 0)
        unscattered = jnp.einsum(
            "i,irn->rn",
            rmsd_weights,
            self.unscattered[group, voltage, at_rmsd],
            precision=EXACT,
        )
        direct = jnp.matmul(beyond, unscattered, precision=EXACT)
        return (scattered + direct) / squared


def neighbours(
    nodes: Float[Array, " nodes"], x: Scalar
) -> tuple[Int[Array, " near"], Float[Array, " near"]]:
    """Indices and Lagrange weights of the nodes nearest to x on both sides, four or all."""
    near = min(NEIGHBOURS, len(nodes))
    after = jnp.searchsorted(nodes, x)
    first = jnp.clip(after - near // 2, 0, len(nodes) - near)
    indices = first + jnp.arange(near)
    at = nodes[indices]
    own = jnp.eye(near, dtype=bool)
    factors = jnp.where(own, 1.0, (x - at) / jnp.where(own, 1.0, at[:, None] - at))
    return indices, jnp.prod(factors, axis=1)


def load_table(paths: Iterable[str | Path]) -> KernelTable:
    """The kernels of files, as one table.

    Args:
        paths: files of kernels, packed or not, that together fill a grid: every element and
            zone axis at every voltage, at as many rmsd, all with the same rings and the same first
            and last angle. The table has the edges of all bins. A kernel is interpolated by cubic
            splines at edges that it does not have itself.

    Raises:
        InputError: a file is damaged, or of a mistilted crystal, or the kernels do not fill a grid.
        FileNotFoundError: there is no such file.
    """
    curves: dict[tuple[str, str], dict[tuple[float, float], tuple]] = {}
    rings_found: set[tuple] = set()
    edges_found: set[tuple] = set()
    for path in paths:
        for name, metadata, arrays in read_kernels(path):
            settings = settings_of(metadata)
            if any(settings["mistilt_mrad"]):
                raise InputError(f"{path}: kernel {name}: is of a mistilted crystal")
            key = (settings["element"], settings["zone_axis"])
            rings, angles = arrays["ring_edges_mrad"], arrays["angle_edges_mrad"].round(6)
            rings_found.add(tuple(rings))
            edges_found.add(tuple(angles))
            area = column_area_angstrom2(ELEMENTS[key[0]], ZONE_AXES[key[1]])
            # Nothing is scattered beyond the last edge.
            try:
                fractions = expand_mean(arrays)
            except ValueError as error:
                raise InputError(f"{path}: kernel {name}: {error}") from error
            beyond = area * np.pad(fractions, ((0, 0), (0, 0), (0, 1)))
            node = (settings["voltage_kv"], settings["rmsd_angstrom"])
            group = curves.setdefault(key, {})
            if node in group:
                raise InputError(f"{path}: kernel {name}: of settings that another kernel has too")
            split = split_unscattered(np.swapaxes(beyond, 1, 2), rings, angles)
            group[node] = (*split, angles)
    if not curves:
        raise InputError("kernels: there are none")
    voltages = sorted({voltage for group in curves.values() for voltage, _ in group})
    rmsd = [sorted({r for _, r in group}) for group in curves.values()]
    problems = [
        f"{element} [{zone}]: not simulated at {v:g} kV, {r:g} Å, as others are"
        for ((element, zone), group), nodes in zip(curves.items(), rmsd, strict=True)
        for v in voltages
        for r in nodes
        if (v, r) not in group
    ]
    if len({len(nodes) for nodes in rmsd}) > 1:
        problems.append("kernels: simulated at more rmsd for some specimens than for others")
    if len(rings_found) > 1:
        problems.append("kernels: of different rings of tilts")
    if len({(edges[0], edges[-1]) for edges in edges_found}) > 1:
        problems.append("kernels: begin or end at different collection angles")
    angles = np.unique(np.concatenate(list(edges_found)))
    if problems or (problems := _size_problem(curves, len(angles))):
        raise InputError(problems)
    return _table(curves, voltages, rmsd, next(iter(rings_found)), angles)


def _size_problem(curves: Any, angles: int) -> list[str]:
    """Say why a table of these kernels would be too large, or nothing."""
    kernels = [running for group in curves.values() for running, *_ in group.values()]
    thickest = max(running.shape[-1] for running in kernels)
    numbers = sum(len(running) * angles * thickest for running in kernels)
    if numbers <= MOST_NUMBERS:
        return []
    return [f"kernels: {numbers} numbers in one table; at most {MOST_NUMBERS} are taken"]


def split_unscattered(
    beyond: np.ndarray, rings: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Running integral over rings without the unscattered beam, and that beam by ring.

    In: cross-sections beyond angles, mean over each ring, (rings, angles, n). Over a ring's
    width S falls by the unscattered beam, and as fast as on both sides of it by the rest.
    """
    from scipy.interpolate import CubicHermiteSpline

    slope = np.diff(beyond, axis=1) / np.diff(angles)[:, None]
    unscattered = np.zeros_like(beyond[:, 0])
    share = np.zeros(beyond.shape[:2])
    inside: list[tuple[int, int, int]] = []
    for r, (low, high) in enumerate(pairwise(rings)):
        first = max(int(np.searchsorted(angles, low, side="right")) - 1, 0)
        last = int(np.searchsorted(angles, high))
        if last >= len(angles) - 1:
            continue
        rest = slope[r, last] if first == 0 else (slope[r, last] + slope[r, first - 1]) / 2
        fall = beyond[r, first] - beyond[r, last] + rest * (angles[last] - angles[first])
        unscattered[r] = np.maximum(fall, 0)
        share[r] = np.clip((high**2 - angles**2) / (high**2 - low**2), 0, 1)
        inside.append((r, first, last))
    scattered = beyond - unscattered[:, None] * share[..., None]
    for r, first, last in inside:
        if first == 0:
            continue
        # Tilts fill a ring evenly only on average: what is scattered goes on smoothly instead.
        ends = scattered[r, [first, last]], slope[r, [first - 1, last]]
        smooth = CubicHermiteSpline(angles[[first, last]], *ends)
        scattered[r, first + 1 : last] = smooth(angles[first + 1 : last])
    running = np.cumsum(np.diff(rings**2)[:, None, None] * scattered, axis=0)
    return running.astype(np.float32), unscattered.astype(np.float32)


def _table(curves: Any, voltages: Any, rmsd: Any, rings: Any, angles: Any) -> KernelTable:
    from scipy.interpolate import CubicSpline

    thickest = [next(iter(group.values()))[0].shape[-1] for group in curves.values()]
    grid = (len(curves), len(voltages), len(rmsd[0]), len(rings) - 1)
    beyond = np.zeros((*grid, len(angles), max(thickest)), np.float32)
    unscattered = np.zeros((*grid, max(thickest)), np.float32)
    for g, group in enumerate(curves.values()):
        for v, voltage in enumerate(voltages):
            for r, displacement in enumerate(rmsd[g]):
                running, direct, edges = group[voltage, displacement]
                if len(edges) < len(angles):
                    running = CubicSpline(edges, running, axis=1)(angles)
                beyond[g, v, r, ..., : thickest[g]] = running
                unscattered[g, v, r, ..., : thickest[g]] = direct
    elements, zones = zip(*curves, strict=True)
    return KernelTable(
        beyond=jnp.asarray(beyond),
        unscattered=jnp.asarray(unscattered),
        atomic_numbers=jnp.array([ELEMENTS[e].atomic_number for e in elements]),
        zone_codes=jnp.array([ZONE_AXES[z].code for z in zones]),
        thickest=jnp.array(thickest),
        voltages_kv=jnp.array(voltages),
        rmsd_angstrom=jnp.array(rmsd),
        ring_edges_mrad=jnp.array(rings),
        angles_mrad=jnp.array(angles),
    )
