"""A kernel serves every aperture, detector and sensitivity, with its errors."""

import dataclasses
import warnings

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, scattering_kernel, simulate
from ppiscs_jax.simulation.bins import cumulative_weights
from ppiscs_jax.simulation.kernel import ScatteringKernel

SETTINGS = Settings("Cu", "100", 100.0, 25.0, 60.0, 150.0, 0.1)


@pytest.fixture(scope="module")
def kernel():
    return scattering_kernel(
        SETTINGS, apertures_mrad=[10.0, 15.0, 20.0, 25.0], n_atoms=6, relative_error=0.01
    )


def test_cumulative_weights():
    """Exact at the edges, and for cubic running integrals everywhere; no bins, no weight."""
    edges = np.array([0.0, 1.0, 2.5, 4.0, 7.0, 8.0])
    bins = np.diff(edges**3 - 2 * edges**2 + edges)
    for x in (0.0, 0.4, 1.0, 2.2, 3.3, 6.5, 8.0):
        assert cumulative_weights(edges, x) @ bins == pytest.approx(x**3 - 2 * x**2 + x)
    np.testing.assert_array_equal(cumulative_weights(edges, 4.0), [1, 1, 1, 0, 0])


def test_additive_and_complete(kernel):
    """Contiguous detectors add up; bright field to 250 mrad plus what is lost is everything."""
    whole, low, high = (kernel.curve(None, *d) for d in ((0, 250), (0, 83.3), (83.3, 250)))
    np.testing.assert_allclose(low.ppiscs + high.ppiscs, whole.ppiscs, rtol=1e-12)
    area = 3.6149**2 / 4
    rings = np.diff(kernel.ring_edges_mrad**2) / kernel.ring_edges_mrad[-1] ** 2
    beyond = area * rings @ kernel.lost
    # What lies between 250 mrad and the band limit is in neither: 0.1 % of the electrons.
    assert np.all(np.abs(whole.ppiscs + beyond - area) < 2e-3 * area)


def test_sensitivity(kernel):
    """S(θ) = 1 inside a detector is that detector; S is linear; errors follow the batches."""
    detector = kernel.curve(None, 60, 150)
    box = kernel.sensitivity_curve(lambda theta: ((theta > 60) & (theta < 150)).astype(float))
    np.testing.assert_allclose(box.ppiscs, detector.ppiscs, rtol=1e-12)
    np.testing.assert_allclose(box.standard_error, detector.standard_error, rtol=1e-9)
    angles, values = box.sensitivity
    np.testing.assert_array_equal(values, (angles > 60) & (angles < 150))
    assert (box.settings.inner_mrad, box.settings.outer_mrad) == (0, 250)
    half = kernel.sensitivity_curve(lambda theta: 0.5 * np.ones_like(theta))
    np.testing.assert_allclose(half.ppiscs, 0.5 * kernel.curve(None, 0, 250).ppiscs, rtol=1e-12)


@pytest.mark.parametrize("convergence", [10.0, 17.3, 25.0])
@pytest.mark.slow
def test_any_aperture_is_its_own_simulation(kernel, convergence):
    """Apertures at and between the rings against simulations of their own.

    Four combined standard errors (18 comparisons) plus 0.3 % for the interpolation between
    rings 5 mrad wide.
    """
    alone = simulate(
        Settings("Cu", "100", 100.0, convergence, 60.0, 150.0, 0.1), 0.01, seed=7, n_atoms=6
    )
    curve = kernel.curve(convergence, 60, 150)
    assert curve.settings.convergence_mrad == convergence
    combined = np.hypot(curve.standard_error, alone.standard_error)
    assert np.all(np.abs(curve.ppiscs - alone.ppiscs) < 4 * combined + 0.003 * alone.ppiscs)


def test_bright_field_is_served():
    """A detector from 0 mrad inside the aperture: nearly all electrons of a thin light crystal."""
    curve = simulate(Settings("Al", "100", 200.0, 20.0, 0.0, 20.0, 0.1), 0.01, n_atoms=2)
    area = 4.0495**2 / 4
    assert 0.8 * area < curve.ppiscs[1] < curve.ppiscs[0] < area


def test_what_a_kernel_cannot_serve(kernel):
    with pytest.raises(InputError, match=r"convergence_mrad = 30 .*must be 10 to 25"):
        kernel.curve(30.0, 60, 150)
    with pytest.raises(InputError, match=r"outer_mrad = 260"):
        kernel.curve(None, 60, 260)


def test_coarse_edges_are_not_interpolated():
    """Between edges far apart a cubic would be nonsense with a small error: refused."""
    coarse = scattering_kernel(
        SETTINGS,
        apertures_mrad=[10.0, 25.0],
        angle_edges_mrad=[0, 30, 60, 120, 150],
        n_atoms=1,
        relative_error=0.5,
    )
    assert coarse.curve(10.0, 30, 120).ppiscs[0] > 0
    with pytest.raises(InputError, match="inner_mrad = 45 mrad: lies between 30 and 60"):
        coarse.curve(10.0, 45, 120)
    with pytest.raises(InputError, match="convergence_mrad = 17 mrad: lies between 10 and"):
        coarse.curve(17.0, 30, 60)


