import contextlib
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

import ppiscs_jax
from ppiscs_jax.cli import simulate as command
from ppiscs_jax.cli.main import main
from ppiscs_jax.cli.progress import show_progress
from ppiscs_jax.cli.table import with_error
from ppiscs_jax.io.curves import load_curves
from ppiscs_jax.simulation.batches import SimulationProgress

DEFAULTS = {
    "--element": "Al",
    "--zone": "100",
    "--voltage": "200",
    "--convergence": "20",
    "--detector": "60 200",
    "--rmsd": "0.1",
}


def arguments(changes: dict[str, str | None] | None = None, *more: str) -> list[str]:
    """A good command line with changes; None leaves an option out."""
    options = {**DEFAULTS, **(changes or {})}
    pairs = [(name, value) for name, value in options.items() if value is not None]
    return ["simulate", *(word for name, value in pairs for word in (name, *value.split())), *more]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    with pytest.raises(SystemExit) as exit_:
        main(words)
    return exit_.value.code or 0, *capsys.readouterr()


@pytest.fixture
def no_simulation(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("work started")

    monkeypatch.setattr(command, "scattering_kernel", refuse)


BAD = [
    ({"--element": "Fe"}, "element = 'Fe': must be one of Al, Ni"),
    ({"--zone": "112"}, "zone_axis = '112': must be one of 110, 100, 111"),
    ({"--voltage": "0"}, "voltage_kv = 0 kV: must be 20 to 1000 kV"),
    ({"--voltage": "1e9"}, "voltage_kv = 1000000000 kV: must be 20 to 1000 kV"),
    ({"--voltage": "nan"}, "voltage_kv = nan kV: must be 20 to 1000 kV"),
    ({"--voltage": "high"}, "'--voltage'"),
    ({"--convergence": "0"}, "convergence_mrad = 0 mrad: must be 0.5 to 100 mrad"),
    ({"--detector": "200 60"}, "inner_mrad = 200 mrad: must be below outer_mrad = 60 mrad"),
    ({"--detector": "60 60"}, "inner_mrad = 60 mrad: must be below outer_mrad = 60 mrad"),
    ({"--detector": "60 300"}, "outer_mrad = 300 mrad: must be 1 to 250 mrad"),
    ({"--detector": "-1 200"}, "inner_mrad = -1 mrad: must be 0 to 250 mrad"),
    ({"--detector": "nan 200"}, "inner_mrad = nan mrad: must be 0 to 250 mrad"),
    ({"--detector": "60 wide"}, "detector = '60 wide': must be two numbers [mrad]"),
    (
        {"--detector": "0.06 0.2"},
        "outer_mrad = 0.2 mrad: must be 1 to 250 mrad; if it is in rad, give 200 mrad",
    ),
    (
        {"--convergence": "0.02"},
        "convergence_mrad = 0.02 mrad: must be 0.5 to 100 mrad; if it is in rad, give 20 mrad",
    ),
    ({"--detector": "60"}, "detector = '60': must be two numbers [mrad]"),
    ({"--detector": None}, "Missing option '--detector'"),
    ({"--rmsd": "-0.1"}, "rmsd_angstrom = -0.1 Å: must be 0 to 0.3 Å"),
    ({"--rmsd": "nan"}, "rmsd_angstrom = nan Å: must be 0 to 0.3 Å"),
    ({"--rmsd": None}, "rmsd_angstrom: missing; give it [Å], or temperature_k [K]"),
    ({"--temperature": "300"}, "temperature_k = 300 K and rmsd_angstrom = 0.1 Å: give one"),
    (
        {"--rmsd": None, "--temperature": "2000"},
        "temperature_k = 2000 K: must be 1 to 933.5 K for Al",
    ),
    ({"--error": "small"}, "error = 'small': must be a fraction such as 0.005 or a percentage"),
    ({"--error": "0"}, "error = 0"),
    ({"--error": "nan"}, "error = nan"),
    ({"--error": "1e-300"}, "error = 1e-300: must be 1e-06 to 1"),
    ({"--c30": "inf"}, "c30_mm = inf mm: must be -100 to 100 mm"),
    ({"--out": "curve.txt"}, "output curve.txt: its name must end in one of .csv, .json, .h5"),
    ({"--out": "none/x.csv"}, "output none/x.csv: the folder none does not exist"),
    ({"--plot": "x.csv"}, "output x.csv: its name must end in one of .png, .pdf, .svg"),
    ({"--bogus": "1"}, "--bogus"),
]


@pytest.mark.usefixtures("no_simulation")
@pytest.mark.parametrize(("changes", "message"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_bad_input(changes, message, capsys, tmp_path, monkeypatch):
    """One line on stderr, exit code 2, before any work, and no file."""
    monkeypatch.chdir(tmp_path)
    code, out, err = run(arguments(changes), capsys)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    assert message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--atoms": "0"}, "n_atoms = 0 atoms: must be 1 to 1000 atoms"),
        ({"--seed": "-1"}, "seed = -1: must be 0 to 4294967295"),
    ],
)
def test_bad_input_that_the_simulator_refuses(changes, message, capsys):
    code, out, err = run(arguments(changes), capsys)
    assert (code, out, err) == (2, "", f"error: {message}\n")


@pytest.mark.usefixtures("no_simulation")
def test_every_detector_is_checked_and_problems_are_said_once(capsys):
    words = arguments({"--voltage": "0"}, "--detector", "90", "80", "--detector", "0", "999")
    code, _, err = run(words, capsys)
    assert code == 2
    assert err.count("voltage_kv = 0 kV") == 1
    assert "inner_mrad = 90 mrad: must be below outer_mrad = 80 mrad" in err
    assert "outer_mrad = 999 mrad" in err


@pytest.mark.usefixtures("no_simulation")
def test_a_read_only_file_is_found_before_the_work(capsys, tmp_path, monkeypatch):
    path = tmp_path / "kept.csv"
    path.write_text("kept")
    # Permissions do not bind the superuser, as whom containers run tests.
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    code, _, err = run(arguments({"--out": str(path)}), capsys)
    assert code == 2
    assert "may not be written" in err
    assert path.read_text() == "kept"


def test_a_small_simulation(capsys, tmp_path):
    """Two detectors from one simulation: shown, saved, drawn, and the same every time."""
    csv, figure = tmp_path / "al.csv", tmp_path / "al.png"
    changes = {"--atoms": "3", "--error": "20%", "--out": str(csv), "--plot": str(figure)}
    words = arguments(changes, "--detector", "90", "250", "--out", str(tmp_path / "al.h5"))
    code, out, err = run(words, capsys)
    assert code == 0
    curves = load_curves(csv)
    assert [(c.settings.inner_mrad, c.settings.outer_mrad) for c in curves] == [
        (60, 200),
        (90, 250),
    ]
    for curve in curves:
        assert list(curve.n_atoms) == [1, 2, 3]
        assert np.all(np.diff(curve.ppiscs) > 0)
        assert np.all(curve.standard_error < 0.2 * curve.ppiscs)
        assert with_error(curve.ppiscs[0], curve.standard_error[0]) in out
    assert "60–200 mrad" in out
    assert "90–250 mrad" in out
    assert f"seed 0, {curves[0].waves} plane waves" in out
    assert f"wrote {csv}" in err
    assert {p.name for p in tmp_path.iterdir()} == {"al.csv", "al.h5", "al.png"}

    first = csv.read_bytes()
    assert run(words, capsys)[0] == 0
    assert csv.read_bytes() == first


@pytest.mark.slow
def test_temperature_and_aberrations(capsys, tmp_path):
    """Aberrations are kept with the result and change no digit of it."""
    changes = {"--rmsd": None, "--temperature": "293", "--atoms": "1", "--error": "50%"}
    plain, aberrated = tmp_path / "plain.json", tmp_path / "aberrated.json"
    run(arguments({**changes, "--out": str(plain)}), capsys)
    code, out, _ = run(
        arguments({**changes, "--out": str(aberrated), "--c30": "1.2", "--c10": "-50"}), capsys
    )
    assert code == 0
    assert "C30 1.2 mm, C10 -50 Å" in out
    (a,), (b,) = load_curves(plain), load_curves(aberrated)
    assert a.settings.rmsd_angstrom == pytest.approx(0.101, abs=0.002)
    np.testing.assert_array_equal(a.ppiscs, b.ppiscs)
    assert (b.settings.c30_mm, b.settings.c10_angstrom) == (1.2, -50)


def test_python_m():
    """`python -m ppiscs_jax` is the command."""
    done = subprocess.run(
        [sys.executable, "-m", "ppiscs_jax", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"ppiscs-jax {ppiscs_jax.__version__}\n"


def test_version_help_and_nothing(capsys):
    assert run(["--version"], capsys) == (0, f"ppiscs-jax {ppiscs_jax.__version__}\n", "")
    for words in ([], ["--help"], ["simulate", "--help"]):
        code, out, err = run(words, capsys)
        assert (code, err) == (0, "")
        assert "Usage: ppiscs" in out


def test_interrupt_in_the_command(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "scattering_kernel", interrupted)
    code, out, err = run(arguments(), capsys)
    assert (code, out, err) == (130, "", "error: interrupted\n")


def test_an_interrupt_that_python_drops():
    """As in a callback of the garbage collector: the next progress raises it again."""
    state = SimulationProgress(waves=8, relative_error=0.1, target=0.01, seconds_left=1.0)
    before = signal.getsignal(signal.SIGINT)
    with show_progress(Console(stderr=True)) as update:
        update(state)
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            update(state)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_leaves_no_file(tmp_path):
    """A real SIGINT in the middle of a long simulation."""
    out = tmp_path / "x.csv"
    words = arguments({"--atoms": "5", "--error": "0.001%", "--out": str(out)})
    process = subprocess.Popen(
        [sys.executable, "-c", "from ppiscs_jax.cli.main import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        # The first line of progress says that work is under way.
        assert re.match(r"error .* waves", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.endswith("error: interrupted\n")
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (1.23456, 0.0123, "1.235 ± 0.012"),
        (1.23456, 0.0996, "1.23 ± 0.10"),
        (0.00983, 0.000012, "0.009830 ± 0.000012"),
        (1234.5, 25.0, "1234 ± 25"),
        (1.5, 0.0, "1.5 ± 0"),
        (1.5, 1e-300, "1.5 ± 1e-300"),
        (float("nan"), 0.1, "nan ± 0.1"),
    ],
)
def test_errors_have_two_digits(value, error, shown):
    assert with_error(value, error) == shown


def test_progress_line():
    assert str(SimulationProgress(64, float("nan"), 0.005, float("nan"))) == (
        "error not known yet (target 0.50%), 64 waves"
    )
    assert str(SimulationProgress(640, 0.0123, 0.005, 41.6)) == (
        "error 1.23% (target 0.50%), 640 waves, about 42 s left"
    )


@pytest.mark.slow
def test_options_of_the_simulation(capsys):
    """Mistilt, a cap on waves, workers and silence: Python's options, by name."""
    given = "simulate --element Au --zone 110 --voltage 300 --convergence 20 --detector 60 200"
    given += " --rmsd 0.085 --atoms 2 --error 5% --mistilt 5 -3 --max-waves 256 --workers 1 --quiet"
    with pytest.raises(SystemExit) as end:
        main(given.split())
    assert end.value.code == 0
    said = capsys.readouterr()
    assert "mistilt (5, -3) mrad" in said.out
    assert said.err == ""
