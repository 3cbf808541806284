"""The variance of random effects that the records explain, at given (co)variances.

    Var(u) - Var(u - û) = Cov(u, y) P Cov(y, u),   P = V⁻¹ - V⁻¹X (XᵀV⁻¹X)⁻¹XᵀV⁻¹

Var(u - û) is the prediction error variance (PEV); it includes the uncertainty of β̂.

References
----------
Henderson (1975) Biometrics 31:423.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import scipy.linalg

from bayeslmm.likelihood.terms import Covariance, Term
from bayeslmm.numerics.arrays import Floats

type Sums = Mapping[str, Sequence[str]]  # effects that each quantity adds up, by its name


def covariances_with_y(
    terms: Sequence[Term], sigmas: Sequence[Floats], sums: Sums
) -> dict[str, Floats]:
    """Compute ``Cov(u, y)`` (N, n) of sums of effects, from Σ (k, k) of every term."""
    found: dict[str, Floats] = {}
    for name, effects in sums.items():
        parts = [
            (term, S, j)
            for term, S in zip(terms, sigmas, strict=True)
            for j, effect in enumerate(term.columns)
            if effect in effects
        ]
        found[name] = np.sum([_covariance(*part) for part in parts], axis=0, dtype=np.float64)
    return found


def _covariance(term: Term, S: Floats, j: int) -> Floats:
    """Compute ``Cov(u_j, y)`` (N, n) of an effect j of a term with a kernel."""
    loads = sum(S[j, k] * term.incidence(k) for k in range(term.k))
    assert term.kernel is not None
    return np.asarray((loads @ term.kernel).T)


def explained_by(V: Floats, X: Floats, covariances: Mapping[str, Floats]) -> dict[str, Floats]:
    """Compute diag ``Cov(u, y) P Cov(y, u)`` (N,) from V (n, n), X (n, p) and Cov(u, y) (N, n)."""
    L = np.linalg.cholesky(V)
    half = scipy.linalg.solve_triangular(L, X, lower=True, check_finite=False)
    Q = np.linalg.qr(half)[0]
    found = {}
    for name, C in covariances.items():
        white = scipy.linalg.solve_triangular(L, C.T, lower=True, check_finite=False)
        found[name] = np.square(white).sum(axis=0) - np.square(Q.T @ white).sum(axis=0)
    return found


def dense_explained(
    covariance: Covariance, X: Floats, c: Floats, sums: Sums
) -> Iterator[dict[str, Floats]]:
    """Yield the variances explained at draws c (draws, K): one factorisation each."""
    matrices = list(covariance.matrices())
    for one in c:
        V = np.zeros((covariance.n, covariance.n))
        for value, M in zip(one, matrices, strict=True):
            V += value * M
        sigmas, _ = covariance.unpack(one)
        yield explained_by(V, X, covariances_with_y(covariance.terms, sigmas, sums))
