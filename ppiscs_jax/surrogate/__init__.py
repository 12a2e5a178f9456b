"""Surrogates: networks that give a PPISCS curve for nine numbers, in microseconds."""
