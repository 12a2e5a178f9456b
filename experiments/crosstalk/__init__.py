"""How much a column's cross-section depends on the numbers of atoms of its neighbours."""
