"""Settings take what people write, and say what is wrong in their words."""

from decimal import Decimal

import jax
import numpy as np
import pytest

from ppiscs_jax import Curve, InputError, Settings, load_surrogate, predict, simulate

GOLD = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)


@pytest.mark.parametrize("element", ["Au", "au", " AU ", 79, np.int64(79)])
@pytest.mark.parametrize("zone_axis", ["110", "[110]", "[1 1 0]", (1, 1, 0), [1, 1, 0], 110])
def test_specimens(element, zone_axis):
    """Symbols in any case, atomic numbers, and zone axes with brackets, spaces or as numbers."""
    assert Settings(element, zone_axis, 300.0, 20.0, 60.0, 200.0, 0.085) == GOLD


def test_numbers():
    """Decimals, integers, NumPy and JAX scalars are the same settings, and hash alike."""
    others = [
        Settings("Au", "110", Decimal(300), 20, np.float64(60), np.array(200.0), 0.085),
        Settings("Au", "110", jax.numpy.float32(300), 20, 60, 200, 0.085),
    ]
    for other in others:
        assert other == GOLD
        assert hash(other) == hash(GOLD)


@pytest.mark.parametrize("element", ["Xx", 6, True, None, ["Au"]])
def test_unknown_elements(element):
    """The message names the field and what there is."""
    with pytest.raises(InputError, match=r"element = .*: must be one of Al, Ni"):
        Settings(element, "110", 300.0, 20.0, 60.0, 200.0, 0.085)


def test_predictions_of_settings():
    """A list of settings; gradients in settings; one row outside is named by its value."""
    silver = Settings("Ag", "111", 120.0, 25.0, 50.0, 180.0, 0.1)
    both = predict([GOLD, silver])
    np.testing.assert_allclose(both[1, :35], predict(silver), rtol=1e-6)
    slope = jax.grad(lambda settings: predict(settings)[40])(GOLD)
    assert slope.inner_mrad < 0 < slope.rmsd_angstrom
    cold = Settings("Pt", "110", 300.0, 20.0, 60.0, 200.0, 0.05)
    with pytest.raises(InputError, match=r"rmsd_angstrom = 0.05 Å: must be 0.05625"):
        predict(cold, outside="raise")
    assert len(repr(load_surrogate())) < 1000


def test_curves_are_compared_by_value():
    """Equal where everything in them is."""
    one, same, other = (
        Curve(np.arange(1, 3), np.array([1.0, 2.0]), np.array(e), GOLD, 0, 16, 16)
        for e in ([0.1, 0.1], [0.1, 0.1], [0.1, 0.2])
    )
    assert one == same
    assert one != other
    assert one != "a curve"


def test_progress_in_lines(capsys, monkeypatch):
    """`progress=True` prints a line every few seconds."""
    monkeypatch.setattr("ppiscs_jax.progress.SECONDS_BETWEEN_LINES", 0.0)
    simulate(GOLD, 0.1, n_atoms=1, progress=True)
    assert "waves" in capsys.readouterr().err


def test_curves_as_tables():
    """For pandas and xarray, where they are installed."""
    curve = predict(GOLD)
    pandas = pytest.importorskip("pandas")
    table = curve.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    np.testing.assert_array_equal(table["ppiscs_angstrom2"], curve.ppiscs)
    pytest.importorskip("xarray")
    data = curve.to_xarray()
    np.testing.assert_array_equal(data.ppiscs.sel(n_atoms=40), curve.ppiscs[39])
    assert data.attrs["element"] == "Au"
    assert data.ppiscs.attrs["units"] == "Å²"
