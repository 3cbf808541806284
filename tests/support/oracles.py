"""Dense oracles: the same densities by textbook formulas on (n, n) matrices, in extended precision.

Nothing here uses a spectrum or anything else of bayeslmm. Near h² = 1 and with a singular kernel
V = a K + b I has a condition number of 1e8 and more, and a dense float64 Cholesky loses 8 digits,
just those that the tests want to see; so everything runs in `np.longdouble`, batched over points.
With the 64-bit mantissa of x86 the oracles keep 1e-19 × 1e9 = 1e-10 relative accuracy there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

type Floats = NDArray[np.float64]
type Long = NDArray[np.longdouble]

LONG = np.longdouble
LOG_2PI = np.log(2 * LONG("3.14159265358979323846264338327950288"))


def cholesky(A: Long) -> Long:
    """Lower Cholesky factor of A (..., n, n), column by column, in the precision of A."""
    L = np.zeros_like(A)
    for j in range(A.shape[-1]):
        column = A[..., j:, j] - (L[..., j:, :j] @ L[..., j, :j, None])[..., 0]
        if not np.all(column[..., 0] > 0):
            raise np.linalg.LinAlgError("the matrix is not positive definite")
        L[..., j:, j] = column / np.sqrt(column[..., :1])
    return L


def solve_lower(L: Long, B: Long) -> Long:
    """L⁻¹ B for L (..., n, n) lower triangular, B (..., n, k)."""
    out = np.zeros(np.broadcast_shapes(L.shape[:-2], B.shape[:-2]) + B.shape[-2:], dtype=L.dtype)
    for i in range(L.shape[-1]):
        known = (L[..., i, None, :i] @ out[..., :i, :])[..., 0, :]
        out[..., i, :] = (B[..., i, :] - known) / L[..., i, i, None]
    return out


def log_normal_density(
    y: Any, X: Any, kernels: list[Any], beta: Any, variance: Any
) -> tuple[Long, Long, Long]:
    """log N(y; Xβ, Σ_k v_k K_k + v_last I) and its gradient in β and v.

    Parameters
    ----------
    y, X
        (n,) and (n, p).
    kernels
        K_k (n, n), one for each but the last of the variances.
    beta, variance
        (points, p) and (points, len(kernels) + 1).

    Returns
    -------
    log density (points,), gradient in β (points, p), gradient in v (points, kernels + 1)
    """
    y, X, beta, v = (np.asarray(x, dtype=LONG) for x in (y, X, beta, variance))
    n = y.size
    parts = [*(np.asarray(K, dtype=LONG) for K in kernels), np.eye(n, dtype=LONG)]
    V = sum(v[:, k, None, None] * K for k, K in enumerate(parts))
    L = cholesky(np.asarray(V))
    root = solve_lower(L, np.eye(n, dtype=LONG)[None])
    inverse = np.swapaxes(root, -1, -2) @ root
    residual = y - beta @ X.T
    alpha = (inverse @ residual[..., None])[..., 0]
    log_det = 2 * np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(axis=-1)
    logp = -0.5 * (n * LOG_2PI + log_det + (residual * alpha).sum(axis=-1))
    slopes = [
        -0.5 * ((inverse * K).sum(axis=(-2, -1)) - ((alpha @ K) * alpha).sum(axis=-1))
        for K in parts
    ]
    return logp, alpha @ X, np.stack(slopes, axis=-1)


def log_marginal_density(
    y: Any, X: Any, kernels: list[Any], c: Any, mean: Any = None, factor: Any = None
) -> tuple[float, Floats]:
    """log ∫ N(y; Xβ, Σ_k c_k K_k) p(β) dβ and its gradient in c.

    Parameters
    ----------
    y, X
        (n,) and (n, p).
    kernels, c
        K_k (n, n) and their coefficients.
    mean, factor
        β ~ N(mean, factor factorᵀ); without them β is flat.
    """
    if factor is not None:
        F = np.asarray(X, dtype=LONG) @ np.asarray(factor, dtype=LONG)
        beta = np.asarray(mean, dtype=LONG)[None]
        logp, _, slope = log_normal_density(y, X, [*kernels, F @ F.T], beta, [[*c, 1.0, 0.0]])
        return float(logp[0]), np.asarray(slope[0, :-2], dtype=np.float64)
    y, X = (np.asarray(x, dtype=LONG) for x in (y, X))
    parts = [np.asarray(K, dtype=LONG) for K in kernels]
    n, p = X.shape
    L = cholesky(np.asarray(sum(LONG(x) * K for x, K in zip(c, parts, strict=True))))
    root, half = solve_lower(L, np.eye(n, dtype=LONG)), solve_lower(L, X)
    M = cholesky(half.T @ half)
    projected = solve_lower(M, half.T @ root)
    P = root.T @ root - projected.T @ projected
    log_det = np.log(np.diag(L)).sum() + np.log(np.diag(M)).sum()
    logp = -0.5 * ((n - p) * LOG_2PI + y @ P @ y) - log_det
    slope = [0.5 * (y @ P @ K @ P @ y - (P * K).sum()) for K in parts]
    return float(logp), np.asarray(slope, dtype=np.float64)


def contrasts(X: Any) -> Long:
    """Orthonormal error contrasts (n, n - p) of X: Gram-Schmidt, each vector twice."""
    n, p = X.shape
    found: list[Long] = []
    for column in [*np.asarray(X, dtype=LONG).T, *np.eye(n, dtype=LONG)]:
        rest = column
        for _ in range(2):
            for other in found:
                rest = rest - (other @ rest) * other
        length = np.sqrt(rest @ rest)
        if len(found) < p or (length > 1e-3 and len(found) < n):
            found.append(rest / length)
    return np.stack(found[p:], axis=1)


def log_reml(y: Any, X: Any, K: Any, a: float, b: float) -> float:
    """Log density of n - p orthonormal error contrasts of y: the restricted likelihood."""
    Q = contrasts(X)
    y, K = (np.asarray(x, dtype=LONG) for x in (y, K))
    L = cholesky(LONG(a) * (Q.T @ K @ Q) + LONG(b) * np.eye(Q.shape[1], dtype=LONG))
    white = solve_lower(L, (Q.T @ y)[:, None])
    return float(-0.5 * (Q.shape[1] * LOG_2PI + (white**2).sum()) - np.log(np.diag(L)).sum())


def blup(y: Any, X: Any, K: Any, beta: Any, a: float, b: float) -> Floats:
    """E[g | y, β, a, b] = a K V⁻¹ (y - Xβ), (n,)."""
    y, X, K, beta = (np.asarray(x, dtype=LONG) for x in (y, X, K, beta))
    L = cholesky(LONG(a) * K + LONG(b) * np.eye(y.size, dtype=LONG))
    half = solve_lower(L, (y - X @ beta)[:, None])
    return np.asarray(LONG(a) * (solve_lower(L, K).T @ half)[:, 0], dtype=np.float64)


def relative(found: Any, expected: Any) -> float:
    """Largest |found - expected| / max(1, |expected|)."""
    found, expected = np.asarray(found, dtype=LONG), np.asarray(expected, dtype=LONG)
    return float(np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))))
