"""Training examples drawn on the fly, as in §2.1 of Lobato, De Backer & Van Aert (2023)."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ppiscs_jax.surrogate.table import KernelTable

DETECTORS = 20
LEAST_WIDTH_MRAD = 10.0
LEAST_INNER_MRAD = 18.0
C30_MM = 1e-3
C10_ANGSTROM = 100.0
"""Table 1 of the paper: consecutive detectors, their least width, the smallest inner angle, and
the largest |C30| and |C10|, which have no effect on PPISCS."""

INNER, OUTER = np.triu_indices(DETECTORS + 1, 1)
"""Edges of the 210 detectors that consecutive ones combine to."""


class Examples(NamedTuple):
    """Settings and their curves.

    Attributes:
        x: the nine numbers of `Settings.to_vector`, shape (simulations, 210, 9).
        y: PPISCS [Å²], shape (simulations, 210, n), 0 where `exists` is False.
        exists: whether a thickness was simulated, shape (simulations, 1, n).
    """

    x: Float[Array, "simulations detectors 9"]
    y: Float[Array, "simulations detectors n"]
    exists: Bool[Array, "simulations 1 n"]


def split_cells(
    table: KernelTable, held_out: float, seed: int
) -> tuple[Int[np.ndarray, "train 2"], Int[np.ndarray, "test 2"]]:
    """Split a table into cells, (group, voltage) indices, for training and for testing.

    Everything interpolated from the same simulations lies in one cell, so that no simulation
    serves both: unlike a split by example, in which the 210 detectors of one simulation leak.

    Args:
        table: the table.
        held_out: fraction of the cells held out.
        seed: of the split.
    """
    groups, voltages = table.beyond.shape[:2]
    cells = np.stack(np.meshgrid(range(groups), range(voltages), indexing="ij"), -1).reshape(-1, 2)
    cells = np.random.default_rng(seed).permutation(cells)
    tests = round(held_out * len(cells))
    return cells[tests:], cells[:tests]


def room_problem(table: KernelTable) -> str | None:
    """Say why the detectors of examples do not fit into a table's kernels, or None."""
    aperture, outer = float(table.ring_edges_mrad[-1]), float(table.angles_mrad[-1])
    needed = max(aperture, LEAST_INNER_MRAD) + DETECTORS * LEAST_WIDTH_MRAD
    if outer >= needed:
        return None
    return (
        f"kernels: end at {outer:g} mrad; must reach {needed:g} mrad or more, for "
        f"{DETECTORS} consecutive detectors of {LEAST_WIDTH_MRAD:g} mrad beyond the largest "
        f"aperture, {aperture:g} mrad"
    )


@partial(jax.jit, static_argnames="simulations")
def sample(
    table: KernelTable,
    cells: Int[Array, "cells 2"],
    key: PRNGKeyArray,
    simulations: int,
) -> Examples:
    """Draw settings uniformly, each with all 210 combinations of 20 consecutive detectors.

    Element, zone axis and voltage are drawn from `cells`; rmsd, aperture, C30 and C10 uniformly
    over their ranges; the first inner angle between the aperture (at least 18 mrad) and the
    largest at which 20 detectors of at least 10 mrad fit in; what they leave over is spread
    uniformly.

    Args:
        table: the kernels, without a `room_problem`.
        cells: (group, voltage) indices to draw from.
        key: random key.
        simulations: number of settings drawn before detectors.
    """

    def one(key: PRNGKeyArray) -> Examples:
        drawn = _draw(table, jnp.asarray(cells), key)
        beyond = drawn.beyond(table, drawn.edges_mrad)
        x = drawn.inputs(drawn.edges_mrad[INNER], drawn.edges_mrad[OUTER])
        return Examples(x, beyond[INNER] - beyond[OUTER], drawn.exists)

    return jax.vmap(one)(jax.random.split(key, simulations))


