"""Probability of miscounting atoms."""
