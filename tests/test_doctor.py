"""`ppiscs doctor`: the report on a good installation, and on broken ones."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ppiscs_jax import doctor
from ppiscs_jax.simulation.curve import Curve

PROGRAM = "import sys; from ppiscs_jax.cli.main import main; main(['doctor'])"


def run(**environment):
    """Exit code and report of the command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "COLUMNS": "400", **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(doctor.NVIDIA_DEVICE.exists(), reason="there is a GPU")
def test_cuda_without_a_gpu(tmp_path):
    """Said in plain words, with what to do; the rest is reported all the same."""
    cache = tmp_path / "cache"
    cache.write_text("no folder")
    code, out = run(JAX_PLATFORMS="cuda", JAX_COMPILATION_CACHE_DIR=str(cache))
    assert code == 1
    assert "JAX_PLATFORMS=cuda asks for a device that JAX does not find" in out
    assert "unset JAX_PLATFORMS or set it to cpu" in out
    assert "is not a folder that can be written to" in out
    assert "versions" in out
    assert "2 problems found" in out


@pytest.mark.slow
def test_good_installation():
    """Versions, devices, weights, and a simulation that agrees with them."""
    findings = {finding.subject: finding for finding in doctor.diagnose()}
    assert not [f for f in findings.values() if f.problem]
    assert "ppiscs-jax" in findings["versions"].text
    assert "memory" in findings["devices"].text
    assert "elements and zone axes" in findings["weights"].text
    assert "standard errors" in findings["simulation"].text


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_wrong_weights_are_found(monkeypatch, factor):
    """Weights that are 30 % off are far outside the errors of a simulation to 5 %."""
    right = doctor.predict(doctor.CHECKED)

    def simulated(settings, relative_error, n_atoms):
        values = factor * right.ppiscs[:n_atoms]
        return Curve(np.arange(n_atoms) + 1, values, 0.05 * values, settings, 0, 1, 16)

    monkeypatch.setattr(doctor, "simulate", simulated)
    problem = doctor._self_check().problem
    assert problem is None if factor == 1 else "the installation is damaged" in problem


def test_whatever_is_broken_is_a_finding(monkeypatch):
    """Other faults are reported by name, and do not end the report."""

    def broken():
        raise OSError("additive.npz:\n no such file")

    monkeypatch.setattr(doctor, "load_surrogate", broken)
    findings = {finding.subject: finding for finding in doctor.diagnose()}
    assert findings["weights"].problem == "OSError: additive.npz: no such file"
    assert "simulation" not in findings
