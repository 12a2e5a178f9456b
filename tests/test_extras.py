"""What the default installation leaves out is named, with the extra that installs it."""

import importlib
import sys

import pytest

from ppiscs_jax import InputError, Settings, cross_check
from ppiscs_jax.campaign.cluster import Resources, _client
from ppiscs_jax.errors import MissingExtraError


@pytest.mark.parametrize(
    ("package", "module"),
    [("flax", "densenet"), ("optax", "recipe"), ("optax", "train"), ("orbax", "checkpoint")],
)
def test_networks(monkeypatch, package, module):
    """Modules of networks do not import without their packages."""
    name = f"ppiscs_jax.surrogate.{module}"
    monkeypatch.delitem(sys.modules, name, raising=False)
    for loaded in [m for m in sys.modules if m.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package}: is not .*'ppiscs-jax\[networks\]'"):
        importlib.import_module(name)


def test_campaigns(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(InputError, match=r"dask: is not .*'ppiscs-jax\[campaigns\]'"):
        _client(Resources(workers=2)).__enter__()


def test_abtem(monkeypatch):
    monkeypatch.setitem(sys.modules, "abtem", None)
    with pytest.raises(InputError, match=r"abtem: is not .*'ppiscs-jax\[abtem\]'"):
        cross_check(Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, 0.085))


def test_other_packages():
    """Packages that no extra installs are named by themselves."""
    error = MissingExtraError(ModuleNotFoundError("no", name="treescope.core"))
    assert str(error) == "treescope: is not installed; pip install 'treescope'"
