"""Everything public can be imported from the package itself, and costs nothing until it is used."""

import importlib

import pytest

import ppiscs_jax


def test_all_names_are_listed():
    """What is loaded later is part of the public names, each once."""
    assert set(ppiscs_jax._HOME) <= set(ppiscs_jax.__all__)
    assert len(ppiscs_jax.__all__) == len(set(ppiscs_jax.__all__))
    assert dir(ppiscs_jax) == sorted(ppiscs_jax.__all__)


@pytest.mark.parametrize("name", ppiscs_jax.__all__)
def test_every_name_is_there(name):
    """Documented, and the same object as in its module."""
    value = getattr(ppiscs_jax, name)
    if home := ppiscs_jax._HOME.get(name):
        assert value is getattr(importlib.import_module(f"ppiscs_jax.{home}"), name)
    assert name == "__version__" or value.__doc__


def test_unknown_names():
    """An ordinary AttributeError."""
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        ppiscs_jax.simulat  # noqa: B018
