"""PPISCS when each of the settings varies alone."""
