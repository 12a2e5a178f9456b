"""Surrogates: models that predict PPISCS curves from nine numbers."""