def test_too_small_an_aperture_is_refused():
    """Half a milliradian at 1000 kV would need 170 million pixels."""
    settings = Settings("Au", "110", 1000.0, 0.5, 60.0, 200.0, 0.085)
    with pytest.raises(InputError, match=r"convergence_mrad = 0\.5 mrad: so small"):
        simulate(settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"apertures_mrad": np.array([300.0, 20.0])}, "apertures_mrad = 300 mrad"),
        ({"detectors_mrad": [60, 150]}, "detectors_mrad of shape"),
        ({"n_atoms": 2.5}, "n_atoms = 2.5: must be a whole number"),
        ({"n_atoms": "2"}, "n_atoms = '2': must be one number"),
        ({"seed": 1.5}, "seed = 1.5: must be a whole number"),
        ({"relative_error": "1%"}, "relative_error = '1%'"),
        ({"workers": -1}, "workers = -1"),
        ({"max_waves": 0}, "max_waves = 0"),
        ({"angle_edges_mrad": [[0, 60], [60, 150]]}, "angle_edges_mrad of shape"),
        ({"angle_edges_mrad": [0, 150, 60]}, "angle_edges_mrad: must be two or more"),
    ],
)
def test_every_argument_is_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        scattering_kernel(SETTINGS, **arguments)


def test_bad_arguments_are_found_before_work():
    with pytest.raises(InputError, match=r"outer_mrad = 150 .*must be above 60 and up to 100"):
        scattering_kernel(SETTINGS, angle_edges_mrad=[0, 60, 100])
    with pytest.raises(InputError, match=r"n_atoms = 0.*relative_error = -1"):
        simulate(SETTINGS, -1.0, n_atoms=0)


def test_error_not_reached_is_said():
    with pytest.warns(UserWarning, match="max_waves"):
        simulate(SETTINGS, 1e-6, n_atoms=1, max_waves=128)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        simulate(SETTINGS, 0.5, n_atoms=1)


APERTURE_MRAD = 20.0


def beyond(angle_mrad):
    """What an imagined crystal scatters beyond an angle, as a fraction of the electrons.

    95 % stay in the unscattered beam, which fills the aperture evenly; the rest falls off like
    1 / θ⁴, which is steepest beside the aperture.
    """
    unscattered = 1 - np.minimum(angle_mrad / APERTURE_MRAD, 1) ** 2
    return 0.95 * unscattered + 0.05 / (1 + (angle_mrad / 18) ** 2)


@pytest.fixture(scope="module")
def imagined():
    """Kernel of the imagined crystal: one ring, which is the aperture, and bins of 1 mrad."""
    edges = np.arange(251.0)
    means = np.tile(-np.diff(beyond(edges)), (16, 1, 1, 1))
    return ScatteringKernel(
        element="Cu",
        zone_axis="100",
        voltage_kv=100.0,
        rmsd_angstrom=0.1,
        mistilt_mrad=(0.0, 0.0),
        ring_edges_mrad=np.array([0.0, APERTURE_MRAD]),
        angle_edges_mrad=edges,
        batch_means=means,
        lost=np.zeros((1, 1)),
        seed=0,
        waves=128,
    )


@pytest.mark.parametrize("inner", [18.4, 19.5, 20.0, 20.25, 20.5, 20.9, 21.5, 23.3])
def test_beside_the_edge_of_the_aperture(imagined, inner):
    """Detectors that begin between two bins beside the kink of the unscattered beam.

    The cubic of a 1 / θ⁴ tail errs by less than 9/16 · h⁴ · f⁗ / 24 = 1e-4 of f with h = 1 mrad
    at θ = 20 mrad; and three times as much in the outermost of its intervals.
    """
    area = SETTINGS.column_area_angstrom2
    curve = imagined.curve(None, inner, 200)
    assert curve.ppiscs[0] == pytest.approx(area * (beyond(inner) - beyond(200)), rel=3e-4)


def test_a_ring_beside_the_aperture_is_positive(imagined):
    ring = imagined.curve(None, 20.5, 21).ppiscs[0] / SETTINGS.column_area_angstrom2
    assert ring == pytest.approx(beyond(20.5) - beyond(21), rel=0.02)


@pytest.mark.parametrize("begin", [20.0, 20.5, 21.3, 60.7])
def test_a_sensitivity_that_begins_beside_the_aperture(imagined, begin):
    """S rises linearly over 5 mrad from an angle on; ∫ S dF by quadrature of the closed form.

    An eighth of a bin is resolved, within which S is replaced by its mean: an error of S of
    1/8 / 5 in the one part in which S begins.
    """

    def sensitivity(theta):
        return np.clip((theta - begin) / 5, 0, 1)

    theta = np.linspace(0, 250, 2_000_001)
    middle = (theta[:-1] + theta[1:]) / 2
    expected = np.sum(sensitivity(middle) * -np.diff(beyond(theta)))
    curve = imagined.sensitivity_curve(sensitivity)
    area = SETTINGS.column_area_angstrom2
    assert curve.ppiscs[0] == pytest.approx(area * expected, rel=1e-3)


def test_what_the_kernel_does_not_resolve_beside_the_aperture(imagined):
    """An aperture inside a bin, and sensitivities that vary in wide bins."""
    edges = np.array([0.0, 19.2, 20.8, 40.0, 60.0, 200.0])
    means = np.tile(-np.diff(beyond(edges)), (16, 1, 1, 1))
    wide = dataclasses.replace(imagined, angle_edges_mrad=edges, batch_means=means)
    with pytest.raises(InputError, match="as does the edge of the aperture at 20 mrad"):
        wide.curve(None, 20.5, 200)
    with pytest.raises(InputError, match=r"varies at θ = 50 mrad.*more than 2 mrad apart"):
        wide.sensitivity_curve(lambda theta: np.clip((theta - 45) / 10, 0, 1))
    box = wide.sensitivity_curve(lambda theta: (theta > 60).astype(float))
    assert box.ppiscs[0] == pytest.approx(wide.curve(None, 60, 200).ppiscs[0])
