"""Whole rounds in one call give the numbers of batch by batch, whatever fits into memory."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from ppiscs_jax import Settings
from ppiscs_jax.crystal import ELEMENTS, ZONE_AXES
from ppiscs_jax.multislice.grid import LADDER_RUNG, make_grid, on_ladder
from ppiscs_jax.simulation import accelerator
from ppiscs_jax.simulation.accelerator import Chunk
from ppiscs_jax.simulation.averaging import run_levels
from ppiscs_jax.simulation.levels import grids_reaching, levels_of
from ppiscs_jax.simulation.plan import Plan

COPPER = Settings("Cu", "100", 100.0, 20.0, 60.0, 200.0, 0.1)
TILTED = dataclasses.replace(COPPER, mistilt_mrad=(3.0, 0.0))


def small_plan():
    """Two rings, three atoms, a small cell; mistilted, so that the optical axis counts.

    With polynomials of the tilts.
    """
    grid = make_grid("100", COPPER.element_data.lattice_angstrom, 8.0, cell_angstrom=3.0)
    rings, bins = np.array([0, 10.0, 20.0]), np.arange(0, 201.0, 20)
    return Plan.of(TILTED, grid, rings, bins, 3, 5).with_control(128)


@pytest.fixture(scope="module")
def plan():
    """One plan for all tests."""
    return small_plan()


@pytest.fixture(scope="module")
def expected(plan):
    """Two rounds, batch by batch."""
    return np.stack([plan.grow(b, 1) + plan.grow(b, 2) for b in range(16)])


def relative_difference(sums, expected):
    """Of all bins, without the fraction lost, which is a small difference of large numbers."""
    return np.max(np.abs(sums - expected)[..., :-1]) / np.max(expected[..., :-1])


@pytest.mark.parametrize(
    "chunk", [None, Chunk(1, 4, 2), pytest.param(Chunk(1, 16, 8), marks=pytest.mark.slow)]
)
def test_the_same_numbers(plan, expected, chunk):
    """To 1e-5: sums in float32 in another order."""
    reports = []
    sums = accelerator.grow(plan, range(16), range(1, 3), reports.append, chunk)
    assert relative_difference(sums, expected) < 1e-5
    assert sum(reports) == 32


def test_averages_take_the_same_waves(plan):
    """Pilot and run proper decide alike, and give the same kernel."""

    def watch(kernel):
        curve = kernel.curve(20.0, 60.0, 200.0)
        return curve.ppiscs, curve.standard_error

    kernels = [
        run_levels(levels_of([plan]), watch, 0.1, 2048, accelerated=accelerated)[0]
        for accelerated in (True, False)
    ]
    assert kernels[0].waves == kernels[1].waves
    np.testing.assert_allclose(kernels[0].batch_means, kernels[1].batch_means, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_out_of_memory(plan, expected, monkeypatch):
    """Half as much at once, as often as it takes, with a line saying so; nothing counts twice."""
    compute = accelerator.scatter_rounds

    def limited(*arguments, waves_at_once, **options):
        batches, numbers = arguments[3], arguments[4]
        if numbers.shape[1] * len(batches) * waves_at_once > 64:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return compute(*arguments, waves_at_once=waves_at_once, **options)

    monkeypatch.setattr(accelerator, "scatter_rounds", limited)
    with pytest.warns(UserWarning, match="out of memory; going on with 64 waves at once"):
        sums = accelerator.grow(plan, range(16), range(1, 3), lambda _: None, Chunk(1, 16, 8))
    assert relative_difference(sums, expected) < 1e-5


def test_other_errors_are_not_hidden(plan, monkeypatch):
    """Only a failed allocation is tried again."""

    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(accelerator, "scatter_rounds", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        accelerator.grow(plan, range(16), range(1), lambda _: None)


def test_chunks_follow_memory(plan):
    """As many rounds as fill a device; fewer rounds, batches and waves where memory is short."""
    plenty = accelerator.chunk_of(plan, 16, 2**36)
    assert plenty.batches == 16
    assert plenty.rounds > 1
    one_round = accelerator.chunk_of(plan, 16, 2 * accelerator._bytes(plan, Chunk(1, 16, 8)))
    assert one_round == (1, 16, 8)
    assert accelerator.chunk_of(plan, 16, 2**10) == (1, 1, 1)
    with pytest.raises(MemoryError):
        Chunk(1, 1, 1).halved()


@pytest.mark.slow
def test_no_compilation_within_a_rung(plan):
    """Another element, voltage, order of polynomials, number of rounds: the same program."""
    silver = Settings("Ag", "100", 120.0, 20.0, 60.0, 200.0, 0.12, mistilt_mrad=(0.0, 2.0))
    chunk = Chunk(1, 16, 8)
    accelerator.grow(plan, range(16), range(1), lambda _: None, chunk)
    before = accelerator.scatter_rounds._cache_size()
    other = Plan.of(silver, plan.grid, plan.rings_mrad, plan.angle_edges_mrad, 3, 6)
    other = other.with_control(1 << 9)
    accelerator.grow(other, range(16), range(3), lambda _: None, chunk)
    assert accelerator.scatter_rounds._cache_size() == before


@pytest.mark.parametrize("wanted", [1.0, 22.5, 40.0, 80.6, 81.0, 500.0])
def test_ladder(wanted):
    """The next rung: never below what is wanted, at most 25 % above, and itself a rung."""
    rung = on_ladder(wanted)
    assert wanted <= rung * (1 + 1e-9)
    assert rung < 1.26 * wanted
    assert on_ladder(rung) == pytest.approx(rung)
    assert on_ladder(LADDER_RUNG) == LADDER_RUNG


def test_programs_of_the_data_set_are_few(monkeypatch):
    """At three zone axes and nine voltages at most 36 grids, coarse and converged ones."""
    monkeypatch.setattr("ppiscs_jax.simulation.levels.on_accelerator", lambda: True)
    from ppiscs_jax.constants import wavelength_angstrom
    from ppiscs_jax.simulation.grids import band_limit_inv_angstrom

    grids = set()
    for element in ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "Pb"):
        for zone, n_atoms in (("110", 87), ("100", 61), ("111", 35)):
            for voltage in (60.0, 70.0, 80.0, 100.0, 120.0, 150.0, 200.0, 250.0, 300.0):
                settings = Settings(element, zone, voltage, 20.0, 60.0, 200.0, 0.1)
                grid = make_grid(
                    zone,
                    ELEMENTS[element].lattice_angstrom,
                    0.8 * band_limit_inv_angstrom(settings, 250.0, n_atoms),
                    cell_angstrom=1e3 * float(wavelength_angstrom(voltage)) / 11,
                    ladder=True,
                )
                grids.update(grids_reaching(settings, grid, 250.0))
    assert {grid.zone_axis for grid in grids} == set(ZONE_AXES)
    assert len(grids) <= 36


SCRIPT = """
import numpy as np, jax
from tests.simulation.test_accelerator import small_plan
from ppiscs_jax.simulation import accelerator
assert len(jax.local_devices()) == 2
np.save("sums.npy", accelerator.grow(small_plan(), range(16), range(1, 3), lambda _: None))
"""


@pytest.mark.slow
def test_two_devices(expected, tmp_path):
    """Batches shared out over two devices, in a process of its own: the same numbers."""
    root = str(Path(__file__).parents[1])
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": root}
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, cwd=tmp_path, env=os.environ | flags)
    assert relative_difference(np.load(tmp_path / "sums.npy"), expected) < 1e-5


@pytest.mark.slow
def test_levels_in_few_calls():
    """Levels of band limit give the same kernel in calls of whole rounds as batch by batch."""
    fine = make_grid("100", COPPER.element_data.lattice_angstrom, 8.0, cell_angstrom=3.0)
    edges = np.arange(0, 201.0, 20)
    whole = Plan.of(COPPER, fine, np.array([0, 20.0]), edges, 3, 5)
    plans = [whole.on(fine.resampled(0.6 * fine.band_limit)), whole]

    def watch(kernel):
        curve = kernel.curve(20.0, 60.0, 200.0)
        return curve.ppiscs, curve.standard_error

    kernels = [
        run_levels(levels_of(plans), watch, 0.004, 1 << 14, accelerated=accelerated)[0]
        for accelerated in (True, False)
    ]
    assert kernels[0].waves == kernels[1].waves > 250
    np.testing.assert_allclose(kernels[0].batch_means, kernels[1].batch_means, rtol=0, atol=1e-6)
