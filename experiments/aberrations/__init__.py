"""PPISCS against the probe's aberrations."""
