"""Levels of band limit: unbiased, honest in their errors, cheap, and the same for one seed."""

import itertools
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import t as student_t

from ppiscs_jax import Settings
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.grid import make_grid
from ppiscs_jax.simulation.averaging import Average, run_levels, share_waves
from ppiscs_jax.simulation.batches import BATCHES
from ppiscs_jax.simulation.grids import simulation_grid
from ppiscs_jax.simulation.levels import Level, level_grids, levels_of
from ppiscs_jax.simulation.plan import Plan

COPPER = Settings("Cu", "100", 100.0, 20.0, 60.0, 120.0, 0.1)
EDGES = np.array([0.0, 40.0, 60.0, 120.0, 200.0])
N_ATOMS = 3
RINGS = np.array([0.0, 10.0, 20.0])


def watch(kernel):
    """Values and errors of a wide detector and of one beyond what the coarse grid holds."""
    curves = [kernel.curve(None, *detector) for detector in ((60, 120), (120, 200))]
    return np.array([c.ppiscs for c in curves]), np.array([c.standard_error for c in curves])


def plan_on(band_limit, seed=0, layers_per_slice=1):
    """One small cell of copper with a band limit [1/Å]; 5.4 of them hold 200 mrad."""
    a = COPPER.element_data.lattice_angstrom
    grid = make_grid("100", a, 8.0, cell_angstrom=3.0).resampled(band_limit * a, layers_per_slice)
    return Plan.of(COPPER, grid, RINGS, EDGES, N_ATOMS, seed)


def small_levels(seed=0):
    """Coarse with one slice a repeat, which holds 130 mrad; the same with two; fine."""
    plans = [plan_on(3.5, seed, 2), plan_on(4.5, seed), plan_on(8.0, seed)]
    return levels_of(plans, spared=True)


@pytest.mark.slow
def test_differences_are_small():
    """Both grids of a difference meet the same tilts and displaced atoms.

    Where the coarse grid holds the angles, the difference of a round is below 3 % of the whole;
    rounds of other batches differ by more. One slice a repeat against two, thin: the same.
    """
    for level in small_levels()[1:]:
        held = slice(1, 3)
        whole = level.plan.grow(level.first_batch, 0)[..., held]
        other = level.plan.grow(level.first_batch + 1, 0)[..., held]
        difference = level.grow(level.first_batch, 0)[..., held]
        assert np.max(np.abs(difference) / whole) < 0.03
        assert np.max(np.abs(other - whole) / whole) > 0.03


@pytest.mark.slow
def test_unbiased():
    """Three levels against one grid of twice the band limit: within 4 combined errors.

    Six numbers; a normal distribution exceeds 4 in 6 × 6e-5 cases. The detector beyond the band
    of the coarse grid is among them.
    """
    several, error = run_levels(small_levels(), watch, 0.01, 1 << 16)
    assert error <= 0.01
    alone, _ = run_levels(levels_of([plan_on(16.0, seed=1)]), watch, 0.01, 1 << 16)
    (value, value_error), (expected, expected_error) = watch(several), watch(alone)
    assert np.all(np.abs(value - expected) < 4 * np.hypot(value_error, expected_error))


def test_the_pilot_keeps_to_the_most_waves():
    """However many rounds it is to have; and it is not thrown away where nothing may follow."""
    levels = levels_of([plan_on(4.0)], control=False)
    kernel, error = run_levels(levels, watch, 1e-6, 256, pilot_rounds=4)
    assert kernel.waves == 256
    assert error > 1e-6


def test_levels_without_polynomials():
    """They get none with more waves either."""
    level = levels_of([plan_on(4.0)], control=False)[0]
    assert level.with_waves(64).plan.tilt_order == 0
    assert levels_of([plan_on(4.0)])[0].with_waves(64).plan.tilt_order > 0


@pytest.mark.parametrize("workers", [1, 3])
def test_same_seed_same_numbers(workers):
    """Whatever the number of threads, and every round of every level can be made again."""
    reference, _ = run_levels(small_levels(7), watch, 0.5, 1 << 16, workers=2)
    again, _ = run_levels(small_levels(7), watch, 0.5, 1 << 16, workers=workers)
    np.testing.assert_array_equal(again.batch_means, reference.batch_means)
    means = 0
    for level in small_levels(7):
        average = Average.of(level, 0)
        for i in range(0, BATCHES, level.every):
            average.sums[i] = level.grow(average.batches[i], 0)
        average.rounds = 1
        means = means + average.means
    np.testing.assert_allclose(again.batch_means, means[..., :-1], rtol=1e-12, atol=1e-15)


def test_rounds_of_any_size_compute_the_same_program():
    """One wave or eight: no new compilation."""
    from ppiscs_jax.multislice.wave import scatter_batch

    level = small_levels()[1]
    level.grow(level.first_batch, 0)
    before = scatter_batch._cache_size()
    level.with_waves(8).grow(level.first_batch, 0)
    level.with_waves(2).grow(level.first_batch, 3)
    assert scatter_batch._cache_size() == before


