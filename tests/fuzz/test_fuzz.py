"""Damaged files are refused, or read as what they may be; nothing else ever happens."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import Process, fuzz
from tests.fuzz.readers import READERS, SLOW_READERS
from tests.fuzz.worker import outcome

FINDINGS = sorted(p for p in (Path(__file__).parent / "findings").iterdir() if p.suffix != ".md")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READERS, *SLOW_READERS])
def test_damaged_files(name):
    """500 for each reader, 25 where another process reads each file.

    No exception but InputError, no crash, nothing longer than 5 s or more than 1 GB, nothing
    accepted that its own checks refuse.
    """
    inputs = 500 if name in READERS else 25
    counts, findings, process = fuzz(name, 1, inputs, Process())
    process.end()
    assert not findings
    assert sum(counts.values()) == inputs


@pytest.mark.parametrize("path", FINDINGS, ids=lambda p: p.name)
def test_findings(path, tmp_path):
    """Files that once did harm; the name says for which reader."""
    reader = path.name.split("-")[0].replace("_", " ")
    name = {n.replace(",", ""): n for n in READERS | SLOW_READERS}[reader]
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    assert outcome(name, copy) in ("accepted", "refused")
