"""Which model: evidence, Bayes factors, leave-one-out."""
