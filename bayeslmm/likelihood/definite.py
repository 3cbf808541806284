"""Negative eigenvalues of a kernel: rounding, a warning, or an error."""

from __future__ import annotations

import warnings

import numpy as np

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.eigen import eigh

NEGATIVE_SILENT = 1e-6  # largest relative size of negative eigenvalues due to rounding
NEGATIVE_ALLOWED = 1e-2  # largest relative size of negative eigenvalues without an error


def check_definite(smallest: float, largest: float) -> None:
    """Ignore, warn of or refuse a negative eigenvalue, by its size relative to the largest."""
    ratio = -smallest / largest
    if ratio > NEGATIVE_ALLOWED:
        raise InputError(
            f"the kernel has the eigenvalue {smallest:.3g}, {ratio:.1%} of the largest",
            "a positive semidefinite matrix (negative eigenvalues below 1% of the largest)",
            "compute the GRM with missing genotypes at the mean (bayeslmm grm), or check that "
            "the file is a relationship matrix",
        )
    if ratio > NEGATIVE_SILENT:
        warnings.warn(
            f"the kernel has negative eigenvalues down to {smallest:.3g} ({ratio:.2%} of the "
            "largest), as a GRM with pairwise missing genotypes has; they are set to zero",
            BayesLMMWarning,
            stacklevel=4,
        )


def positive_part(K: Floats, largest: float) -> Floats:
    """Set the negative eigenvalues of K (n, n) to zero, after `check_definite`.

    The whole of K is projected, not K_cc alone, because the Schur complement of an indefinite K
    does not preserve the variance of Xβ + g.
    """
    values, vectors = eigh(K)
    check_definite(float(values[0]), largest)
    return np.ascontiguousarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def nearest_psd(A: Floats, rounding: float) -> Floats:
    """Set the eigenvalues of a symmetric A (p, p) up to `rounding` to zero.

    Rows with a diagonal up to `rounding` become exact zeros. As h² → 1 the intercept's variance is
    σ²_e alone, so a remainder of 1e-16 would be 1e-8 of it at h² = 1 - 1e-8.
    """
    values, vectors = np.linalg.eigh(0.5 * (A + A.T))
    clean = (vectors * np.where(values > rounding, values, 0.0)) @ vectors.T
    null = np.diag(clean) <= rounding
    clean[null] = 0.0
    clean[:, null] = 0.0
    return np.ascontiguousarray(clean)
