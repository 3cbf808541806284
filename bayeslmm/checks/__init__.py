"""Checks of a fit: likeness of relatives, outliers, sensitivity to priors, other estimates."""
