"""PPISCS against the grid's band limit."""
