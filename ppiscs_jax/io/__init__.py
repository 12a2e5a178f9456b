"""Files of curves, libraries, settings and kernels; the only place for h5py."""
