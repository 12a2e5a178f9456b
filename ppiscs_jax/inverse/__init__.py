"""Inverse problems: fit a microscope, propagate its uncertainty, design an experiment."""
