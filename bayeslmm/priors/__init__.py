"""Priors in interpretable units: shares of variance, sd(y | X)."""
