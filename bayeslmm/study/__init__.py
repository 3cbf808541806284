"""What a study can say, before there are data: coverage and power."""
