"""Errors of surrogates on fresh simulations."""
