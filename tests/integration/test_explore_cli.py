"""`ppiscs explore`: options reach the page, and bad ones are refused before any work."""

import webbrowser

import pytest

from ppiscs_jax.cli.main import main
from ppiscs_jax.explorer import page


def run(arguments, capsys):
    """Exit code and stderr."""
    with pytest.raises(SystemExit) as exit_:
        main(["explore", *arguments])
    return exit_.value.code or 0, capsys.readouterr().err


@pytest.fixture
def opened(monkeypatch):
    """Addresses that a browser would have been sent to; pages are made at once."""
    addresses = []
    monkeypatch.setattr(webbrowser, "open", lambda address: bool(addresses.append(address)))
    monkeypatch.setattr(page, "explorer_page", lambda *arguments: repr(arguments))
    return addresses


def test_options(tmp_path, capsys, opened):
    path = tmp_path / "page.html"
    arguments = ["--out", str(path), "--zones", "110,100", "--compact", "--no-open"]
    code, err = run(arguments, capsys)
    assert code == 0
    assert f"wrote {path}" in err
    assert path.read_text() == repr((["110", "100"], True, None))
    assert opened == []


def test_opens_the_page(tmp_path, capsys, opened):
    """Where there is no browser, the path is told."""
    path = tmp_path / "page.html"
    code, err = run(["--out", str(path)], capsys)
    assert code == 0
    assert opened == [path.as_uri()]
    assert "no browser was found" in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--out", "page.txt"], "must end in one of .html"),
        (["--zones", "210"], "zone_axis = '210'"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, capsys, arguments, problem):
    monkeypatch.chdir(tmp_path)
    code, err = run(["--no-open", *arguments], capsys)
    assert code == 2
    assert problem in err
    assert list(tmp_path.iterdir()) == []
