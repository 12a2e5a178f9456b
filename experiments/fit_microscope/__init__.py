"""Settings of a microscope from a PPISCS–thickness curve."""
