"""Comparison of models: marginal likelihoods, Bayes factors, leave-one-out."""
