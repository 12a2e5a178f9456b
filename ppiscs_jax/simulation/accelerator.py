"""Whole rounds of all batches in one compiled call, for GPUs.

A GPU is only busy with many waves at once. So every step of a call computes a round of all
sixteen batches side by side, each batch with its own stock of displaced planes, and as many
rounds as fill the device; a call makes many steps, keeps the sums on the device and copies them
to the host once. Keys, tilts and planes are those of `Plan.grow`: any wave agrees between devices.
"""

import math
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ppiscs_jax.multislice.grid import CrystalGrid
from ppiscs_jax.multislice.wave import Specimen, scatter_batch
from ppiscs_jax.simulation.plan import Plan, round_key

PIXELS_AT_ONCE = 2**22
"""Pixels of all waves side by side that fill a GPU: more are no faster (benchmarks/gpu.py)."""

SUMS_AT_ONCE = 64
"""Sums with polynomials of the tilts are formed in multiples of so many."""

MOST_STEPS = 32
"""Steps of a call. Sums grow in float32 inside of it, and in float64 from call to call."""

MEMORY_SHARE = 0.6
"""Share of the device's memory that a call may plan with."""

UNKNOWN_MEMORY_BYTES = 2**31
"""Memory that is assumed for devices which do not report theirs."""


class Chunk(NamedTuple):
    """Numbers of rounds, batches and waves per round that are computed in parallel."""

    rounds: int
    batches: int
    waves: int

    def halved(self) -> "Chunk":
        """About half as much side by side: fewer rounds, then fewer batches, then fewer waves.

        Raises:
            MemoryError: it is one wave already.
        """
        for field in self._fields:
            if (size := getattr(self, field)) > 1:
                return self._replace(**{field: size // 2})
        raise MemoryError("one wave alone does not fit into the device's memory")


def device_memory_bytes() -> int:
    """Memory that JAX may use on each device [bytes]."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit", UNKNOWN_MEMORY_BYTES)


def chunk_of(plan: Plan, batches: int, memory_bytes: int, most_rounds: int = MOST_STEPS) -> Chunk:
    """The chunk that fills the device, as far as its memory allows, with so many rounds at most."""
    pixels = math.prod(plan.grid.shape)
    waves = batches * plan.waves_per_round
    rounds = 2 ** max(0, round(math.log2(PIXELS_AT_ONCE / (waves * pixels))))
    chunk = Chunk(min(rounds, most_rounds), batches, plan.waves_per_round)
    while _bytes(plan, chunk) > MEMORY_SHARE * memory_bytes and math.prod(chunk) > 1:
        chunk = chunk.halved()
    return chunk


def _bytes(plan: Plan, chunk: Chunk) -> float:
    """About what a step needs: stocks of planes, every wave, what it leaves.

    The copies that FFTs and products make of the waves are what MEMORY_SHARE leaves room for.
    """
    pixels = 8 * math.prod(plan.grid.shape)
    stock = plan.n_planes * plan.grid.slices_per_atom * pixels
    wave = 8 * pixels + 8 * math.prod(plan.sums_shape[1:])
    sums = 8 * room_for_sums(plan) * math.prod(plan.sums_shape[1:])
    return chunk.rounds * chunk.batches * (stock + chunk.waves * wave + sums)


def grow(
    plan: Plan,
    batches: range,
    rounds: range,
    report: Callable[[int], None],
    chunk: Chunk | None = None,
    most_rounds: int = MOST_STEPS,
) -> Float[np.ndarray, "batches sums n bins_and_lost"]:
    """Sums of the waves of some rounds of all batches, as the sum of `Plan.grow` over rounds.

    Where the device runs out of memory, half as much is computed side by side, with a warning.

    Args:
        plan: what to compute.
        batches, rounds: numbers of batches and rounds.
        report: called with the number of batch rounds that were finished, after every call.
        chunk: what to compute side by side. Default: what fills the device.
        most_rounds: by default so many rounds side by side at most. They are computed even where
            fewer are asked for.
    """
    chunk = chunk or chunk_of(plan, len(batches), device_memory_bytes(), most_rounds)
    sums = np.zeros((len(batches), *plan.sums_shape))
    done = 0
    while done < len(rounds):
        # A call has room for more rounds than are asked for, so that one program serves all.
        call = rounds[done : done + MOST_STEPS * chunk.rounds]
        drawn = [plan.tilts(batch, call) for batch in batches]
        tilts, rings, polynomials = (np.stack(some, axis=1) for some in zip(*drawn, strict=True))
        weights = plan.weights(rings, polynomials)
        try:
            added = [
                _call(plan, chunk, batches[some], call, tilts[:, some], weights[:, some])
                for some in (
                    slice(first, first + chunk.batches)
                    for first in range(0, len(batches), chunk.batches)
                )
            ]
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            chunk = chunk.halved()
            warnings.warn(
                f"the device is out of memory; going on with {math.prod(chunk)} waves at once",
                stacklevel=2,
            )
            continue
        sums += np.concatenate(added)
        done += len(call)
        report(len(batches) * len(call))
    return sums


def compile_rounds(plan: Plan, batches: range, most_rounds: int = MOST_STEPS) -> None:
    """Compile what `grow` calls for so many batches."""
    chunk = chunk_of(plan, len(batches), device_memory_bytes(), most_rounds)
    waves = 0, chunk.batches, plan.waves_per_round
    tilts, weights = np.zeros((*waves, 2), np.float32), np.zeros((*waves, plan.sums_shape[0]))
    _call(plan, chunk, batches[: chunk.batches], range(0), tilts, weights)


def _call(
    plan: Plan, chunk: Chunk, batches: range, rounds: range, tilts: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Sums over rounds, (batches, sums, n, bins and lost).

    Tilts are (rounds, batches, waves, 2), weights (rounds, batches, waves, sums).
    """
    steps = -(-len(rounds) // chunk.rounds)
    room = MOST_STEPS * chunk.rounds - len(rounds)

    def in_steps(values: np.ndarray) -> np.ndarray:
        padded = np.concatenate([values, np.zeros((room, *values.shape[1:]), values.dtype)])
        return padded.reshape(MOST_STEPS, chunk.rounds, *values.shape[1:])

    numbers = in_steps(np.arange(rounds.start, rounds.stop, dtype=np.uint32))
    n_sums = plan.sums_shape[0]
    weights = np.pad(weights, [(0, 0)] * 3 + [(0, room_for_sums(plan) - n_sums)])
    devices = jax.local_devices()
    devices = devices[: math.gcd(len(devices), len(batches))]
    mesh = Mesh(np.array(devices), ("batches",))
    result = scatter_rounds(
        plan.grid,
        plan.specimen,
        jax.random.key(plan.seed),
        jnp.asarray(batches, dtype=jnp.uint32),
        jnp.asarray(numbers),
        jnp.asarray(in_steps(tilts)),
        jnp.asarray(in_steps(weights), dtype=jnp.float32),
        plan.edges_mrad,
        plan.axis_mrad,
        steps,
        n_atoms=plan.n_atoms,
        n_planes=plan.n_planes,
        waves_at_once=chunk.waves,
        mesh=mesh,
    )
    return np.asarray(result[:, :n_sums], dtype=float)


def room_for_sums(plan: Plan) -> int:
    """Sums that a program forms: with polynomials some more, so that it serves all orders."""
    n_sums = plan.sums_shape[0]
    return math.ceil(n_sums / SUMS_AT_ONCE) * SUMS_AT_ONCE if plan.tilt_order else n_sums


@partial(
    jax.jit,
    static_argnames=("grid", "n_atoms", "n_planes", "waves_at_once", "mesh"),
)
def scatter_rounds(
    grid: CrystalGrid,
    specimen: Specimen,
    key: PRNGKeyArray,
    batches: Int[Array, " batches"],
    round_numbers: Int[Array, "steps rounds"],
    tilts_mrad: Float[Array, "steps rounds batches waves 2"],
    weights: Float[Array, "steps rounds batches waves sums"],
    edges_mrad: Float[Array, " edges"],
    axis_mrad: Float[Array, " 2"] | None,
    steps: Int[Array, ""] | int,
    *,
    n_atoms: int,
    n_planes: int,
    waves_at_once: int,
    mesh: Mesh,
) -> Float[Array, "batches sums n_atoms bins_and_lost"]:
    """Weighted sums of the fractions scattered, over the first `steps` steps, by batch.

    Batches are shared out over the devices of the mesh. See `scatter_batch` for the arguments
    that are not explained here.

    Args:
        grid, specimen, edges_mrad, axis_mrad, n_atoms, n_planes: as in `scatter_batch`.
        key: of the whole run.
        batches: their numbers.
        round_numbers: which round of every batch is computed where.
        tilts_mrad: tilts of the waves [mrad].
        weights: of each wave in each sum.
        steps: how many steps to make.
        waves_at_once: waves of a round computed side by side.
        mesh: devices along an axis "batches".
    """
    everywhere, shared = PartitionSpec(), PartitionSpec("batches")

    def part(
        specimen: Any,
        key: Any,
        batches: Any,
        numbers: Any,
        tilts: Any,
        weights: Any,
        edges: Any,
        axis: Any,
        steps: Any,
    ) -> Any:
        def one_round(batch: Array, number: Array, tilts: Any, weights: Any) -> Any:
            fractions = scatter_batch(
                grid,
                specimen,
                round_key(key, batch, number),
                tilts,
                edges,
                axis,
                n_atoms=n_atoms,
                n_planes=n_planes,
                batch_size=waves_at_once,
            )
            return jnp.tensordot(weights.T, fractions, 1, precision="highest")

        of_batches = jax.vmap(one_round, in_axes=(0, None, 0, 0))
        of_rounds = jax.vmap(of_batches, in_axes=(None, 0, 0, 0))

        def step(i: Any, sums: Any) -> Any:
            return sums + of_rounds(batches, numbers[i], tilts[i], weights[i]).sum(axis=0)

        sums = jnp.zeros((len(batches), weights.shape[-1], n_atoms, len(edges)))
        sums = jax.lax.pcast(sums, "batches", to="varying")
        return jax.lax.fori_loop(0, steps, step, sums)

    return jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(
            everywhere,
            everywhere,
            shared,
            everywhere,
            PartitionSpec(None, None, "batches"),
            PartitionSpec(None, None, "batches"),
            everywhere,
            everywhere,
            everywhere,
        ),
        out_specs=shared,
    )(specimen, key, batches, round_numbers, tilts_mrad, weights, edges_mrad, axis_mrad, steps)
