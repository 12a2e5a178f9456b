"""Studies made with the package: one folder each, with config, runner and result."""