@partial(jax.jit, static_argnames="examples")
def sample_one_each(
    table: KernelTable,
    cells: Int[Array, "cells 2"],
    key: PRNGKeyArray,
    examples: int,
) -> Examples:
    """Independent examples: as `sample`, but one of the 210 detectors for each setting.

    The shapes are (examples, 1, …).
    """

    def one(key: PRNGKeyArray) -> Examples:
        of_settings, of_detector = jax.random.split(key)
        drawn = _draw(table, jnp.asarray(cells), of_settings)
        chosen = jax.random.randint(of_detector, (), 0, len(INNER))
        edges = drawn.edges_mrad[jnp.asarray(np.stack([INNER, OUTER], axis=1))[chosen]]
        beyond = drawn.beyond(table, edges)
        return Examples(drawn.inputs(edges[:1], edges[1:]), beyond[:1] - beyond[1:], drawn.exists)

    return jax.vmap(one)(jax.random.split(key, examples))


class _Drawn(NamedTuple):
    """One draw of settings: indices of nodes, numbers, edges of detectors, the first inputs."""

    group: Int[Array, ""]
    voltage: Int[Array, ""]
    rmsd_angstrom: Float[Array, ""]
    convergence_mrad: Float[Array, ""]
    edges_mrad: Float[Array, " edges"]
    first_inputs: Float[Array, " 6"]
    exists: Bool[Array, "1 n"]

    def beyond(
        self, table: KernelTable, angles_mrad: Float[Array, " angles"]
    ) -> Float[Array, "angles n"]:
        """Cross-sections beyond angles [Å²]."""
        return table.beyond_angles(
            self.group, self.voltage, self.rmsd_angstrom, self.convergence_mrad, angles_mrad
        )

    def inputs(
        self, inner_mrad: Float[Array, " detectors"], outer_mrad: Float[Array, " detectors"]
    ) -> Float[Array, "detectors 9"]:
        """The nine numbers for each detector."""
        before = jnp.broadcast_to(self.first_inputs, (len(inner_mrad), len(self.first_inputs)))
        rmsd = jnp.full_like(inner_mrad, self.rmsd_angstrom)
        return jnp.column_stack([before, inner_mrad, outer_mrad, rmsd])


def _draw(table: KernelTable, cells: Int[Array, "cells 2"], key: PRNGKeyArray) -> _Drawn:
    keys = jax.random.split(key, 7)
    group, voltage = jax.random.choice(keys[0], cells)

    def uniform(index: int, low: Any, high: Any) -> Any:
        return jax.random.uniform(keys[index], minval=low, maxval=high)

    rmsd = uniform(1, table.rmsd_angstrom[group, 0], table.rmsd_angstrom[group, -1])
    convergence = uniform(2, table.ring_edges_mrad[1], table.ring_edges_mrad[-1])
    span = DETECTORS * LEAST_WIDTH_MRAD
    largest = table.angles_mrad[-1]
    inner = uniform(3, jnp.maximum(convergence, LEAST_INNER_MRAD), largest - span)
    spare = jnp.sort(jax.random.uniform(keys[4], (DETECTORS,))) * (largest - span - inner)
    widths = LEAST_WIDTH_MRAD * jnp.arange(1, DETECTORS + 1)
    first_inputs = jnp.stack(
        [
            table.atomic_numbers[group].astype(float),
            table.zone_codes[group].astype(float),
            table.voltages_kv[voltage],
            uniform(5, -C30_MM, C30_MM),
            uniform(6, -C10_ANGSTROM, C10_ANGSTROM),
            convergence,
        ]
    )
    return _Drawn(
        group=group,
        voltage=voltage,
        rmsd_angstrom=rmsd,
        convergence_mrad=convergence,
        edges_mrad=jnp.concatenate([inner[None], inner + widths + spare]),
        first_inputs=first_inputs,
        exists=(jnp.arange(table.beyond.shape[-1]) < table.thickest[group])[None],
    )
