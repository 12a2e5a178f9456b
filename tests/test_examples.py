"""Every public name is documented with an example that runs as it is written there."""

import doctest

import matplotlib
import pytest

import ppiscs_jax

SLOW = {
    "best_design",
    "bootstrap",
    "count",
    "coverage",
    "CrossCheck",
    "cross_check",
    "fit",
    "fit_batch",
    "laplace",
    "nuts",
    "settings_from_abtem",
}
"""Names whose examples take more than 3 s, most of it compilation."""

NEEDS = {
    "nuts": "numpyro",
    **dict.fromkeys(("CrossCheck", "cross_check", "settings_from_abtem"), "abtem"),
}
"""Packages that examples need beside those of the tests."""

NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name
    for name in ppiscs_jax.__all__
    if name != "__version__"
]


@pytest.mark.parametrize("name", NAMES)
def test_example(name, tmp_path, monkeypatch):
    """All examples of one docstring, in a namespace and a folder of their own."""
    if package := NEEDS.get(name):
        pytest.importorskip(package, reason=f"{package} is not installed")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    finder = doctest.DocTestFinder(recurse=False, exclude_empty=False)
    [example] = finder.find(getattr(ppiscs_jax, name), name, globs={})
    assert example.examples, f"the docstring of {name} has no example"
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(example, out=report.append)
    assert not failed, "".join(report)
