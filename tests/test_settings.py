import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import InputError, Settings
from ppiscs_jax.settings import RANGES, VECTOR_ORDER

GOLD = Settings(
    element="Au",
    zone_axis="110",
    voltage_kv=300,
    convergence_mrad=20.0,
    inner_mrad=60.0,
    outer_mrad=200.0,
    rmsd_angstrom=0.085,
    c30_mm=0.001,
    c10_angstrom=-50.0,
)


def test_vector_of_the_published_network():
    expected = [79, 0, 300, 0.001, -50, 20, 60, 200, 0.085]
    np.testing.assert_array_equal(GOLD.to_vector(), expected)


@pytest.mark.parametrize("zone", ["100", "110", "111"])
def test_vector_round_trip(zone):
    settings = dataclasses.replace(GOLD, zone_axis=zone)
    assert Settings.from_vector(settings.to_vector()) == settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: 26}, r"vector\[0\], atomic number = 26.0: must be one of 13, "),
        ({1: 5}, r"vector\[1\], zone axis = 5.0: must be one of"),
        ({2: 5}, "voltage_kv = 5 kV: must be 20 to 1000 kV"),
        ({0: np.nan}, "atomic number = nan"),
    ],
)
def test_bad_vectors(change, message):
    vector = GOLD.to_vector()
    for index, value in change.items():
        vector[index] = value
    with pytest.raises(InputError, match=message):
        Settings.from_vector(vector)


def test_vector_of_wrong_length():
    with pytest.raises(InputError, match=r"shape \(8,\)"):
        Settings.from_vector(GOLD.to_vector()[1:])


@pytest.mark.parametrize("bad", ["above", "below", "nan", "text", "array", "complex"])
@pytest.mark.parametrize("field", RANGES)
def test_every_bad_number_is_named_with_its_unit(field, bad):
    low, high, unit = RANGES[field]
    value = {
        "above": high + 1,
        "below": low - 1,
        "nan": float("nan"),
        "text": "60",
        "array": np.array([60.0]),
        "complex": 60j,
    }[bad]
    with pytest.raises(InputError) as caught:
        dataclasses.replace(GOLD, **{field: value})
    problem = next(p for p in caught.value.problems if p.startswith(f"{field} = "))
    assert unit in problem


@pytest.mark.parametrize("field", [f for f in RANGES if f != "rmsd_angstrom"])
def test_nothing_but_the_rmsd_may_be_missing(field):
    with pytest.raises(InputError, match=f"{field} = None"):
        dataclasses.replace(GOLD, **{field: None})


def test_every_problem_is_listed():
    with pytest.raises(InputError) as caught:
        Settings("Fe", "112", 0.0, 20.0, 60.0, 300.0, rmsd_angstrom=-1.0)
    starts = ("element", "zone_axis", "voltage_kv", "outer_mrad", "rmsd_angstrom")
    assert len(caught.value.problems) == len(starts)
    for problem, start in zip(caught.value.problems, starts, strict=True):
        assert problem.startswith(start)


@pytest.mark.parametrize(
    ("field", "value"), [("outer_mrad", 0.2), ("outer_mrad", 0.99), ("convergence_mrad", 0.02)]
)
def test_angles_in_radians_are_refused(field, value):
    """The message says the same angle in mrad; those of 1 mrad and more could be meant."""
    message = f"{field} = {value} mrad: must be .*if it is in rad, give"
    with pytest.raises(InputError, match=message if value < 0.25 else f"{field} = {value} mrad"):
        dataclasses.replace(GOLD, **{"inner_mrad": 0.06, field: value})
    assert dataclasses.replace(GOLD, inner_mrad=0.0, outer_mrad=1.0).outer_mrad == 1


@pytest.mark.parametrize("outer", [60.0, 59.0])
def test_detector_needs_width(outer):
    with pytest.raises(InputError, match="inner_mrad = 60 mrad: must be below outer_mrad"):
        dataclasses.replace(GOLD, outer_mrad=outer)


def test_temperature_gives_the_rmsd():
    """B(293 K) of gold is 0.62 Å²: rmsd = √(0.62 / 8π²) = 0.0886 Å, to half a unit of B."""
    warm = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, temperature_k=293.0)
    assert warm.rmsd_angstrom == pytest.approx(0.0886, abs=0.0004)


def test_temperature_or_rmsd_but_not_both_nor_neither():
    fields = ("Au", "110", 300.0, 20.0, 60.0, 200.0)
    with pytest.raises(InputError, match=r"temperature_k = 293 K and rmsd_angstrom = 0\.1 Å"):
        Settings(*fields, rmsd_angstrom=0.1, temperature_k=293.0)
    with pytest.raises(InputError, match="rmsd_angstrom: missing"):
        Settings(*fields)


