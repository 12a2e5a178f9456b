"""Transfer of the shipped network to a zone axis it has not seen."""
