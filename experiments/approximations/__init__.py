"""Displacements along the beam, and the exact propagator, beside the simulator's approximations."""
