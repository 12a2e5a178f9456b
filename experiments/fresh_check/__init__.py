"""Random settings of Table 1, simulated anew."""
