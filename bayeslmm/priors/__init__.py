"""Priors in the units that people think in: shares of variance, sd(y | X)."""
