"""Architectures of the paper's network (Fig. 3)."""
