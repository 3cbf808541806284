"""What a negative eigenvalue of a kernel means: rounding, a warning, or an error."""

from __future__ import annotations

import warnings

import numpy as np

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.eigen import eigh

NEGATIVE_SILENT = 1e-6  # relative size of negative eigenvalues that rounding explains
NEGATIVE_ALLOWED = 1e-2  # beyond this the matrix is no covariance


def check_definite(smallest: float, largest: float) -> None:
    """Policy on negative eigenvalues: rounding, a warning, or an error."""
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
    """K (n, n) without its negative eigenvalues, on which `check_definite` decides.

    All of K is projected, not K_cc alone: an indefinite K has no Schur complement that would
    keep the variance of Xβ + g what K says it is.
    """
    values, vectors = eigh(K)
    check_definite(float(values[0]), largest)
    return np.ascontiguousarray((vectors * np.maximum(values, 0.0)) @ vectors.T)


def nearest_psd(A: Floats, rounding: float) -> Floats:
    """Symmetric A (p, p) with its eigenvalues up to `rounding` set to zero.

    Rows of no size become exact zeros: as h² → 1 the intercept's variance is σ²_e alone, and
    1e-16 left there would be 1e-8 of it at h² = 1 - 1e-8.
    """
    values, vectors = np.linalg.eigh(0.5 * (A + A.T))
    clean = (vectors * np.where(values > rounding, values, 0.0)) @ vectors.T
    null = np.diag(clean) <= rounding
    clean[null] = 0.0
    clean[:, null] = 0.0
    return np.ascontiguousarray(clean)
