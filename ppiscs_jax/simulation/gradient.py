"""Gradients of simulations: PPISCS as a differentiable function of the settings.

Waves of a plan, drawn as `Plan.grow` draws them where every wave makes its own slices, and seen by
a detector with smooth edges, because a hard edge has no gradient. JAX differentiates with respect
to voltage, convergence and collection angles, rmsd and mistilt.
"""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ppiscs_jax.errors import InputError, range_problem
from ppiscs_jax.multislice.detectors import collection_angle_mrad, intensity, smooth_annulus
from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.illumination import (
    WHOLE_AZIMUTH,
    plane_wave,
    sample_tilts,
    split_tilt,
)
from ppiscs_jax.multislice.propagation import propagator
from ppiscs_jax.multislice.wave import crystal_slice, make_specimen, propagate, wave_key
from ppiscs_jax.settings import LARGEST_SEED, MOST_ATOMS, VECTOR_ORDER, Settings
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.plan import Plan, round_key

WAVES = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FixedWaves:
    """Some waves of a plan, always the same ones, for any settings; a pytree, as surrogates are.

    Attributes:
        keys: of the displacements that each wave meets.
        directions: points of the unit disk; α times them are tilts.
        mistilt_mrad: direction of the optical axis [mrad], where the settings do not say.
        edge_width_mrad: width of the detector's logistic edges [mrad] (`smooth_annulus`).
        element, zone_axis: of the crystal.
        grid: on which it is simulated.
        n_atoms: largest thickness [atoms per column].
    """

    keys: PRNGKeyArray
    directions: Float[Array, "waves 2"]
    mistilt_mrad: tuple[float, float]
    edge_width_mrad: float
    element: str = dataclasses.field(metadata={"static": True})
    zone_axis: str = dataclasses.field(metadata={"static": True})
    grid: CrystalGrid = dataclasses.field(metadata={"static": True})
    n_atoms: int = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, plan: Plan, waves: int, edge_width_mrad: float = 1.0) -> Self:
        """So many waves of a plan's seed; each has displaced planes of its own.

        Their tilts fill the whole aperture: averages over the irreducible wedge have other
        derivatives with respect to mistilt.
        """
        settings, per_round = plan.settings, plan.waves_per_round
        rounds = -(-waves // per_round)
        seed = (plan.seed, 0)
        tilts, _ = sample_tilts(WHOLE_AZIMUTH, plan.rings_mrad, seed, 0, per_round, rounds)
        of_rounds = jax.vmap(partial(round_key, jax.random.key(plan.seed), 0))(jnp.arange(rounds))
        keys = jax.vmap(jax.vmap(wave_key, (None, 0)), (0, None))(of_rounds, jnp.arange(per_round))
        return cls(
            keys=keys.ravel()[:waves],
            directions=jnp.asarray(tilts[:waves] / plan.rings_mrad[-1], jnp.float32),
            mistilt_mrad=settings.mistilt_mrad,
            edge_width_mrad=edge_width_mrad,
            element=settings.element,
            zone_axis=settings.zone_axis,
            grid=plan.grid,
            n_atoms=plan.n_atoms,
        )

    def curve(self, x: Settings | Float[Array, " 9"]) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms; jit, vmap and grad apply.

        Reverse-mode memory grows with the square root of the number of atomic planes: blocks of
        planes are recomputed on the way back.

        Args:
            x: settings, or the nine numbers of `Settings.to_vector`, of which element and zone
                axis do not count. They should be near the settings of the plan.

        Raises:
            InputError: the settings are of another element or zone axis.
        """
        own = self.element, self.zone_axis
        if isinstance(x, Settings) and (x.element, x.zone_axis) != own:
            raise InputError(
                f"settings: {x.element} [{x.zone_axis}]: must be {own[0]} [{own[1]}], for which "
                "this simulator was made"
            )
        if not isinstance(x, Settings):
            numbers: dict[str, Any] = dict(zip(VECTOR_ORDER[2:], x[2:], strict=True))
            x = Settings(self.element, self.zone_axis, **numbers, mistilt_mrad=self.mistilt_mrad)
        return _average(self, x)


@jax.jit
def _average(waves: FixedWaves, settings: Settings) -> Float[Array, " n"]:
    """PPISCS [Å²] against thickness, averaged over the waves."""
    grid, n_atoms = waves.grid, waves.n_atoms
    specimen = make_specimen(settings, grid)
    unit, wavelength = specimen.unit_angstrom, specimen.wavelength_angstrom
    block = max(1, math.isqrt(n_atoms))
    n_blocks = -(-n_atoms // block)
    axis = jnp.asarray(settings.mistilt_mrad)

    def one_wave(wave: Any) -> Any:
        key, direction = wave
        tilt = split_tilt(grid, axis + settings.convergence_mrad * direction, unit, wavelength)
        free_space = propagator(grid, tilt.residual, unit, wavelength, specimen.slice_angstrom)
        angle = collection_angle_mrad(grid, tilt.residual, unit, wavelength, axis)
        detector = smooth_annulus(
            angle, settings.inner_mrad, settings.outer_mrad, waves.edge_width_mrad
        )

        @jax.checkpoint
        def add_block(psi: Any, repeats: Any) -> Any:
            return propagate(
                psi,
                free_space,
                grid.slices_per_atom,
                lambda repeat, number: crystal_slice(
                    grid, specimen, key, repeat * grid.slices_per_atom + number
                ),
                repeats,
                lambda spectrum: jnp.sum(detector * intensity(grid, spectrum)),
            )

        repeats = jnp.arange(n_blocks * block).reshape(n_blocks, block)
        return jax.lax.scan(add_block, plane_wave(grid, tilt.order), repeats)[1].ravel()[:n_atoms]

    fractions = jax.lax.map(one_wave, (waves.keys, waves.directions))
    return settings.column_area_angstrom2 * fractions.mean(axis=0)


def simulator(
    settings: Settings, n_atoms: int, *, waves: int = WAVES, seed: int = 0
) -> Callable[[Settings | Float[Array, " 9"]], Float[Array, " n"]]:
    """PPISCS [Å²] at 1 … n_atoms atoms by multislice, near some settings, as a smooth function.

    The average over a few waves, always the same ones, for gradients, and for fits of specimens and
    settings outside the trained range of all surrogates. The edges of the detector are logistic,
    1 mrad wide. The standard errors of a fit do not include the sampling error of the few waves:
    repeat the fit with other seeds to estimate it.

    Args:
        settings: for which the grid is chosen; use the function near them.
        n_atoms: largest thickness [atoms per column].
        waves: plane waves averaged over.
        seed: of their tilts and displacements.

    Returns:
        A function of `Settings`, or of their nine numbers, to which jit, vmap and grad apply;
        element and zone axis stay as given.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Al", "100", 100.0, 20.0, 40.0, 80.0, rmsd_angstrom=0.1)
        >>> curve = pp.simulator(settings, n_atoms=1, waves=4)
        >>> slope = jax.grad(lambda s: curve(s)[0])(settings)  # Å² per unit of each number
        >>> bool(slope.inner_mrad < 0)
        True
    """
    problems = [
        range_problem("n_atoms", n_atoms, 1, MOST_ATOMS, "atoms", whole=True),
        range_problem("waves", waves, 1, 10**6, "", whole=True),
        range_problem("seed", seed, 0, LARGEST_SEED, "", whole=True),
    ]
    if any(problems):
        raise InputError(p for p in problems if p)
    outer, aperture = float(settings.outer_mrad), float(settings.convergence_mrad)
    grid = simulation_grid(settings, outer, n_atoms, aperture)
    rings, edges = np.array([0.0, aperture]), np.array([0.0, outer])
    return FixedWaves.of(Plan.of(settings, grid, rings, edges, n_atoms, seed), waves).curve
