"""Is this fit to be believed: relatives, outliers, priors, other estimates."""
