"""PyMC distributions of the likelihoods."""
