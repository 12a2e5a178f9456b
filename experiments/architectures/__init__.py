"""Kinds of surrogates side by side."""
