"""Densities of y and their derivatives: NumPy and Numba, no PyMC."""
