"""The data set: its campaign, and the study behind the campaign's numbers."""