@dataclass(frozen=True)
class Normal:
    """Stands for a plan where only statistics matter: its waves are normally distributed."""

    seed: int
    mean: float
    spread: float
    price: float
    waves_per_round: int = 8

    sums_shape = (1, 1, 2)
    rings_mrad = np.array([0.0, 20.0])
    angle_edges_mrad = np.array([60.0, 120.0])
    settings = COPPER
    room = 8
    n_atoms = n_planes = 1
    tilt_order = 0

    @property
    def grid(self):
        return SimpleNamespace(slices_per_atom=1, shape=(self.price,))

    def compile(self):
        pass

    def with_control(self, waves):
        return self

    def means(self, sums, batches, rounds):
        return sums / (rounds * self.waves_per_round)

    def grow(self, batch, number):
        draws = np.random.default_rng([self.seed, batch, number]).normal(
            self.mean, self.spread, self.waves_per_round
        )
        return np.array([[[draws.sum(), 0.0]]])


def normal_levels(seed):
    """A coarse level, a correction, and a rare one; in all 1.02."""
    plans = [Normal(seed, 1, 0.1, 1), Normal(seed, 0.02, 0.02, 6), Normal(seed, 0, 0.002, 14)]
    nothing = Normal(seed, 0, 0, 0)
    first, second, third = (
        Level(plan, nothing if i else None, 2 * BATCHES * i) for i, plan in enumerate(plans)
    )
    return [first, second.with_waves(1), third.with_waves(1 / 4)]


@pytest.mark.slow
@pytest.mark.parametrize("target", [0.012, 0.006])
def test_intervals_cover_when_waves_are_shared_out(target):
    """Choosing waves for levels and stopping do not bias the error, over 300 seeds.

    Normal numbers instead of waves, for speed: the targets let pilots be kept, continued and
    thrown away. Coverage is binomial: ± 2.7 % at 68 %, ± 1.3 % at 95 %; three of these are allowed.
    A run ends only when the error that it reports is small enough, so that the
    reported variance is on average about 12 % too small, as it is with one level; its own
    error over 300 seeds is √(2 / 300) = 8.2 %. Between 0.87 − 0.25 and 1 + 0.25 is allowed.
    """
    values, errors = [], []
    for seed in range(300):
        kernel, error = run_levels(
            normal_levels(seed),
            lambda k: (k.batch_means.mean(0), k.batch_means.std(0, ddof=1) / np.sqrt(BATCHES)),
            target,
            1 << 20,
            workers=1,
        )
        assert error <= target
        values.append(kernel.batch_means.mean())
        errors.append(kernel.batch_means.std(ddof=1) / np.sqrt(BATCHES))
    deviation, errors = np.array(values) - 1.02, np.array(errors)
    for level, allowed in ((0.68, 0.081), (0.95, 0.039)):
        covered = np.mean(np.abs(deviation) < student_t.ppf(0.5 + level / 2, 15) * errors)
        assert abs(covered - level) < allowed
    assert 0.62 < np.mean(errors**2) / np.mean(deviation**2) < 1.25


def test_waves_are_shared_out_at_the_least_cost():
    """Against a search over all shares: at most 10 % dearer, and the goal is met by the model."""
    some = normal_levels(0)
    variances = np.array([[2e-5, 5e-6], [3e-6, 8e-6], [4e-7, 2e-7]])
    at_hand, goal = [8, 1, 0.25], 4e-6
    rates = np.array([[1.25, 2.0], [1.0, 1.0], [1.0, 1.0]])

    def cost(waves):
        return sum(level.cost(w) for level, w in zip(some, waves, strict=True))

    def meets(waves):
        return np.all((variances * np.divide(at_hand, waves)[:, None] ** rates).sum(0) <= goal)

    found = share_waves(some, variances, rates, at_hand, goal, 1 << 20)
    assert meets(found)
    every = itertools.product(range(8, 80, 8), range(1, 16), (0.25, 0.5, 1, 2))
    assert cost(found) <= 1.1 * min(cost(waves) for waves in every if meets(waves))
    assert sum(share_waves(some, variances, rates, at_hand, goal, 20)) <= 20


def test_levels_are_chosen_by_cost():
    """One level where waves are few, two for a usual thick curve, more for small errors.

    The coarse grid has one slice a repeat, but not for narrow detectors, which it holds with a
    wider margin; all are of one supercell, and below 0.1 % the finest lies above the converged
    grid.
    """
    gold = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
    detectors = np.array([[60.0, 200.0]])
    numbers = []
    for n_atoms, error in ((5, 0.01), (87, 0.005), (87, 0.002), (87, 0.0009)):
        fine = simulation_grid(gold, 200.0, n_atoms, 20.0)
        grids = level_grids(gold, fine, detectors, 200.0, n_atoms, error, 1 << 20)
        numbers.append(len(grids))
        assert fine in grids
        assert all((g.lengths, g.repeats) == (fine.lengths, fine.repeats) for g in grids)
        assert np.all(np.diff([np.prod(g.shape) * g.slices_per_atom for g in grids]) > 0)
        assert len(grids) == 1 or grids[0].slices_per_atom == 1
    assert numbers == [1, 2, 3, 4]
    fine = simulation_grid(gold, 110.0, 87, 20.0)
    narrow = level_grids(gold, fine, np.array([[100.0, 110.0]]), 110.0, 87, 0.005, 1 << 20)
    a, wavelength = gold.element_data.lattice_angstrom, float(wavelength_angstrom(300.0))
    assert 1e3 * narrow[0].band_limit / a * wavelength > 1.2 * 110
    assert [grid.slices_per_atom for grid in narrow] == [2, 2]
