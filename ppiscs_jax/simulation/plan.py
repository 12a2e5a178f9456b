"""The plan of a simulation: all that is fixed before the first wave is computed."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import WHOLE_AZIMUTH, sample_tilts
from ppiscs_jax.multislice.wave import Specimen, make_specimen, scatter_batch
from ppiscs_jax.settings import Settings
from ppiscs_jax.simulation.tilt_control import (
    SampledTilts,
    corrections,
    order_for,
    ring_weights,
    zernike,
    zernike_orders,
)
from ppiscs_jax.types import Scalar

WAVES_PER_ROUND = 8
"""Waves of a batch that share a stock of displaced planes; a batch grows by as many."""

LARGEST_STOCK_BYTES = 2**29
"""Larger stocks of displaced planes are not kept: every wave makes its own planes."""


def power_of_two_rings(edges: Iterable[float]) -> np.ndarray:
    """Split the widest rings until their number is a power of two, as Sobol points like it."""
    edges = sorted({0.0, *map(float, edges)})
    while (len(edges) - 1) & (len(edges) - 2):
        widest = int(np.argmax(np.diff(edges)))
        edges.insert(widest + 1, 0.5 * (edges[widest] + edges[widest + 1]))
    return np.array(edges)


@dataclass(frozen=True)
class Plan:
    """Everything a batch needs, fixed before the first wave.

    Attributes:
        settings: what is simulated; their aperture and detector do not count.
        grid, specimen: the supercell and what the waves meet on it.
        rings_mrad: edges of the rings of tilts [mrad].
        angle_edges_mrad: edges of the collection-angle bins [mrad].
        n_atoms: largest thickness [atoms per column].
        waves_per_round: waves by which a batch grows, a power of two, at least one per ring.
        n_planes: repeats in the stock that a round's waves share. 0 where the stock would be
            too large: every wave then makes its own slices.
        seed: of all random draws.
        tilt_order: largest radial order of the Zernike polynomials that correct the means over
            tilts (`tilt_control`); 0 for plain means.
    """

    settings: Settings
    grid: CrystalGrid
    specimen: Specimen
    rings_mrad: np.ndarray
    angle_edges_mrad: np.ndarray
    n_atoms: int
    waves_per_round: int
    n_planes: int
    seed: int
    tilt_order: int = 0

    @classmethod
    def of(
        cls,
        settings: Settings,
        grid: CrystalGrid,
        rings_mrad: np.ndarray,
        angle_edges_mrad: np.ndarray,
        n_atoms: int,
        seed: int,
    ) -> Self:
        """The plan for settings on a grid: at least one wave a ring in each round."""
        return cls(
            settings=settings,
            grid=grid,
            specimen=make_specimen(settings, grid),
            rings_mrad=rings_mrad,
            angle_edges_mrad=angle_edges_mrad,
            n_atoms=n_atoms,
            waves_per_round=max(WAVES_PER_ROUND, len(rings_mrad) - 1),
            n_planes=n_atoms if stock_bytes(grid, n_atoms) <= LARGEST_STOCK_BYTES else 0,
            seed=seed,
        )

    def on(self, grid: CrystalGrid) -> Self:
        """The same plan on another grid of the same supercell; the plan itself for its own."""
        if grid == self.grid:
            return self
        specimen = make_specimen(self.settings, grid)
        fits = stock_bytes(grid, self.n_atoms) <= LARGEST_STOCK_BYTES
        n_planes = self.n_atoms if fits else 0
        return dataclasses.replace(self, grid=grid, specimen=specimen, n_planes=n_planes)

    def with_control(self, waves: float) -> Self:
        """The same plan with the Zernike polynomials that suit so many waves of all batches."""
        return dataclasses.replace(self, tilt_order=order_for(waves, self.azimuths_deg))

    def tilts(self, batch: int, rounds: range) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tilts of a batch's waves [mrad], their rings, and Zernike polynomials of their tilts.

        Shapes (rounds, waves, 2), (rounds, waves) and (rounds, waves, polynomials).
        """
        tilts, rings = sample_tilts(
            self.azimuths_deg,
            self.rings_mrad,
            (self.seed, batch),
            rounds.start * self.waves_per_round,
            self.waves_per_round,
            len(rounds),
        )
        polynomials = zernike(
            self.zernike_orders,
            np.hypot(*tilts.T) / self.rings_mrad[-1],
            np.arctan2(*tilts.T[::-1]) - np.deg2rad(self.azimuths_deg[0]),
        )
        tilts = (tilts + np.asarray(self.settings.mistilt_mrad)).astype(np.float32)
        shape = len(rounds), self.waves_per_round
        return tilts.reshape(*shape, 2), rings.reshape(shape), polynomials.reshape(*shape, -1)

    def weights(self, rings: np.ndarray, polynomials: np.ndarray) -> np.ndarray:
        """Weights of waves in the sums, (…, rings and polynomials)."""
        inside = np.eye(len(self.rings_mrad) - 1)[rings]
        weighted = ring_weights(self.rings_mrad)[rings, None] * polynomials
        return np.concatenate([inside, weighted], axis=-1)

    def grow(self, batch: int, round_number: int) -> np.ndarray:
        """Sums of a batch's next waves, shape (rings and polynomials, n, bins and lost).

        The waves are computed one after the other, which is fastest on CPUs;
        `accelerator.grow` computes the waves of all batches at once.
        """
        tilts, rings, polynomials = self.tilts(batch, range(round_number, round_number + 1))
        fractions = np.asarray(self._scatter(tilts[0], batch, round_number), dtype=float)
        weights = self.weights(rings[0], polynomials[0])
        return np.tensordot(weights.T, fractions[: self.waves_per_round], 1)

    def means(self, sums: np.ndarray, batches: Iterable[int], rounds: int) -> np.ndarray:
        """Batch means in every ring, (batches, rings, …), from the sums of the first rounds."""
        n_rings = len(self.rings_mrad) - 1
        plain = sums[:, :n_rings] * (n_rings / (rounds * self.waves_per_round))
        if not self.tilt_order:
            return plain
        sampled = []
        for batch in batches:
            _, rings, polynomials = self.tilts(batch, range(rounds))
            polynomials = polynomials.reshape(rings.size, -1)
            sampled.append(
                SampledTilts.of(rings.ravel(), polynomials, self.zernike_orders, self.rings_mrad)
            )
        return plain - corrections(sums, SampledTilts.stack(sampled), self.rings_mrad)

    def compile(self) -> None:
        """Compile what `grow` calls, for rounds of any size."""
        jax.block_until_ready(self._scatter(np.zeros((0, 2)), 0, 0))

    def _scatter(
        self, tilts: np.ndarray, batch: int, round_number: int
    ) -> Float[Array, "room n_atoms bins_and_lost"]:
        """Fractions of the waves of a round; zeros in the room that they leave."""
        room = np.zeros((self.room, 2), np.float32)
        room[: len(tilts)] = tilts
        return scatter_batch(
            self.grid,
            self.specimen,
            round_key(jax.random.key(self.seed), batch, round_number),
            jnp.asarray(room),
            self.edges_mrad,
            self.axis_mrad,
            len(tilts),
            n_atoms=self.n_atoms,
            n_planes=self.n_planes,
        )

    @property
    def room(self) -> int:
        """Waves of a usual round: at least one per ring, and enough to share a stock of slices."""
        return max(WAVES_PER_ROUND, len(self.rings_mrad) - 1)

    @property
    def edges_mrad(self) -> jax.Array:
        """Edges of the collection-angle bins [mrad], on the device."""
        return jnp.asarray(self.angle_edges_mrad, jnp.float32)

    @property
    def axis_mrad(self) -> jax.Array | None:
        """Direction of the optical axis [mrad], on the device; None in zone axis."""
        mistilt = self.settings.mistilt_mrad
        return jnp.asarray(mistilt, jnp.float32) if any(mistilt) else None

    @property
    def azimuths_deg(self) -> tuple[float, float]:
        """Azimuths that tilts are drawn from [°]: all, or in zone axis the irreducible wedge."""
        settings = self.settings
        return WHOLE_AZIMUTH if any(settings.mistilt_mrad) else settings.zone_axis_data.wedge_deg

    @property
    def zernike_orders(self) -> list[tuple[int, int]]:
        """Orders of the Zernike polynomials up to `tilt_order`."""
        return zernike_orders(self.tilt_order, self.azimuths_deg)

    @property
    def sums_shape(self) -> tuple[int, int, int]:
        """Rings and polynomials, thicknesses, bins and what is lost."""
        sums = len(self.rings_mrad) - 1 + len(self.zernike_orders)
        return sums, self.n_atoms, len(self.angle_edges_mrad)


def stock_bytes(grid: CrystalGrid, n_atoms: int) -> int:
    """Memory [bytes] of a stock of slices of so many atoms per column."""
    return 8 * n_atoms * grid.slices_per_atom * math.prod(grid.shape)


def round_key(key: PRNGKeyArray, batch: Scalar, round_number: Scalar) -> PRNGKeyArray:
    """The random key of a round of a batch, from the key of the whole run."""
    return jax.random.fold_in(jax.random.fold_in(key, batch), round_number)
