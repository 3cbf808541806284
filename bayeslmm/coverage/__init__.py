"""What intervals of h² do over many data sets, from the spectrum alone: coverage and power."""
