"""Fits through the network that ships: of its own curves and of simulated ones."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from experiments.common import ROOT
from experiments.fit_coverage.run import Config
from experiments.fit_coverage.simulations import load_or_simulate
from ppiscs_jax.config import load_config
from ppiscs_jax.inverse.fit import fit
from ppiscs_jax.inverse.measured import Measured
from ppiscs_jax.inverse.problem import Free, Problem
from ppiscs_jax.surrogate.predict import load_surrogate
from tests.inverse.test_fit import NOMINAL, STD, TRUE, gaussian

SILVER = np.array([47, 1])
"""Atomic number and code of the zone axis of the paper's Fig. 10."""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["trf", "nelder-mead"])
def test_the_papers_problem(method):
    """Fig. 10 with 0.1 % of noise: within 4 standard errors; aberrations keep their nominal values.

    The network's own dependence on C30 and C10 is not information, and their standard errors
    are those of their priors, cut at 4 of their standard deviations.
    """
    model = load_surrogate("densenet")
    nominal, true = (np.concatenate([SILVER, x[2:]]) for x in (NOMINAL, TRUE))
    exact = np.asarray(model.curve(true.astype(np.float32)), float)
    exact = exact[np.isfinite(exact)]
    error = 1e-3 * exact.max()
    values = exact + error * np.random.default_rng(3).normal(size=len(exact))
    problem = gaussian(nominal=nominal)
    found = fit(model.curve, problem, Measured(values, error), method=method, model_error=False)
    assert found.success
    truth = dict(zip(("element", "zone_axis", "voltage_kv", *STD), true, strict=True))
    for name, parameter in found.parameters.items():
        if name in ("c30_mm", "c10_angstrom"):
            assert parameter.verdict.startswith("not identifiable")
            assert parameter.standard_error == pytest.approx(STD[name], rel=1e-2)
        else:
            assert abs(parameter.estimate - truth[name]) < 4 * parameter.standard_error


@pytest.mark.slow
def test_simulated_curves():
    """Ten simulated curves with 0.5 % of noise: settings within the errors that fits report.

    The squared Mahalanobis distances of truths, k free numbers each, add up to chi² with 10 k
    degrees of freedom where errors are honest; below its 99.9 % quantile.
    """
    folder = ROOT / "experiments" / "fit_coverage"
    if not (folder / "result" / "simulations.npz").exists():
        pytest.skip("the simulations of experiments/fit_coverage are not there")
    config = load_config(Path(folder / "config.toml"), Config)
    model = load_surrogate("densenet")
    curves = [
        c
        for c in load_or_simulate(config.simulations, folder / "result")
        if model.trained_range.holds(c.settings.to_vector())
    ]
    names = ("convergence_mrad", "inner_mrad", "rmsd_angstrom")
    distance = 0.0
    for index, curve in enumerate(curves[:10]):
        random = np.random.default_rng(index)
        x, free = curve.settings.to_vector(), {}
        for name in names:
            std = config.std[name]
            nominal = float(getattr(curve.settings, name)) + std * random.normal()
            low, high = model.trained_range.limits_of(x).get(name, (-np.inf, np.inf))
            nominal = float(np.clip(nominal, low + 0.01 * std, high - 0.01 * std))
            free[name] = Free(max(nominal - 5 * std, low), min(nominal + 5 * std, high), std)
        start = curve.settings.to_vector()
        for name in names:
            start[{"convergence_mrad": 5, "inner_mrad": 6, "rmsd_angstrom": 8}[name]] = (
                free[name].low + free[name].high
            ) / 2
        noise = 5e-3 * curve.ppiscs.max()
        noisy = curve.ppiscs + noise * random.normal(size=len(curve.ppiscs))
        measured = Measured.from_curve(type(curve)(**{**vars(curve), "ppiscs": noisy}), noise)
        found = fit(model.curve, Problem(start, free), measured)
        off = found.estimates - [float(getattr(curve.settings, n)) for n in found.problem.names]
        distance += off @ np.linalg.solve(found.covariance, off)
    assert distance < chi2.ppf(0.999, 10 * len(names))
