"""Against StatSTEM's own analysis of its example files, where these are there.

They come with StatSTEM; set PPISCS_STATSTEM to a folder with Example2.mat and
example_HMM_input.mat.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ppiscs_jax.counting.counts import count_by_statistics
from ppiscs_jax.counting.cross_sections import cross_sections
from ppiscs_jax.counting.images import load_image
from ppiscs_jax.counting.mixture import fit_mixtures
from ppiscs_jax.errors import InputError
from ppiscs_jax.io.matfile import read_mat

FOLDER = Path(os.environ.get("PPISCS_STATSTEM", "."))

EXAMPLE, SERIES = FOLDER / "Example2.mat", FOLDER / "example_HMM_input.mat"

pytestmark = pytest.mark.skipif(
    not EXAMPLE.is_file(), reason="set PPISCS_STATSTEM to StatSTEM's example files"
)


def test_volumes_of_its_example():
    """Both minimise the same sum of squares, from the same start; the bound is 1 % in the median.

    Its Gaussians end some widths away and its search ends earlier: our sum of squares is lower.
    """
    theirs = read_mat(EXAMPLE)["output"]
    ours = cross_sections(image := load_image(EXAMPLE), image.positions_angstrom)
    volumes = theirs["volumes"][:, 0]
    assert np.median(np.abs(ours.values / volumes - 1)) < 0.01
    assert ours.width_angstrom == pytest.approx(theirs["rho"][0, 0], rel=0.01)


def test_mixtures_of_its_example():
    """Its own likelihoods, up to 0.1; its counts, at the number of components it has chosen."""
    theirs = read_mat(EXAMPLE)["atomcounting"]
    values = theirs["volumes"][:, 0]
    found = fit_mixtures(values, 15)
    nll = np.array([m.nll for m in found.mixtures])
    assert np.max(nll - theirs["mLogLik"][0, :15]) < 0.1
    # With the same likelihoods, ICL differs by the entropies alone.
    same = np.abs(nll - theirs["mLogLik"][0, :15]) < 1e-3
    np.testing.assert_allclose(found.icl[same], theirs["ICL"][0, :15][same], atol=1.0)
    assert 11 in found.minima
    assert found.minima[0] == 1
    counts = count_by_statistics(values, components=11, most=12)
    assert counts.total == 1189
    np.testing.assert_array_equal(counts.counts, theirs["Counts"][:, 0])


def test_saved_objects_need_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matio", None)
    with pytest.raises(InputError, match=r"object of a MATLAB class.*ppiscs-jax\[io\]"):
        load_image(SERIES, frame=0)


def test_cross_sections_of_its_series():
    """The saved object opens; of each frame the median difference is at most 2 %."""
    matio = pytest.importorskip("matio")
    properties = matio.load_from_mat(str(SERIES))["inputHMM"].properties
    for frame in range(5):
        image = load_image(SERIES, frame=frame, normalised=True)
        ours = cross_sections(image, image.positions_angstrom)
        theirs = properties["O"][frame]
        assert np.median(np.abs(ours.values / theirs - 1)) < 0.02
