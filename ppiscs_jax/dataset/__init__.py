"""Curves on disk. The only place that touches h5py."""
