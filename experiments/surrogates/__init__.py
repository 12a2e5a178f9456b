"""The default surrogate, fitted to the data set."""
