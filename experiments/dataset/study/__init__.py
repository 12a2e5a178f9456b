"""How the campaign of the data set samples, and what that costs in accuracy."""
