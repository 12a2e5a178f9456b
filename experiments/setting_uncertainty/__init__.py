"""What measurement errors of the settings do to PPISCS."""
