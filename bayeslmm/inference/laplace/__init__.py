"""Laplace engine: importance sampling of few hyperparameters."""
