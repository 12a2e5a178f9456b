"""Atom counts of simulated particles."""
