"""Other programs: the only place for abTEM and ASE."""
