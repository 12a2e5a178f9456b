"""Results save themselves, show as tables, and are drawn."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppiscs_jax import (
    Free,
    InputError,
    Measured,
    Problem,
    Settings,
    best_design,
    fit,
    fit_batch,
    prior_samples,
)

N = np.arange(1.0, 9)
GOLD = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
PROBLEM = Problem(GOLD, {"inner_mrad": Free(50, 70, 5.0)})
MEASURED = Measured(6e3 / 61 * N, np.full(8, 0.1))


def forward(x):
    """Falls with the inner angle."""
    return 6e3 / x[6] * jnp.arange(1, 9)


def test_fit(tmp_path):
    """The file, the table and the figure say what the fit says."""
    result = fit(forward, PROBLEM, MEASURED)
    result.save(tmp_path / "fit.json", sample="gold")
    saved = json.loads((tmp_path / "fit.json").read_text(encoding="utf-8"))
    assert next(iter(saved)) == "sample"
    assert saved["estimates"] == pytest.approx([61], abs=0.01)
    assert saved["parameters"]["inner_mrad"]["unit"] == "mrad"
    assert saved["explained"] is True
    assert result.rows()[0]["estimate"] == result.estimates[0]
    np.testing.assert_allclose(result.nominal_curve, 100 * N, rtol=1e-6)
    above, _ = result.plot(tmp_path / "fit.png", title="gold").axes
    assert above.get_title() == "gold"
    assert (tmp_path / "fit.png").stat().st_size > 10_000
    with pytest.raises(InputError, match=r"must end in one of \.json|must end in \.json"):
        result.save(tmp_path / "fit.txt")


def test_many_fits_draws_and_designs(tmp_path):
    """Rows of tables, and files that are read again."""
    pandas = pytest.importorskip("pandas")
    fits = fit_batch(forward, PROBLEM, [MEASURED, MEASURED])
    table = fits.to_dataframe()
    assert isinstance(table, pandas.DataFrame)
    np.testing.assert_array_equal(table["inner_mrad"], fits.estimates[:, 0])
    np.testing.assert_array_equal(table["inner_mrad_standard_error"], fits.standard_errors[:, 0])
    draws = prior_samples(PROBLEM, jax.random.key(0), 10)
    assert draws.to_dataframe()["weight"].sum() == pytest.approx(1)
    design = best_design(forward, GOLD, {"inner_mrad": (50, 70)}, 1e2, (1, 8), grid=3, descents=1)
    assert design.to_dataframe()["point"].tolist() == ["best", "grid", "descent 0"]
    for name, result in {"fits": fits, "draws": draws, "design": design}.items():
        result.save(tmp_path / f"{name}.json")
        saved = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        assert set(result.contents()) < set(saved)
