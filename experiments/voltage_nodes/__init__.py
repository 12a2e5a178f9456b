"""Leaving one simulated voltage out."""
