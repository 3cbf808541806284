"""Canonical transformation: the basis of traits in which G and R are both diagonal.

With the Cholesky factor ``G + R = LLᵀ`` of the phenotypic covariance and the eigenvectors P of
``L⁻¹GL⁻ᵀ``, the basis ``Φ = LP`` gives::

    G = Φ diag(h) Φᵀ        R = Φ diag(1 - h) Φᵀ        0 <= h <= 1

The h_t are the canonical heritabilities, the heritabilities of the traits ``YΦ⁻ᵀ``, which are
genetically and residually uncorrelated. The smallest and largest h_t bound the heritability of any
index of the traits. The algorithm is symmetric in G and R: h is computed from G and 1 - h from R,
never as a difference, and P from the smaller of the two. So h = 0 and h = 1 are exact.

References
----------
Hayes & Hill (1980) Biometrics 36:237.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from bayeslmm.likelihood.one_kernel import cholesky_in_place, solve_lower
from bayeslmm.numerics.arrays import Floats

ROUNDING = 4e-15  # relative size up to which a share is zero
NEGATIVE = 1e-12  # relative size of a negative share up to which it is rounding
SINGULAR = 1e-10  # smallest 1 - R² of a trait given those before it; below, six digits or fewer


@numba.njit(cache=True, nogil=True)
def canonical_basis(G: Floats, R: Floats) -> tuple[bool, Floats, Floats, Floats, float]:
    """Compute the basis in which the covariances G and R (T, T) are both diagonal.

    Returns
    -------
    possible, Φ (T, T), Φ⁻¹ (T, T), shares (T, 2), log|det Φ|
        ``G = Φ diag(shares[:, 0]) Φᵀ`` and ``R = Φ diag(shares[:, 1]) Φᵀ``; the two sum to one. Not
        possible if G + R is singular up to `SINGULAR` (a trait that depends linearly on the others
        in both G and R), or G or R has a negative eigenvalue.
    """
    T = G.shape[0]
    L = np.empty((T, T))
    inverse = np.zeros((T, T))
    shares = np.zeros((T, 2))
    valid = True
    for t in range(T):
        valid = valid and G[t, t] >= 0.0 and R[t, t] >= 0.0
        for u in range(T):
            L[t, u] = 0.5 * (G[t, u] + G[u, t]) + 0.5 * (R[t, u] + R[u, t])
            valid = valid and math.isfinite(L[t, u])
    diagonal = np.diag(L).copy()
    if not valid or not cholesky_in_place(L):
        return False, L, inverse, shares, 0.0
    log_det = 0.0
    for t in range(T):
        if L[t, t] * L[t, t] < SINGULAR * diagonal[t]:
            return False, L, inverse, shares, 0.0
        log_det += math.log(L[t, t])
        L[t, t + 1 :] = 0.0
        inverse[t, t] = 1.0
        solve_lower(L, inverse[:, t])
    genetic = congruent(inverse, G)
    residual = congruent(inverse, R)
    small = genetic if np.trace(genetic) <= np.trace(residual) else residual
    if not math.isfinite(small.sum()):  # variances beyond 1e±300
        return False, L, inverse, shares, 0.0
    P = np.ascontiguousarray(np.linalg.eigh(small)[1])
    inverse = P.T @ inverse
    basis = L @ P
    for t in range(T):
        for k in range(2):
            A = R if k else G
            value = 0.0
            size = 0.0
            for i in range(T):
                for j in range(T):
                    term = inverse[t, i] * A[i, j] * inverse[t, j]
                    value += term
                    size += abs(term)
            if value < -NEGATIVE * size:
                return False, basis, inverse, shares, 0.0
            shares[t, k] = value if value > ROUNDING * size else 0.0
    return True, basis, inverse, shares, log_det


@numba.njit(cache=True, nogil=True)
def congruent(A: Floats, M: Floats) -> Floats:
    """Compute ``A ½(M + Mᵀ) Aᵀ`` of small matrices (T, T), exactly symmetric."""
    T = A.shape[0]
    half = np.empty((T, T))
    for i in range(T):
        for j in range(T):
            half[i, j] = 0.5 * (M[i, j] + M[j, i])
    half = A @ half @ A.T
    return 0.5 * (half + half.T)


@numba.njit(cache=True, nogil=True)
def combine(weights: Floats, columns: Floats) -> Floats:
    """Compute the rows ``Σ_u weights[t, u] columns[:, u]`` (T, n) of columns (n, T)."""
    out = np.zeros((weights.shape[0], columns.shape[0]))
    for t in range(weights.shape[0]):
        for u in range(columns.shape[1]):
            weight = weights[t, u]
            for k in range(columns.shape[0]):
                out[t, k] += weight * columns[k, u]
    return out


@numba.njit(cache=True, nogil=True)
def canonical_bases(genetic: Floats, residual: Floats) -> tuple[int, Floats, Floats, Floats]:
    """Compute `canonical_basis` of many draws (draws, T, T).

    Returns
    -------
    first, Φ (draws, T, T), Φ⁻¹ (draws, T, T), shares (draws, T, 2)
        `first` is the position of the first draw without a basis, -1 if all have one.
    """
    draws, T = genetic.shape[:2]
    basis = np.empty((draws, T, T))
    inverse = np.empty((draws, T, T))
    shares = np.empty((draws, T, 2))
    for i in range(draws):
        possible, Phi, back, h, _ = canonical_basis(genetic[i], residual[i])
        if not possible:
            return i, basis, inverse, shares
        basis[i] = Phi
        inverse[i] = back
        shares[i] = h
    return -1, basis, inverse, shares