def test_zone_axis_is_stored_by_its_one_name():
    assert dataclasses.replace(GOLD, zone_axis="001").zone_axis == "100"


def test_integers_become_floats():
    assert isinstance(GOLD.voltage_kv, float)


def test_pytree_round_trip():
    leaves, tree = jax.tree.flatten(GOLD)
    assert leaves == [*(getattr(GOLD, field) for field in VECTOR_ORDER[2:]), *GOLD.mistilt_mrad]
    assert jax.tree.unflatten(tree, leaves) == GOLD
    named = jax.tree_util.tree_leaves_with_path(GOLD)
    assert [path[0].name for path, _ in named] == [*VECTOR_ORDER[2:], *["mistilt_mrad"] * 2]


def total(settings: Settings) -> jax.Array:
    return settings.voltage_kv * settings.rmsd_angstrom + settings.outer_mrad


def test_jit_traces_numbers_and_compiles_once_per_specimen():
    compiled = []

    @jax.jit
    def f(settings):
        compiled.append(settings.element)
        return total(settings)

    assert f(GOLD) == pytest.approx(300 * 0.085 + 200, rel=1e-6)
    assert f(dataclasses.replace(GOLD, voltage_kv=200.0)) == pytest.approx(217, rel=1e-6)
    f(dataclasses.replace(GOLD, element="Pt"))
    assert compiled == ["Au", "Pt"]


def test_grad_through_settings():
    gradient = jax.grad(total)(GOLD)
    assert gradient.element == "Au"
    assert gradient.voltage_kv == pytest.approx(0.085, rel=1e-6)
    assert gradient.rmsd_angstrom == pytest.approx(300, rel=1e-6)
    assert gradient.inner_mrad == 0


def test_grad_through_the_constructor():
    def of_rmsd(rmsd):
        return total(dataclasses.replace(GOLD, rmsd_angstrom=rmsd))

    assert jax.grad(of_rmsd)(0.085) == pytest.approx(300, rel=1e-6)


def test_vmap_over_settings():
    rmsds = jnp.array([0.07, 0.09])
    many = jax.vmap(lambda r: dataclasses.replace(GOLD, rmsd_angstrom=r))(rmsds)
    axes = jax.tree.map(lambda leaf: 0 if jnp.ndim(leaf) else None, many)
    np.testing.assert_allclose(jax.vmap(total, in_axes=(axes,))(many), 300 * rmsds + 200, rtol=1e-6)


@pytest.mark.parametrize("three_hundred", [300, np.int64(300), np.float32(300), jnp.array(300)])
def test_any_kind_of_number_can_be_differentiated(three_hundred):
    """Integers of NumPy and JAX become floats too."""
    settings = dataclasses.replace(GOLD, voltage_kv=three_hundred)
    assert jnp.issubdtype(jnp.result_type(settings.voltage_kv), jnp.floating)


@pytest.mark.parametrize("bad", ["300", True, [300.0, 200.0], None])
def test_what_is_no_temperature(bad):
    with pytest.raises(InputError, match=r"temperature_k|rmsd_angstrom"):
        Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, temperature_k=bad)


def test_vector_of_text():
    with pytest.raises(InputError, match="vector"):
        Settings.from_vector(["a"] * 9)


def test_mistilt():
    """A pair of angles within 100 mrad, which the nine numbers of surrogates do not hold."""
    tilted = dataclasses.replace(GOLD, mistilt_mrad=np.array([3, -4]))
    assert tilted.mistilt_mrad == (3.0, -4.0)
    assert tilted != GOLD
    assert hash(tilted) == hash(dataclasses.replace(GOLD, mistilt_mrad=(3.0, -4.0)))
    with pytest.raises(InputError, match=r"mistilt_mrad = \(3, -4\) mrad: must be \(0, 0\)"):
        tilted.to_vector()
    with pytest.raises(InputError, match="mistilt_mrad = 150 mrad: must be 0 to 100 mrad"):
        dataclasses.replace(GOLD, mistilt_mrad=(90.0, 120.0))
    with pytest.raises(InputError, match="mistilt_mrad of shape"):
        dataclasses.replace(GOLD, mistilt_mrad=3.0)
    slope = jax.grad(lambda s: s.mistilt_mrad[0] ** 2)(tilted)
    assert slope.mistilt_mrad == (6.0, 0.0)
