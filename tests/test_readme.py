"""The examples of the README run as they are written there."""

import re
from pathlib import Path

import matplotlib
import pytest

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
def test_python_examples(tmp_path, monkeypatch):
    """All Python blocks in order, in one namespace."""
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["result"].success
    assert names["slope"].inner_mrad < 0


@pytest.mark.slow
def test_python_page(tmp_path, monkeypatch):
    """All Python blocks of docs/python.md in order, in one namespace; takes some minutes."""
    for package in ("abtem", "pandas"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    matplotlib.use("Agg")
    (tmp_path / "experiments").symlink_to(README.parent / "experiments")
    monkeypatch.chdir(tmp_path)
    page = README.parent / "docs" / "python.md"
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    assert names["result"].success
    assert names["counted"].counts.total == 87
    assert names["best"].error_probability < 1
    assert (tmp_path / "gold.png").exists()


def test_links():
    """Files that the README and the documentation link to are there."""
    for page in (README, *sorted(README.parent.glob("docs/**/*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
