"""The probe scan and the tilt average are one quantity; aberrations drop out."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError, Settings
from ppiscs_jax.constants import wavelength_angstrom
from ppiscs_jax.multislice.wave import make_specimen, scatter_batch
from ppiscs_jax.simulation.image import IMAGE, simulate_image
from ppiscs_jax.simulation.scan import ScanOptions, defocus_quadrature, paper_grid, simulate_scan

COPPER = {
    "element": "Cu",
    "zone_axis": "100",
    "voltage_kv": 100.0,
    "convergence_mrad": 20.0,
    "inner_mrad": 60.0,
    "outer_mrad": 150.0,
    "rmsd_angstrom": 0.1,
}
CELL = {"supercell_angstrom": 11.0, "pixels": 130}
"""3 × 3 cells of copper, 6 Å⁻¹."""
DETECTORS = [(0.0, 20.0), (20.0, 60.0), (60.0, 150.0)]
N_ATOMS = 3


@pytest.fixture(scope="module")
def grid():
    return paper_grid("100", 3.6149, **CELL)


def scan(configurations=12, spread=0.0, seed=0, **aberrations):
    return simulate_scan(
        Settings(**COPPER, **aberrations),
        ScanOptions(
            pixels=130,
            scan_step_angstrom=0.45,
            configurations=configurations,
            defocus_spread_angstrom=spread,
            defocus_nodes=3,
            core_correction=True,
            positions_at_once=16,
            seed=seed,
        ),
        n_atoms=N_ATOMS,
        detectors_mrad=DETECTORS,
        supercell_angstrom=11.0,
    )


@pytest.fixture(scope="module")
def tilt_average(grid):
    """The mean over exactly the plane waves of which the cell's probe consists.

    A probe on a periodic cell holds the cell's reciprocal vectors inside the aperture; with
    the same discrete tilts the two averages are equal in expectation on any cell, so the
    cell's angular resolution does not enter. Twelve independent crystals a tilt.
    """
    settings = Settings(**COPPER)
    a, wavelength = 3.6149, float(wavelength_angstrom(100.0))
    gx, gy = (f / a * wavelength * 1e3 for f in grid.frequencies)
    x, y = np.meshgrid(gx, gy, indexing="ij")
    inside = np.hypot(x, y) <= 20.0
    tilts = np.stack([x[inside], y[inside]], axis=-1)
    specimen = make_specimen(settings, grid)
    means = [
        np.asarray(
            scatter_batch(
                grid,
                specimen,
                jax.random.key(100 + i),
                jnp.asarray(tilts, jnp.float32),
                jnp.array([0.0, 20.0, 60.0, 150.0]),
                n_atoms=N_ATOMS,
                n_planes=64,
            ),
            dtype=float,
        ).mean(axis=0)[:, :-1]
        for i in range(12)
    ]
    area = settings.zone_axis_data.column_area * a**2
    return area * np.mean(means, axis=0).T, area * np.std(means, axis=0, ddof=1).T / np.sqrt(12)


@pytest.mark.parametrize(
    ("c10", "c30", "spread"),
    [
        (0.0, 0.0, 0.0),
        pytest.param(-80.0, 0.0, 0.0, marks=pytest.mark.slow),
        pytest.param(0.0, 0.02, 0.0, marks=pytest.mark.slow),
        pytest.param(60.0, 0.02, 50.0, marks=pytest.mark.slow),
    ],
)
def test_scan_equals_tilt_average(tilt_average, c10, c30, spread):
    """Two defoci, two C30, two defocus spreads; bright field, low and high angles.

    Steps of 0.45 Å sample the probe's intensity (band limit 2α/λ = 1.08 Å⁻¹) above its Nyquist
    rate, so the sum over one cell is its integral. Twelve configurations against twelve: t with
    about 20 degrees of freedom, nine comparisons: 4 combined standard errors.
    """
    result = scan(c10_angstrom=c10, c30_mm=c30, spread=spread)
    for curve, value, error in zip(result.curves, *tilt_average, strict=True):
        combined = np.hypot(curve.standard_error, error)
        assert np.all(np.abs(curve.ppiscs - value) < 4 * combined)
        assert np.all(combined < 0.03 * value)


@pytest.mark.slow
def test_aberrations_are_sampling_noise():
    """On the same crystals, the spread over C10 and C30 shrinks as configurations grow.

    It is the cross terms of few configurations and falls like 1/√configurations: from 2 to 32 by
    4 in expectation; the spread of four values is itself uncertain by 40 %, so by 2 is asked.
    """
    aberrations = ((-100.0, 0.0), (0.0, 0.0), (100.0, 0.02), (50.0, 0.05))

    def spread(configurations):
        values = [
            scan(configurations, c10_angstrom=c10, c30_mm=c30).curves[2].ppiscs
            for c10, c30 in aberrations
        ]
        return np.mean(np.std(values, axis=0) / np.mean(values, axis=0))

    assert spread(32) < 0.5 * spread(2)


def test_curves_name_their_detector():
    angles = [(c.settings.inner_mrad, c.settings.outer_mrad) for c in scan(1).curves]
    assert angles == DETECTORS


def test_image_is_the_scan():
    """The sum of the image times pixel area over columns is the PPISCS, as the paper has it."""
    result = scan(configurations=2)
    pixel = np.prod(result.step_angstrom)
    columns = 4
    np.testing.assert_allclose(
        result.images.sum(axis=(2, 3)) * pixel / columns,
        [c.ppiscs for c in result.curves],
        rtol=1e-5,
    )


@pytest.mark.slow
def test_image_of_given_atoms(grid):
    """The same crystal as a box of atoms, without vibrations: the same image.

    float32 positions in a cell of 11 Å are good to 1e-6 Å; intensities agree to 1e-3.
    """
    settings = Settings(**{**COPPER, "rmsd_angstrom": 0.0})
    crystal = simulate_scan(
        settings,
        ScanOptions(pixels=130, scan_step_angstrom=0.45, configurations=1, core_correction=True),
        n_atoms=2,
        supercell_angstrom=11.0,
    )
    a = 3.6149
    size = np.array(grid.lengths) * a
    atoms = np.concatenate(
        [
            np.column_stack([grid.sites[i % 2] * size, np.full(len(grid.sites[0]), i * a / 2)])
            for i in range(4)
        ]
    )
    image, error = simulate_image(
        settings,
        np.random.default_rng(0).permutation(atoms),
        tuple(size),
        a / 2,
        replace(IMAGE, scan_step_angstrom=0.4518625, pixels=grid.shape[0], configurations=1),
    )
    n = crystal.images.shape[2]
    np.testing.assert_allclose(image[:n, :n], crystal.images[0, -1], rtol=1e-3)
    assert np.isnan(error).all()


def test_displacements_of_every_batch():
    """Without vibrations they change nothing; with them, nearly all positions."""
    atoms = np.array([[2.0, 2.0, 0.0], [5.0, 4.0, 1.0]])
    options = replace(
        IMAGE, scan_step_angstrom=2.0, pixels=80, configurations=1, positions_at_once=3
    )

    def image(rmsd, own):
        settings = Settings(**{**COPPER, "rmsd_angstrom": rmsd})
        return simulate_image(
            settings, atoms, (7.0, 7.0), 1.0, replace(options, own_displacements=own)
        )[0]

    np.testing.assert_array_equal(image(0.0, True), image(0.0, False))
    assert np.mean(image(0.1, True) == image(0.1, False)) < 0.1


def test_paper_grid():
    """Au [110]: 17 × 12 cells of 2.884 × 4.078 Å, 1536 pixels, Nyquist frequency 15.7 Å⁻¹."""
    grid = paper_grid("110", 4.0782)
    assert grid.repeats == (17, 12)
    assert grid.shape[0] == 1536
    np.testing.assert_allclose(np.array(grid.nyquist) / 4.0782, 15.67, atol=0.02)


def test_defocus_quadrature():
    """Mean and standard deviation of the nodes are those of the distribution."""
    c10, weights = defocus_quadrature(-30.0, 25.0, 5)
    assert weights.sum() == pytest.approx(1)
    assert weights @ c10 == pytest.approx(-30)
    assert weights @ (c10 + 30) ** 2 == pytest.approx(625)


def test_bad_input_is_named():
    settings = Settings(**COPPER)
    with pytest.raises(InputError, match=r"scan_step_angstrom = 5 Å.*configurations = 0"):
        ScanOptions(configurations=0, scan_step_angstrom=5.0)
    with pytest.raises(InputError, match="supercell_angstrom = 3 Å"):
        simulate_scan(settings, supercell_angstrom=3.0)
    with pytest.raises(InputError, match=r"outer_mrad = 150 mrad.*band limit"):
        simulate_scan(settings, ScanOptions(pixels=48), supercell_angstrom=11.0)
    with pytest.raises(InputError, match="defocus_spread_angstrom = nan"):
        ScanOptions(defocus_spread_angstrom=float("nan"))
    narrow = Settings(**{**COPPER, "convergence_mrad": 1.0})
    with pytest.raises(InputError, match=r"convergence_mrad = 1 mrad: below the 3\.4"):
        simulate_scan(narrow, ScanOptions(pixels=130), supercell_angstrom=11.0)
    with pytest.raises(InputError, match=r"mistilt_mrad = \(1, 0\) mrad: must be \(0, 0\)"):
        simulate_scan(replace(settings, mistilt_mrad=(1.0, 0.0)))
    with pytest.raises(InputError, match="box_angstrom of shape"):
        simulate_image(settings, np.zeros((3, 3)), (10.0, 10.0, 10.0), 1.8)
    with pytest.raises(InputError, match="atoms_angstrom of shape"):
        simulate_image(settings, np.zeros((3, 2)), (10.0, 10.0), 1.8)
