"""Cross-sections of Gaussian columns are what they were made with, and errors what they say."""

import jax
import numpy as np
import pytest

from ppiscs_jax.counting import widths
from ppiscs_jax.counting.cross_sections import cross_sections
from ppiscs_jax.counting.gaussians import (
    fit_gaussians,
    gauss_newton,
    into_tiles,
    loss,
    model_tiles,
)
from ppiscs_jax.counting.widths import fit_widths
from ppiscs_jax.errors import InputError
from tests.counting.samples import PIXEL, WIDTH, image_of, lattice

POSITIONS = lattice()
VALUES = 0.03 * np.random.default_rng(0).integers(1, 8, len(POSITIONS))


def test_gaussians_without_noise():
    """The model is exact: what is left is single precision, 1e-5 of the largest column."""
    image = image_of(POSITIONS, VALUES, background=0.01)
    shifted = POSITIONS + np.random.default_rng(1).normal(0, 0.15, POSITIONS.shape)
    found = cross_sections(image, shifted)
    np.testing.assert_allclose(found.values, VALUES, atol=3e-5)
    np.testing.assert_allclose(found.positions_angstrom, POSITIONS, atol=2e-3)
    assert found.width_angstrom == pytest.approx(WIDTH, rel=1e-4)
    assert found.background == pytest.approx(0.01, abs=1e-5)


def test_faint_columns_stay_near_their_starts():
    """Ten electrons a column: without a prior of the positions some drift by 30 Å.

    Cross-sections mean little at such a dose, but columns must not take each other's places.
    """
    values = np.full(len(POSITIONS), 0.01)
    moves = []
    for seed in range(5):
        image = image_of(POSITIONS, values, dose=1e3, seed=seed, width=0.5)
        found = cross_sections(image, POSITIONS, dose_per_angstrom2=1e3)
        moves.append(np.hypot(*(found.positions_angstrom - POSITIONS).T))
    assert np.max(moves) < 1.5
    assert np.sqrt(np.mean(np.square(moves))) < 0.6


def test_background_that_is_a_plane():
    image = image_of(POSITIONS, VALUES)
    rows, columns = image.pixels.shape
    slope = 0.01 * np.linspace(-1, 1, columns) - 0.005 * np.linspace(-1, 1, rows)[:, None]
    tilted = type(image)(image.pixels + 0.02 + slope, PIXEL, normalised=True)
    found = cross_sections(tilted, POSITIONS, plane=True)
    np.testing.assert_allclose(found.values, VALUES, atol=5e-5)


def test_voronoi_cells():
    """Columns that hardly overlap.

    Of Gaussians of 0.35 Å, 2.4 Å apart, 3e-4 is beyond the border halfway; pixels cut at borders
    add as much as the intensity there, a percent.
    """
    image = image_of(POSITIONS, VALUES, width=0.35, background=0.002)
    found = cross_sections(image, POSITIONS, by="voronoi")
    assert found.background == pytest.approx(0.002, rel=1e-3)
    np.testing.assert_allclose(found.values, VALUES, rtol=0.02)


@pytest.mark.parametrize("by", ["gaussians", "voronoi"])
def test_standard_errors(by):
    """Scores z have a variance of 1 over 20 images of 37 columns: 740 values, standard error 0.052.

    Positions and the shared width are not in the errors; they add a few percent, so that the
    band is 0.8 to 1.35.
    """
    scores = []
    for seed in range(20):
        image = image_of(POSITIONS, VALUES, dose=1e4, seed=seed, width=0.45)
        found = cross_sections(image, POSITIONS, by=by, dose_per_angstrom2=1e4)
        scores.append((found.values - VALUES) / found.standard_error)
    assert 0.8 < np.var(scores) < 1.35
    assert abs(np.mean(scores)) < 0.2


@pytest.mark.slow
def test_gradient_of_the_image():
    """Exact gradients against central differences, the Gauss–Newton matrix against the Jacobian.

    Its closed form is of the whole plane: no Gaussian is cut by the image's edge here.
    """
    pixels = np.random.default_rng(0).normal(size=(100, 110)).astype(np.float32)
    positions = np.array([[40.0, 40.0], [60.0, 42.0], [50.0, 55.0]])
    parameters = {
        "positions": jax.numpy.asarray(positions, jax.numpy.float32),
        "heights": jax.numpy.asarray([1.0, 0.5, 0.8]),
        "log_width": jax.numpy.float32(np.log(6.0)),
        "background": jax.numpy.asarray([0.1]),
    }
    tiles = into_tiles(pixels, positions, 6.0)
    gradient = jax.grad(loss)(parameters, tiles)
    generator = np.random.default_rng(1)
    way = jax.tree.map(lambda a: jax.numpy.float32(generator.normal(size=a.shape)), parameters)
    ends = [
        float(loss(jax.tree.map(lambda a, d, h=h: a + h * d, parameters, way), tiles))
        for h in (0.02, -0.02)
    ]
    along = sum(float(jax.numpy.sum(g * d)) for g, d in zip(*map(jax.tree.leaves, (gradient, way)),
                                                            strict=True))  # fmt: skip
    # Sums of 11,000 squares in single precision: 3e-3 of about 5500, over a distance of 0.04.
    assert (ends[0] - ends[1]) / 0.04 == pytest.approx(along, rel=0.02, abs=0.1)

    derivatives = jax.jacfwd(lambda p: (model_tiles(p, tiles) * tiles.mask).ravel())(parameters)
    each = np.stack([*np.moveaxis(derivatives["positions"], -1, 0), derivatives["heights"]], -1)
    jacobian = np.column_stack(
        [each.reshape(len(each), -1), derivatives["log_width"], derivatives["background"]]
    )
    inner = jacobian.T @ jacobian
    unit = np.sqrt(np.diag(inner))
    closed = gauss_newton(parameters, pixels.shape).toarray()
    np.testing.assert_allclose(closed / unit / unit[:, None], inner / unit / unit[:, None],
                               atol=2e-4)  # fmt: skip


def test_bad_input():
    image = image_of(POSITIONS, VALUES)
    with pytest.raises(InputError, match="by = 'squares'"):
        cross_sections(image, POSITIONS, by="squares")
    with pytest.raises(InputError, match="dose_per_angstrom2 = 0"):
        cross_sections(image, POSITIONS, dose_per_angstrom2=0.0)
    arbitrary = type(image)(image.pixels * 1000, PIXEL)
    with pytest.raises(InputError, match="needs normalised"):
        cross_sections(arbitrary, POSITIONS, dose_per_angstrom2=1e4)


def test_growth_of_widths_has_a_prior(monkeypatch):
    """Noise that looks like growth is believed less than half as much with the prior."""
    values = 0.008 * np.random.default_rng(0).integers(1, 5, len(POSITIONS))
    image = image_of(POSITIONS, values, dose=1e3, seed=1, width=0.5)
    fit = fit_gaussians(image.pixels, POSITIONS / PIXEL, 0.5 / PIXEL)

    def growth():
        squares = fit_widths(image.pixels, fit).widths ** 2
        return np.polyfit(fit.volumes / fit.volumes.mean(), squares / squares.mean(), 1)[0]

    believed = growth()
    monkeypatch.setattr(widths, "GROWTH_STD", 1e3)
    assert 0 < believed < 0.5 * growth()
