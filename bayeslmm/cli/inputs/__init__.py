"""From options to individuals, kernels and cohorts."""
