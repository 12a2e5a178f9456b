"""Cross-checks against abTEM, from Python and by `ppiscs simulate --cross-check`."""

import dataclasses
import json
import sys
from functools import partial

import numpy as np
import pytest

from ppiscs_jax import InputError, Settings, cross_check
from ppiscs_jax.cli import simulate as command
from ppiscs_jax.cli.main import main

ALUMINIUM = Settings("Al", "100", 200.0, 20.0, 30.0, 60.0, 0.1, mistilt_mrad=(30.0, -20.0))

COMMAND = """
simulate --element Al --zone 100 --voltage 200 --convergence 20 --rmsd 0.1
    --detector 30 60 --detector 45 60 --atoms 1 --error 50% --cross-check
"""

COARSE_ANGSTROM = 0.02
"""Pixels of abTEM with which a wave takes a fraction of a second."""

TOLERANCE = 0.01
"""Pixels of 0.0053 Å cost abTEM up to 0.6 % at 200 mrad and 200 kV (tests/physics/test_abtem.py).
What they cost grows with the square of pixel size times angle, (0.02 · 60)² here against
(0.0053 · 200)² there: 1.3 times as much."""


@pytest.fixture
def abtem():
    return pytest.importorskip("abtem", reason="abTEM is not installed")


def run(words, capsys):
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as end:
        main(words)
    return end.value.code or 0, *capsys.readouterr()


@pytest.mark.slow
def test_a_mistilted_crystal(abtem, tmp_path):
    """Every bin agrees; what was compared is said, and saved."""
    states = []
    check = cross_check(
        ALUMINIUM,
        n_atoms=2,
        waves=2,
        seed=5,
        sampling_angstrom=COARSE_ANGSTROM,
        progress=states.append,
    )
    np.testing.assert_array_equal(check.angle_edges_mrad, [0.0, 15.0, 30.0, 45.0, 60.0])
    np.testing.assert_allclose(check.ratio, 1.0, atol=TOLERANCE)
    # Nearly all is unscattered, inside the aperture of 20 mrad around the optical axis.
    assert 0.99 < check.fractions[:2].sum() < 1
    assert check.abtem_version == abtem.__version__
    assert max(check.sampling_angstrom) <= COARSE_ANGSTROM
    assert [str(s).split(",")[0] for s in states] == [f"abTEM: {i} of 2 waves" for i in (1, 2)]

    *bins, detector = check.rows()
    assert [row["ratio"] for row in bins] == check.ratio.tolist()
    assert (detector["inner_mrad"], detector["outer_mrad"]) == (30.0, 60.0)
    assert detector["abtem_fraction"] == check.abtem_fractions[2:].sum()
    check.save(tmp_path / "check.json")
    saved = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert saved["fractions"] == check.fractions.tolist()
    assert saved["settings"] == {
        **dataclasses.asdict(ALUMINIUM),
        "mistilt_mrad": list(ALUMINIUM.mistilt_mrad),
    }


@pytest.mark.slow
@pytest.mark.usefixtures("abtem")
def test_the_atoms_count():
    """Other displacements and tilts change a bin by more than the programs differ.

    The comparison therefore notices if the two programs are given different atoms.
    """
    coarse = partial(cross_check, ALUMINIUM, n_atoms=1, waves=1, sampling_angstrom=COARSE_ANGSTROM)
    first, second = coarse(seed=0), coarse(seed=1)
    assert np.max(np.abs(second.fractions[2:] / first.fractions[2:] - 1)) > 5 * TOLERANCE
    for check in (first, second):
        np.testing.assert_allclose(check.ratio, 1.0, atol=TOLERANCE)


@pytest.mark.usefixtures("abtem")
@pytest.mark.slow
def test_from_the_command_line(capsys, monkeypatch):
    """The curve, then a line for every bin and every detector."""
    coarse = partial(cross_check, waves=1, sampling_angstrom=COARSE_ANGSTROM)
    monkeypatch.setattr(command, "cross_check", coarse)
    code, out, _ = run(COMMAND.split(), capsys)
    assert code == 0
    curve, table = out.split("batches; s.e.: one standard error")
    assert "PPISCS" in curve
    rows = [line.replace("│", "").split() for line in table.splitlines() if "–" in line]
    assert [row[0] for row in rows] == ["0–15", "15–30", "30–45", "45–60", "30–60", "45–60"]
    for _, ours, theirs, ratio in rows:
        assert float(ours) / float(theirs) == pytest.approx(float(ratio), abs=2e-4)
        assert float(ratio) == pytest.approx(1.0, abs=TOLERANCE)
    assert "1 atoms per column, 1 plane waves, seed 0" in table


def test_without_abtem(capsys, monkeypatch):
    """Said in one line before any work."""

    def refuse(*_, **__):
        raise AssertionError("work started")

    monkeypatch.setattr(command, "scattering_kernel", refuse)
    monkeypatch.setitem(sys.modules, "abtem", None)
    code, out, err = run(COMMAND.split(), capsys)
    assert (code, out) == (2, "")
    assert err == "error: abtem: is not installed; pip install 'ppiscs-jax[abtem]'\n"


@pytest.mark.usefixtures("abtem")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_atoms": 0}, "n_atoms = 0 atoms: must be 1 to 1000 atoms"),
        ({"waves": 0}, "waves = 0 waves: must be 1 to 1024 waves"),
        ({"seed": -1}, "seed = -1: must be 0 to 4294967295"),
        ({"detectors_mrad": []}, "detectors_mrad of shape"),
        ({"detectors_mrad": [(60.0, 30.0)]}, "outer_mrad = 30 mrad: must be above 60"),
        ({"sampling_angstrom": 0.2}, "sampling_angstrom = 0.2 Å.* must be 0.002 to 0.104"),
    ],
)
def test_bad_input(options, message):
    """The largest pixels keep (2/3) / (2 h) ≥ 80 mrad / λ, h ≤ λ / 0.24 with λ = 0.02508 Å."""
    with pytest.raises(InputError, match=message):
        cross_check(ALUMINIUM, **options)
