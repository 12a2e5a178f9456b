"""Counting the atoms of a simulated particle in many noisy images."""
