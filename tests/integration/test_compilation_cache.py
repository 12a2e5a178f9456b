"""Compiled programs are kept between commands, where the user wants them."""

import os
import subprocess
import sys

import pytest

PREDICT = [
    *("predict", "--element", "Au", "--zone", "110", "--voltage", "300", "--convergence", "20"),
    *("--detector", "60", "200", "--rmsd", "0.085"),
]


def run(tmp_path, **variables):
    """A prediction in a process of its own, with a home of its own."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("JAX_COMP", "JAX_PERS"))}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    code = "from ppiscs_jax.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *PREDICT],
        env={**kept, **home, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the folder is that of Linux")
def test_folders(tmp_path):
    """The user's cache folder, another one, or none; the numbers are the same."""
    first = run(tmp_path)
    programs = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert programs
    assert run(tmp_path) == first
    other = tmp_path / "other"
    assert run(tmp_path / "b", PPISCS_COMPILATION_CACHE=str(other)) == first
    assert any(p.is_file() for p in other.rglob("*"))
    assert run(tmp_path / "c", PPISCS_COMPILATION_CACHE="") == first
    assert not (tmp_path / "c").exists()


@pytest.mark.slow
def test_a_home_that_cannot_be_written(tmp_path):
    """Is no reason to stop."""
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert "60–200 mrad" in run(tmp_path)
