"""Text tables into frames: phenotypes, covariates, formulas."""
