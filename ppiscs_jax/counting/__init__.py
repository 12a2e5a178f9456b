"""From an ADF image to the number of atoms of every column."""
