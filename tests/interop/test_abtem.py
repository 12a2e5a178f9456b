"""Settings from what is set up in abTEM."""

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, settings_from_abtem
from ppiscs_jax.interop.abtem import slab
from ppiscs_jax.multislice.grid import make_grid

abtem = pytest.importorskip("abtem", reason="abTEM is not installed")
ase = pytest.importorskip("ase", reason="ASE is not installed")
build = pytest.importorskip("ase.build")

GOLD_ANGSTROM = 4.0782


def probe(energy=300e3, semiangle_cutoff=21.0, **options):
    return abtem.Probe(energy=energy, semiangle_cutoff=semiangle_cutoff, **options)


def convert(atoms, a_probe=None, detector=None, **options):
    detector = detector or abtem.AnnularDetector(inner=60.0, outer=200.0)
    return settings_from_abtem(atoms, a_probe or probe(), detector, rmsd_angstrom=0.09, **options)


@pytest.fixture(scope="module")
def gold():
    return build.bulk("Au", a=GOLD_ANGSTROM, cubic=True)


@pytest.mark.parametrize("zone", ["100", "110", "111"])
def test_round_trip(zone):
    """Units are converted, and a slab of a zone axis is recognised as such."""
    settings = Settings("Pb", zone, 300.0, 21.0, 60.0, 200.0, 0.09, c30_mm=1.2, c10_angstrom=-50.0)
    a = settings.element_data.lattice_angstrom
    grid = make_grid(zone, a, 5.0)
    atoms = slab(settings, a * np.array(grid.lengths), [*grid.sites, *grid.sites])
    assert convert(atoms, probe(C30=1.2e7, defocus=50.0)) == settings


@pytest.mark.parametrize(
    ("face", "layers", "zone"), [("fcc100", 3, "100"), ("fcc110", 5, "110"), ("fcc111", 3, "111")]
)
def test_slabs_of_ase(face, layers, zone):
    """Surfaces with vacuum, whose outer atoms have fewer neighbours, turned about the beam."""
    atoms = getattr(build, face)("Au", (2, 2, layers), a=GOLD_ANGSTROM, vacuum=5.0)
    atoms.rotate(17.0, "z", rotate_cell=True)
    assert convert(atoms).zone_axis == zone


def test_temperature(gold):
    detector = abtem.AnnularDetector(inner=60.0, outer=200.0)
    settings = settings_from_abtem(gold, probe(), detector, temperature_k=293.0)
    expected = Settings("Au", "100", 300.0, 21.0, 60.0, 200.0, temperature_k=293.0)
    assert settings == expected


def close_packed(stacking):
    """Gold in close-packed layers along z, such as "AB" (hexagonal) or "ABC" (fcc)."""
    distance = GOLD_ANGSTROM / np.sqrt(2)
    edges = distance * np.array([[1.0, 0.0, 0.0], [0.5, np.sqrt(0.75), 0.0]])
    height = distance * np.sqrt(2 / 3)
    shifts = {"A": 0.0, "B": 1 / 3, "C": 2 / 3}
    positions = [
        shifts[letter] * edges.sum(axis=0) + [0.0, 0.0, i * height]
        for i, letter in enumerate(stacking)
    ]
    cell = [*edges, [0.0, 0.0, len(stacking) * height]]
    return ase.Atoms(["Au"] * len(stacking), positions, cell=cell, pbc=True)


def tilted(gold):
    atoms = gold.repeat(2)
    atoms.rotate(10.0, "x", rotate_cell=True)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (lambda gold: build.fcc110("Au", (2, 2, 1), a=GOLD_ANGSTROM), "none has the twelve"),
        (lambda gold: close_packed("AB"), "not a single fcc crystal"),
        (lambda gold: close_packed("ABCABCACB"), "not a single fcc crystal"),
        (tilted, "z is none of the zone axes"),
        (lambda gold: build.bulk("Au", a=4.15, cubic=True), "lattice constant is 4.15 Å, that of"),
    ],
    ids=["one layer", "hexagonal", "twin", "tilted", "lattice constant"],
)
def test_zone_axis_that_cannot_be_told(gold, atoms, message):
    """It is asked for, and then taken as it is given."""
    with pytest.raises(InputError, match=rf"{message}.*; give zone_axis"):
        convert(atoms(gold))
    assert convert(atoms(gold), zone_axis="111").zone_axis == "111"


def test_fcc_of_close_packed_layers():
    """What `close_packed` calls fcc is taken for it."""
    assert convert(close_packed("ABC")).zone_axis == "111"


def test_what_settings_do_not_have(gold):
    """Every problem is named, in one error."""
    bad_probe = abtem.Probe(
        aperture=abtem.transfer.Vortex(quantum_number=1, semiangle_cutoff=20.0), tilt=(5.0, 0.0)
    )
    detector = abtem.AnnularDetector(inner=60.0, offset=(0.0, 3.0))
    with pytest.raises(InputError) as caught:
        convert(build.bulk("NaCl", "rocksalt", a=5.6), bad_probe, detector)
    starts = ("probe.energy", "probe.aperture = Vortex", "probe.tilt", "detector.outer = None")
    starts += ("detector.offset = (0.0, 3.0)", "atoms: must be of one element")
    assert len(caught.value.problems) == len(starts)
    for problem, start in zip(caught.value.problems, starts, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize(
    "series", [{"tilt": np.array([[1.0, 0.0], [2.0, 0.0]])}, {"C30": "spread"}, {"C10": "spread"}]
)
def test_series_of_probes(gold, series):
    """Settings are of one probe."""
    spread = abtem.distributions.uniform(-50.0, 50.0, 3)
    options = {k: spread if isinstance(v, str) else v for k, v in series.items()}
    with pytest.raises(InputError, match=rf"probe\.(aberrations\.)?{next(iter(series))}"):
        convert(gold, probe(**options))


def test_other_objects(gold):
    """Frozen phonons, other detectors and plane waves are named with what is expected."""
    phonons = abtem.FrozenPhonons(gold, 2, sigmas=0.09)
    with pytest.raises(InputError) as caught:
        convert(phonons, abtem.PlaneWave(energy=300e3), abtem.FlexibleAnnularDetector())
    expected = ("ase.Atoms", "abtem.Probe", "abtem.AnnularDetector")
    assert [problem.split()[-1] for problem in caught.value.problems] == list(expected)


def test_angles_are_on_the_same_scale():
    """1 mrad ≡ 1000 λk: the angle of abTEM's pixels grows linearly with their frequency."""
    wave = abtem.PlaneWave(energy=300e3, gpts=64, extent=8.0).build(lazy=False)
    wavelength = abtem.core.energy.energy2wavelength(300e3)
    np.testing.assert_allclose(wave.angular_sampling, 1e3 * wavelength / 8.0)
