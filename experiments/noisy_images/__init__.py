"""Counting the atoms of simulated particles in many noisy images."""
