"""Priors in the units that people think in."""
