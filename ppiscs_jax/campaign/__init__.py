"""Many simulations into one folder, on one machine or a cluster; the only place for dask."""
