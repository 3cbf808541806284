"""Pivoted Cholesky factor of a kernel that may be singular."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from bayeslmm.likelihood.definite import check_definite
from bayeslmm.numerics.arrays import Floats


def kernel_cholesky(K: Floats, *, tolerance: float = 1e-10) -> Floats:
    """Compute a Cholesky factor of a kernel that may be singular: L (n, r) with L Lᵀ = K.

    Pivoted Cholesky (LAPACK ``pstrf``) stops at numerical rank r, so a centred GRM, or a GRM of
    fewer variants than individuals, needs no jitter. If L Lᵀ differs from K (an indefinite K, for
    instance from pairwise missing genotypes), the rules for a spectrum apply
    (`bayeslmm.likelihood.decompose.decompose`) and L is a root of the positive part of K.

    Parameters
    ----------
    K
        Kernel (n, n), positive semidefinite up to rounding.
    tolerance
        Pivots below this share of the largest diagonal entry count as zero.

    Raises
    ------
    InputError
        If K has a negative eigenvalue beyond 1% of the largest; beyond 1e-6 of it warns.

    References
    ----------
    Higham (1990) Analysis of the Cholesky decomposition of a semi-definite matrix.
    """
    n = K.shape[0]
    cutoff = tolerance * float(np.max(np.diag(K)))
    c, pivot, rank, _ = scipy.linalg.lapack.dpstrf(K, lower=1, tol=cutoff)
    L = np.zeros((n, rank))
    L[pivot - 1] = np.tril(c)[:, :rank]
    if np.max(np.abs(K - L @ L.T)) <= 100 * cutoff:
        return L
    values, vectors = scipy.linalg.eigh(K)
    check_definite(float(values[0]), float(values[-1]))
    kept = values > max(n * np.finfo(float).eps, 1e-14) * values[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(values[kept]))
