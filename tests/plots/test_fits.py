"""Figures of fits and of propagated errors."""

import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.plots.fits import plot_fit, plot_uncertainty

CURVE = np.append(0.1 * np.arange(1.0, 6), np.nan)
"""Known at 1 to 5 atoms."""


@pytest.mark.parametrize(
    "noise", [{}, {"standard_error": 0.01}, {"dose_per_angstrom2": 1e4}], ids=str
)
def test_fit(tmp_path, noise):
    """Residuals in parts of the largest measured value; gaps stay gaps; the file is there."""
    measured = Measured([0.11, np.nan, 0.33, 0.44], **noise)
    values = measured.ppiscs, measured.error_bars
    figure = plot_fit(*values, 0.9 * CURVE, CURVE, tmp_path / "fit.png", title="gold")
    above, below = figure.axes
    assert above.get_title() == "gold"
    fitted = below.lines[1]
    assert fitted.get_xdata().tolist() == [1, 2, 3, 4]
    expected = [100 * 0.01 / 0.44, np.nan, 100 * 0.03 / 0.44, 100 * 0.04 / 0.44]
    np.testing.assert_allclose(fitted.get_ydata(), expected)
    assert (tmp_path / "fit.png").stat().st_size > 10_000


def test_uncertainty(tmp_path):
    """Below, the standard deviation in percent of the value, where there is one."""
    figure = plot_uncertainty(CURVE, 0.02 * CURVE, tmp_path / "std.png")
    (line,) = figure.axes[1].lines
    np.testing.assert_allclose(line.get_xdata(), np.arange(1, 6))
    np.testing.assert_allclose(line.get_ydata(), 2)
    assert (tmp_path / "std.png").stat().st_size > 10_000


def test_bad_paths_are_refused():
    with pytest.raises(InputError, match=r"must end in one of \.png"):
        plot_fit(CURVE, CURVE, CURVE, CURVE, "fit.bmp")
    with pytest.raises(InputError, match=r"must end in one of \.png"):
        plot_uncertainty(CURVE, CURVE, "std.bmp")
