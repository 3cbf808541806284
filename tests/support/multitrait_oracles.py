"""Dense oracles and points for several traits: ``Var(y) = G ⊗ K + R ⊗ I``, (nT, nT)."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from kernel_problems import Problem
from oracles import LONG, Floats, Long, cholesky, log_normal_density, solve_lower

from bayeslmm.likelihood.spectrum import Spectrum


def covariance(rng: np.random.Generator, T: int) -> Floats:
    """A covariance (T, T) drawn from a Wishart distribution."""
    A = rng.standard_normal((T, T + 1))
    return A @ A.T


def correlated(T: int, r: float) -> Floats:
    """Unit variances, the first two traits with the correlation r."""
    A = np.eye(T)
    A[0, 1] = A[1, 0] = r
    return A


def traits(problem: Problem, T: int, seed: int) -> tuple[Floats, Floats]:
    """T traits (n, T) of a problem and effects B (p, T) about their least-squares estimate."""
    rng = np.random.default_rng(seed)
    Y = problem.y[:, None] + rng.standard_normal((problem.y.size, T)) * np.arange(1, T + 1)
    fit = np.linalg.lstsq(problem.X, Y, rcond=None)[0]
    spread = np.maximum(np.linalg.norm(problem.X, axis=0), 1.0)[:, None]
    return Y, fit + rng.standard_normal(fit.shape) / spread


def parts(S: Spectrum) -> tuple[Floats, Floats, Floats, Floats]:
    """The arrays of a spectrum in the order of the likelihood."""
    return S.arrays


def stacked(Y: Any) -> Any:
    """Columns (n, T) one under the other (nT,)."""
    return Y.T.ravel()


def dense(
    Y: Floats, X: Floats, K: Long, B: Floats, points: list[tuple[Floats, Floats]]
) -> tuple[Long, Long, Long, Long]:
    """Log density of y and its gradient in B (p, T), G and R, at every (G, R): extended precision.

    Each entry of G and R is the coefficient of a matrix ``E_tu ⊗ K`` or ``E_tu ⊗ I``.
    """
    n, T = Y.shape
    pairs = [(t, u) for t, u in product(range(T), repeat=2) if t >= u]
    kernels = []
    for matrix, (t, u) in product((K, np.eye(n, dtype=LONG)), pairs):
        E = np.zeros((T, T))
        E[t, u] = E[u, t] = 1.0
        kernels.append(np.kron(E, matrix))
    v = np.array([[*(G[i] for i in pairs), *(R[i] for i in pairs), 0.0] for G, R in points])
    beta = np.tile(stacked(B), (len(points), 1))
    X = np.kron(np.eye(T), X)
    logp, d_beta, d_v = log_normal_density(stacked(Y), X, kernels, beta, v)
    slopes = np.zeros((2, len(points), T, T), dtype=LONG)
    for k, (t, u) in enumerate(pairs):
        for j in range(2):
            share = d_v[:, j * len(pairs) + k] / (1 if t == u else 2)
            slopes[j, :, t, u] = slopes[j, :, u, t] = share
    return logp, np.swapaxes(d_beta.reshape(len(points), T, -1), 1, 2), slopes[0], slopes[1]


def dense_blup(
    Y: Floats, X: Floats, K: Long, B: Floats, G: Floats, R: Floats
) -> tuple[Floats, Floats]:
    """Mean (nT,) and covariance (nT, nT) of u given y and the parameters, in closed form."""
    n = Y.shape[0]
    GK = np.kron(np.asarray(G, dtype=LONG), K)
    L = cholesky(GK + np.kron(np.asarray(R, dtype=LONG), np.eye(n, dtype=LONG)))
    half = solve_lower(L, GK)
    white = solve_lower(L, stacked(np.asarray(Y, dtype=LONG) - X @ B)[:, None])
    mean, cov = (half.T @ white)[:, 0], GK - half.T @ half
    return np.asarray(mean, dtype=np.float64), np.asarray(cov, dtype=np.float64)
