"""Multislice with tilted plane waves on a periodic cell. Pure functions over pytrees."""
