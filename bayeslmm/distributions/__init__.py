"""The PyMC face of the likelihoods."""
