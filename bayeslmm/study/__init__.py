"""Coverage and power: what a study can say, before there are data."""
