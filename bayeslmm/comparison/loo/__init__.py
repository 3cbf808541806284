"""Leave-one-out and leave-one-family-out for correlated records."""
