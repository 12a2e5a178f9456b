"""Gradient fits against the paper's Nelder–Mead."""
