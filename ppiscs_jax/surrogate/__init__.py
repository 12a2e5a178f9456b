"""Surrogates: a PPISCS curve for nine numbers, in microseconds."""
