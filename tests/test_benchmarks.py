"""The benchmark for GPUs runs on a CPU too, on small grids."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_gpu_small(tmp_path):
    """Every part gives figures, and whole rounds in one call agree with batch by batch."""
    script = ROOT / "benchmarks" / "gpu.py"
    subprocess.run(
        [sys.executable, str(script), "--small", "--out", str(tmp_path)], check=True, cwd=ROOT
    )
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert [name for name, part in found.items() if "failed" in part] == []
    assert found["agreement"]["largest_relative_difference_60_200"] < 1e-5
    assert found["table1"]["programs"] <= 36
