"""What bins of collection angle cost where the rings of Laue zones are sharp."""
