"""Columns as a probe shows them: its tails, and widths that grow with the thickness."""

from dataclasses import replace

import numpy as np
import pytest

from ppiscs_jax.counting.cross_sections import cross_sections
from ppiscs_jax.counting.probe_tails import tail_filter, transfer, without_probe_tails
from ppiscs_jax.settings import Settings
from tests.counting.samples import PIXEL, image_of, lattice, probe_image_of

SETTINGS = Settings("Pt", "110", 300.0, 21.0, 46.0, 190.0, rmsd_angstrom=0.08)
POSITIONS = lattice()
ATOMS = np.random.default_rng(0).integers(1, 8, len(POSITIONS))
VALUES = 0.03 * ATOMS


def deviations(image, **options):
    found = cross_sections(image, POSITIONS, **options)
    return found.values / VALUES - 1


def test_transfer_function():
    """That of two overlapping circles: 1 at 0, slope −4/π, 0.391 halfway, 0 at the end."""
    assert transfer(np.array([0.0, 0.5, 1.0, 2.0])) == pytest.approx([1, 0.39100, 0, 0], abs=1e-5)
    assert (transfer(np.array(1e-6)) - 1) / 1e-6 == pytest.approx(-4 / np.pi, rel=1e-4)


def test_the_filter_hardly_changes_the_noise():
    factor = tail_filter(np.linspace(0, 10, 1001), SETTINGS)
    assert factor[0] == factor[-1] == 1
    assert 0.95 < factor.min() < factor.max() < 1.19


def test_tails_given_and_taken():
    """The inverse filter; its mirror images beyond the edges are not those of the filter."""
    image = image_of(POSITIONS, VALUES).pixels
    tails = without_probe_tails(image, PIXEL, SETTINGS, inverse=True)
    assert tails.sum() == pytest.approx(image.sum(), rel=2e-3)
    assert np.abs(tails - image).max() > 0.02 * image.max()
    np.testing.assert_allclose(
        without_probe_tails(tails, PIXEL, SETTINGS), image, atol=2e-3 * image.max()
    )


@pytest.mark.parametrize(
    "aberrations", [{}, {"c10_angstrom": 30.0}, {"c10_angstrom": -20.0, "c30_mm": 0.0005}]
)
def test_volumes_of_probes(aberrations):
    """Gaussians of one width miss the tails; aberrations of the probe hardly matter."""
    settings = replace(SETTINGS, **aberrations)
    image = probe_image_of(POSITIONS, VALUES, settings, widths=0.45)
    plain, found = deviations(image), deviations(image, settings=SETTINGS)
    assert np.mean(plain) < -0.02
    assert abs(np.mean(found)) < 0.012
    assert np.abs(found).max() < 0.5 * np.abs(plain).max()


def test_voronoi_cells_of_probes():
    """Sharp columns: what crosses the borders of the cells is in the tails."""
    image = probe_image_of(POSITIONS, VALUES, SETTINGS, widths=0.2)
    plain = deviations(image, by="voronoi")
    found = deviations(image, by="voronoi", settings=SETTINGS)
    assert np.std(found) < 0.5 * np.std(plain)
    assert np.abs(found).max() < 0.03


def test_gaussians_have_no_tails():
    """The image says whether there are tails; nothing is taken from Gaussians."""
    image = image_of(POSITIONS, VALUES, dose=1e4)
    messages = []
    with_settings = cross_sections(image, POSITIONS, settings=SETTINGS, progress=messages.append)
    without = cross_sections(image, POSITIONS)
    assert "the columns show no tails of a probe" in messages
    np.testing.assert_allclose(with_settings.values, without.values, rtol=0.15)
    assert with_settings.values.sum() == pytest.approx(without.values.sum(), rel=0.01)


def test_widths_that_grow():
    """ρ² of the source and 0.02 Å² an atom, which gives thin columns 10 % too much in one width."""
    widths = np.sqrt(0.16 + 0.02 * ATOMS)
    image = probe_image_of(POSITIONS, VALUES, SETTINGS, widths=widths)
    thin, thick = ATOMS <= 2, ATOMS >= 6
    plain, found = deviations(image), deviations(image, settings=SETTINGS)
    assert np.mean(plain[thin]) - np.mean(plain[thick]) > 0.08
    assert abs(np.mean(found[thin]) - np.mean(found[thick])) < 0.01
    assert np.abs(found).max() < 0.03


def test_standard_errors():
    """As in test_cross_sections: a variance of 1 over 740 values, and some percent of bias."""
    scores = []
    for seed in range(20):
        image = probe_image_of(POSITIONS, VALUES, SETTINGS, widths=0.45, dose=1e4, seed=seed)
        found = cross_sections(image, POSITIONS, settings=SETTINGS, dose_per_angstrom2=1e4)
        scores.append((found.values - VALUES) / found.standard_error)
    assert 0.8 < np.var(scores) < 1.35
    assert abs(np.mean(scores)) < 0.2
