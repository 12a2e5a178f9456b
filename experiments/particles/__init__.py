"""ADF images of small particles whose numbers of atoms are known."""
