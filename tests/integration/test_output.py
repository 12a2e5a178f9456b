"""Whatever stdout is, files are written; help and messages say all of their text."""

import errno
import io
import os
import re
import sys
from pathlib import Path

import jax
import pytest
import typer

from ppiscs_jax.cli import predict as command
from ppiscs_jax.cli.main import app, main
from ppiscs_jax.cli.output import encodable
from ppiscs_jax.io.curves import load_curves

GOLD = [
    *("predict", "--element", "Au", "--zone", "110", "--voltage", "300", "--convergence", "20"),
    *("--detector", "60", "200", "--rmsd", "0.085"),
]


def exit_code(words) -> int:
    with pytest.raises(SystemExit) as exit_:
        main([str(word) for word in words])
    return exit_.value.code or 0


@pytest.fixture
def outputs(tmp_path):
    """Options that save a file and a figure."""
    return ["--out", tmp_path / "gold.csv", "--plot", tmp_path / "gold.png"]


def assert_written(outputs) -> None:
    (curve,) = load_curves(outputs[1])
    assert len(curve.ppiscs) == 87
    assert outputs[3].stat().st_size > 10_000


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "α ± 1 Å², θ₀–θₑ, e⁻, √χ, │─┌, \N{SNOWMAN}"),
        ("cp1252", "alpha ± 1 Å², theta0–thetae, e-, sqrtchi, |-+, ?"),
        ("ascii", "alpha +- 1 A2, theta0-thetae, e-, sqrtchi, |-+, ?"),
    ],
)
def test_what_an_encoding_lacks(encoding, text):
    assert encodable("α ± 1 Å², θ₀–θₑ, e⁻, √χ, │─┌, \N{SNOWMAN}", encoding) == text


@pytest.mark.parametrize(
    ("encoding", "said"), [("cp1252", "alpha 20 mrad, rmsd 0.085 Å"), ("ascii", "rmsd 0.085 A,")]
)
def test_a_stream_that_lacks_characters(encoding, said, outputs, monkeypatch):
    """As where Windows redirects, or PYTHONIOENCODING or the locale say so."""
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding=encoding))
    assert exit_code([*GOLD, *outputs]) == 0
    assert said in content.getvalue().decode(encoding)
    assert_written(outputs)


def test_a_closed_pipe(outputs, monkeypatch, capsys):
    """As in `ppiscs … | true`: no word of it, and success."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert exit_code([*GOLD, *outputs]) == 0
    assert capsys.readouterr().err.count("\n") == len(outputs) // 2
    assert_written(outputs)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has this device")
def test_stdout_on_a_full_disk(outputs, monkeypatch, capsys):
    """The files are there, and what is missing is said."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert exit_code([*GOLD, *outputs]) == 1
    assert capsys.readouterr().err.endswith("error: stdout: No space left on device\n")
    assert_written(outputs)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_a_figure_on_a_full_disk(suffix, tmp_path, monkeypatch, capsys):
    """One line that names it; other files, and the table, are there all the same."""
    write, figure = Path.write_bytes, tmp_path / f"gold{suffix}"

    def refuse(path, content):
        if path.suffix == suffix:
            write(path, content[:1000])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert exit_code([*GOLD, "--plot", figure, "--out", tmp_path / "gold.h5"]) == 1
    out, err = capsys.readouterr()
    assert "60–200 mrad" in out
    assert err.splitlines() == [
        f"wrote {tmp_path / 'gold.h5'}",
        f"error: [Errno 28] No space left on device: '{figure}'",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["gold.h5"]


def commands(group, words=()):
    """Every command, with its words."""
    for name, found in group.commands.items():
        if hasattr(found, "commands"):
            yield from commands(found, (*words, name))
        yield (*words, name), found


def squeezed(text: str) -> str:
    """The text without spaces and line ends, which are where it was wrapped."""
    return re.sub(r"\s", "", text)


@pytest.mark.parametrize(
    ("words", "found"), [*commands(typer.main.get_command(app))], ids=lambda words: str(words)[:40]
)
def test_help_has_all_of_its_text(words, found, capsys):
    """Square brackets too, which are markup to some."""
    assert exit_code([*words, "--help"]) == 0
    shown = squeezed(capsys.readouterr().out)
    assert squeezed(found.help) in shown
    for parameter in found.params:
        assert squeezed(getattr(parameter, "help", None) or "") in shown


def test_brackets_in_file_names(tmp_path, capsys):
    path = tmp_path / "gold[red].csv"
    assert exit_code([*GOLD, "--out", path]) == 0
    assert capsys.readouterr().err == f"wrote {path}\n"


def test_a_platform_that_is_not_there(monkeypatch, capsys):
    """JAX raises a bare AssertionError where it is to compute on a GPU that is not there."""

    def refuse(*_, **__):
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(command, "predict_curves", refuse)
    with pytest.raises(AssertionError):
        main(GOLD)
    monkeypatch.setattr(jax, "devices", refuse)
    assert exit_code(GOLD) == 2
    assert capsys.readouterr().err == (
        "error: JAX_PLATFORMS = 'cuda': JAX finds no such device here; try cpu\n"
    )
