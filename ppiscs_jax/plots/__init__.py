"""Results in, figure out. The only place that touches matplotlib."""
