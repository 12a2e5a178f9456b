import numpy as np
import pytest

from ppiscs_jax import InputError
from ppiscs_jax.plots.curves import SUFFIXES, plot_curves
from tests.curve_samples import made_up_curves


def test_shows_what_it_was_given():
    curves = made_up_curves()
    above, below = plot_curves(curves).axes
    assert above.get_title() == "Au [110], 300 kV, α = 20 mrad, rmsd 0.085 Å, mistilt 3.4 mrad"
    labels = [text.get_text() for text in above.get_legend().get_texts()]
    assert labels == ["60–200 mrad", "0.1–250 mrad"]
    for curve, line, relative in zip(curves, above.lines, below.lines, strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.c_[curve.n_atoms, curve.ppiscs])
        np.testing.assert_allclose(
            relative.get_ydata(), 100 * curve.standard_error / curve.ppiscs, rtol=1e-12
        )
    # The band's outline spans two standard errors either way at the thick end.
    last = curves[0].ppiscs[-1], curves[0].standard_error[-1]
    band = above.collections[0].get_paths()[0].vertices
    at_end = band[band[:, 0] == curves[0].n_atoms[-1], 1]
    np.testing.assert_allclose(
        [at_end.min(), at_end.max()], [last[0] - 2 * last[1], last[0] + 2 * last[1]], rtol=1e-12
    )
    assert "Å²" in above.get_ylabel()
    assert "%" in below.get_ylabel()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_saves_whole_files(tmp_path, suffix):
    path = tmp_path / f"figure{suffix}"
    plot_curves(made_up_curves(), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_size > 5000


def test_a_single_thickness_is_visible():
    above, _ = plot_curves(made_up_curves(1)).axes
    assert above.lines[0].get_marker() == "o"


def test_bad_input(tmp_path):
    with pytest.raises(InputError, match="none to plot"):
        plot_curves([])
    with pytest.raises(InputError, match="must end in one of"):
        plot_curves(made_up_curves(), tmp_path / "figure.txt")
