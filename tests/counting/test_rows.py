"""Noisy images: columns in rows keep their volumes, however the rows bend."""

import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax.counting.gaussians import fit_gaussians
from ppiscs_jax.counting.position_prior import (
    PositionPrior,
    neighbours_in_line,
    second_differences,
)
from ppiscs_jax.counting.rows import (
    STRAIGHT,
    fit_rows,
    free_positions,
    likely_bend,
    position_errors,
)
from tests.counting.samples import PIXEL, image_of, lattice

POSITIONS = lattice(element="Cu")
SPACING = 2.21
"""Of copper along [110] [Å]."""

VALUES = 0.012 * np.random.default_rng(0).integers(1, 4, len(POSITIONS))
RHO = 0.5


def bent(by: float) -> np.ndarray:
    """The lattice with rows that are arcs, whose second differences have this size at most [Å]."""
    x, y = ((POSITIONS - POSITIONS.mean(axis=0)) / SPACING).T
    return POSITIONS + by / 2 * np.stack([y**2, np.zeros_like(x)], axis=1)


def test_neighbours_in_line():
    """A square lattice of 5 × 5 has 3 triples in each of its rows and columns."""
    grid = np.stack(np.meshgrid(*2 * (3.0 * np.arange(5),)), axis=-1).reshape(-1, 2)
    moved = grid + np.random.default_rng(0).normal(0, 0.1, grid.shape)
    triples = neighbours_in_line(moved)
    assert len(triples) == 2 * 5 * 3
    np.testing.assert_allclose(second_differences(triples, 25) @ grid, 0, atol=1e-12)


def test_prior_has_the_curvature_it_says():
    triples = neighbours_in_line(POSITIONS)
    prior = PositionPrior.of(POSITIONS, 0.5, triples, 0.1)
    moves = np.random.default_rng(0).normal(0, 0.1, POSITIONS.shape)
    expected = np.sum(moves * (prior.precision() @ moves))
    assert len(triples) > len(POSITIONS)
    assert float(prior.squares(jnp.float32(POSITIONS + moves))) == pytest.approx(expected, rel=1e-4)


def test_likely_bends():
    """Known to within a tenth from a hundred triples, whatever the errors of single positions."""
    generator = np.random.default_rng(0)
    row = np.stack([3.0 * np.arange(150), np.zeros(150)], axis=1)
    triples = np.stack([np.arange(148), np.arange(1, 149), np.arange(2, 150)], axis=1)
    row[:, 1] = np.cumsum(np.cumsum(generator.normal(0, 0.06, 150)))
    row[:, 0] += np.cumsum(np.cumsum(generator.normal(0, 0.06, 150)))
    errors = generator.choice([0.005, 0.02, 0.5], 150)
    found = likely_bend(
        row + errors[:, None] * generator.normal(size=row.shape), errors, triples, 3
    )
    assert found == pytest.approx(0.06, rel=0.25)


def test_few_electrons():
    """Some 20 electrons a column: free positions lose 8 % of all volumes, rows at most 3 %.

    Starts that are off by a twentieth of the spacing do not change that.
    """
    free, rows, shaken = [], [], []
    for seed in range(10):
        image = image_of(POSITIONS, VALUES, dose=1e3, seed=seed, width=RHO).pixels
        start, width = POSITIONS / PIXEL, 0.3 * SPACING / PIXEL
        moves = np.random.default_rng(seed).normal(0, 0.05 * SPACING / PIXEL, start.shape)
        free.append(fit_gaussians(image, start, width).volumes.sum())
        rows.append(fit_rows(image, start, width)[0].volumes.sum())
        shaken.append(fit_rows(image, start + moves, width)[0].volumes.sum())
    true = VALUES.sum() / PIXEL**2
    assert np.mean(free) < 0.94 * true
    assert np.mean(rows) == pytest.approx(true, rel=0.03)
    assert np.mean(shaken) == pytest.approx(true, rel=0.03)


@pytest.mark.parametrize("by", [0.0, 0.1, 0.3])
def test_rows_that_bend(by):
    """How much is measured, to within a factor of two, and positions follow."""
    positions, stds, deviations = bent(by), [], []
    for seed in range(5):
        image = image_of(positions, VALUES, dose=2e4, seed=seed, width=RHO).pixels
        fit, prior = fit_rows(image, positions / PIXEL, 0.3 * SPACING / PIXEL)
        assert len(prior.triples)
        stds.append(float(prior.bend_std) * PIXEL)
        deviations.append(fit.positions * PIXEL - positions)
    triples = neighbours_in_line(positions)
    true = np.sqrt(np.mean(np.square(second_differences(triples, len(positions)) @ positions)))
    smallest = STRAIGHT * SPACING
    assert max(true, smallest) / 2 < np.mean(stds) < 2 * max(true, 2 * smallest)
    assert np.sqrt(np.mean(np.square(deviations))) < 0.06


def test_errors_of_positions():
    """They are the scatter of the positions that columns would have without a prior."""
    start, width = POSITIONS / PIXEL, 0.3 * SPACING / PIXEL
    prior = PositionPrior.of(start, 1e-3)
    ratios = []
    for seed in range(10):
        image = image_of(POSITIONS, VALUES, dose=1e5, seed=seed, width=RHO).pixels
        fit = fit_gaussians(image, start, width, prior=prior)
        moves = free_positions(image, fit) - start
        ratios.append(moves / position_errors(image, fit)[:, None])
    assert np.std(ratios) == pytest.approx(1, abs=0.15)
