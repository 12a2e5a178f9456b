"""Uses an installed package without extras: predictions, a fit, a page, and hints at extras."""

import importlib.util
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import ppiscs_jax
from ppiscs_jax import InputError, Settings, load_surrogate, predict
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem

SETTINGS = ["--element", "Au", "--zone", "110", "--voltage", "300", "--convergence", "20"]


def command(*words: str) -> tuple[int, str]:
    """Exit code and all output of a `ppiscs` command."""
    done = subprocess.run(["ppiscs", *words], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


for package in ("flax", "optax", "orbax", "distributed"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed"
assert "site-packages" in ppiscs_jax.__file__

settings = Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085)
curve = predict(settings).ppiscs
assert curve.shape == (87,)
assert np.all(np.diff(curve) > 0)

problem = Problem(settings, {"inner_mrad": Free(56, 64, prior_std=1)})
shifted = predict(Settings("Au", "110", 300.0, 20.0, 61.0, 200.0, 0.085)).ppiscs
found = fit(load_surrogate().curve, problem, Measured(shifted, 1e-3 * shifted))
assert abs(found.settings.inner_mrad - 61) < 0.2

with tempfile.TemporaryDirectory() as folder:
    table, page, recipe = (str(Path(folder, name)) for name in ("a.csv", "a.html", "a.toml"))
    predicted = command("predict", *SETTINGS, "--detector", "60", "200", "--rmsd", "0.085",
                        "--out", table)  # fmt: skip
    assert predicted[0] == 0, predicted
    explored = command("explore", "--no-open", "--zones", "111", "--out", page)
    assert explored[0] == 0, explored
    Path(recipe).write_text("")
    trained = command("train", recipe, "--data", table)
    assert trained[0] == 2, trained
    assert "pip install 'ppiscs-jax[networks]'" in trained[1], trained

hint = ""
try:
    load_surrogate("densenet")
except InputError as error:
    hint = str(error)
assert "pip install 'ppiscs-jax[networks]'" in hint, hint
