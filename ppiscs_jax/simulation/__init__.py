"""From settings to PPISCS with standard errors: grids, averages, kernels, probe scans."""
