"""The Gaussian likelihood of one kernel in its eigenbasis, with gradient: O(n p²), no cancellation.

The records are rotated once by an orthogonal matrix ``W = [Q₁, Q_c V]``
(`bayeslmm.likelihood.spectrum`)::

    Wᵀy = [q; e]      WᵀX = [R; 0]      WᵀKW = [[K₁₁, C], [Cᵀ, diag(s)]]

with q (p,) the component of y in the column space of X and e (m = n - p,) the error contrasts; a
node of the spectrum may represent w contrasts. With a = σ²_u, b = σ²_e and d = a s + b the density
of y factorises exactly::

    log p(y | β, a, b) = log N(e; 0, diag(d)) + log N(q; Rβ + a C D⁻¹ e, S)

The first factor is the REML likelihood, which does not depend on β. S is the Schur complement of
the covariance; the form ``b I + a K₁₁ - a² C D⁻¹ Cᵀ`` suffers catastrophic cancellation as h² → 1.
With ``T = K₁₁ - C s⁺ Cᵀ`` (the Schur complement of K, positive semidefinite, computed once) and
``C̃ = C s^(-½)`` S is a sum of positive terms, accurate for all h² in [0, 1]::

    S     = b I + a T + a b C̃ D⁻¹ C̃ᵀ
    ∂S/∂a = T + b² C̃ D⁻² C̃ᵀ
    ∂S/∂b = I + a² C̃ D⁻² s C̃ᵀ

References
----------
Patterson & Thompson (1971) Biometrika 58:545 (error contrasts); Kang et al. (2008) Genetics
178:1709 and Lippert et al. (2011) Nat Methods 8:833 (the rotation by eigenvectors).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from bayeslmm.numerics.arrays import Floats

LOG_2PI = math.log(2 * math.pi)


@numba.njit(cache=True, nogil=True)
def cholesky_in_place(A: Floats) -> bool:
    """Overwrite the lower triangle of the small matrix A (p, p) by its Cholesky factor.

    Returns False, and leaves A unfinished, when A is not positive definite.
    """
    p = A.shape[0]
    for j in range(p):
        pivot = A[j, j]
        for k in range(j):
            pivot -= A[j, k] * A[j, k]
        if not pivot > 0.0:
            return False
        pivot = math.sqrt(pivot)
        A[j, j] = pivot
        for i in range(j + 1, p):
            value = A[i, j]
            for k in range(j):
                value -= A[i, k] * A[j, k]
            A[i, j] = value / pivot
    return True


@numba.njit(cache=True, nogil=True)
def solve_lower(L: Floats, x: Floats) -> None:
    """Solve L z = x in place; L (p, p) lower triangular, x (p,)."""
    for i in range(L.shape[0]):
        value = x[i]
        for k in range(i):
            value -= L[i, k] * x[k]
        x[i] = value / L[i, i]


@numba.njit(cache=True, nogil=True)
def solve_lower_transposed(L: Floats, x: Floats) -> None:
    """Solve Lᵀ z = x in place; L (p, p) lower triangular, x (p,)."""
    p = L.shape[0]
    for i in range(p - 1, -1, -1):
        value = x[i]
        for k in range(i + 1, p):
            value -= L[k, i] * x[k]
        x[i] = value / L[i, i]


@numba.njit(cache=True, nogil=True)
def spectral_logp(
    rotated: Floats,
    beta: Floats,
    variance: Floats,
    s: Floats,
    weights: Floats,
    C: Floats,
    T: Floats,
    R: Floats,
) -> tuple[float, Floats, Floats]:
    """Compute the log density of y and its gradient.

    Parameters
    ----------
    rotated
        ``[q; e] = Wᵀy`` (p + k,).
    beta
        β (p,).
    variance
        (σ²_u, σ²_e).
    s, weights, C, T, R
        Eigenvalues (k,), their weights (k,), coupling (p, k), Schur complement (p, p) and
        triangular design (p, p) of the `bayeslmm.likelihood.spectrum.Spectrum`.

    Returns
    -------
    logp, gradient in β (p,), gradient in (σ²_u, σ²_e) (2,)
        ``-inf`` and zeros outside the support (σ²_u >= 0, σ²_e >= 0, covariance regular).
    """
    p = R.shape[0]
    m = s.shape[0]
    a = variance[0]
    b = variance[1]
    d_beta = np.zeros(p)
    d_variance = np.zeros(2)
    if not (a >= 0.0 and b >= 0.0 and math.isfinite(a) and math.isfinite(b)):
        return -np.inf, d_beta, d_variance
    S = np.empty((p, p))  # Schur complement
    Sa = np.empty((p, p))  # its derivative in a
    Sb = np.empty((p, p))  # its derivative in b
    for i in range(p):
        for j in range(i + 1):
            S[i, j] = a * T[i, j]
            Sa[i, j] = T[i, j]
            Sb[i, j] = 0.0
        S[i, i] += b
        Sb[i, i] += 1.0
    shift = np.zeros(p)  # C D⁻¹ e
    shift2 = np.zeros(p)  # C D⁻² e
    log_d = 0.0
    product = 1.0  # product of the d since the last logarithm: one log for many factors
    count = float(p)  # number of records
    rss = 0.0
    trace_a = 0.0
    trace_b = 0.0
    rss_a = 0.0
    rss_b = 0.0
    for k in range(m):
        sk = s[k]
        d = a * sk + b
        if not d > 0.0:
            return -np.inf, d_beta, d_variance
        w = 1.0 / d
        x = rotated[p + k] * w
        many = weights[k]
        count += many
        if many == 1.0 and 1e-100 < d < 1e100:
            product *= d
            if not 1e-100 < product < 1e100:
                log_d += math.log(product)
                product = 1.0
        else:
            log_d += many * math.log(d)
        rss += x * rotated[p + k]
        trace_a += many * sk * w
        trace_b += many * w
        rss_a += sk * x * x
        rss_b += x * x
        if sk > 0.0:
            ws = w / sk
            w2s = ws * w
            for i in range(p):
                ci = C[i, k]
                shift[i] += ci * x
                shift2[i] += ci * x * w
                for j in range(i + 1):
                    cc = ci * C[j, k]
                    S[i, j] += a * b * cc * ws
                    Sa[i, j] += b * b * cc * w2s
                    Sb[i, j] += a * a * cc * w2s * sk
    log_d += math.log(product)
    if not cholesky_in_place(S):
        return -np.inf, d_beta, d_variance
    r = np.empty(p)
    for i in range(p):
        value = rotated[i] - a * shift[i]
        for j in range(i, p):
            value -= R[i, j] * beta[j]
        r[i] = value
    log_S = 0.0
    for i in range(p):
        log_S += 2.0 * math.log(S[i, i])
    v = r.copy()  # v = S⁻¹ r
    solve_lower(S, v)
    quadratic = 0.0
    for i in range(p):
        quadratic += v[i] * v[i]
    solve_lower_transposed(S, v)
    logp = -0.5 * (count * LOG_2PI + log_d + rss + log_S + quadratic)
    # S⁻¹, column by column, for the traces
    column = np.empty(p)
    tr_a = 0.0
    tr_b = 0.0
    for j in range(p):
        column[:] = 0.0
        column[j] = 1.0
        solve_lower(S, column)
        solve_lower_transposed(S, column)
        for i in range(p):
            low, high = (i, j) if i >= j else (j, i)
            weight = column[i] - v[i] * v[j]
            tr_a += weight * Sa[low, high]
            tr_b += weight * Sb[low, high]
    cross = 0.0
    for i in range(p):
        cross += shift2[i] * v[i]
        for j in range(i + 1):
            d_beta[i] += R[j, i] * v[j]
    d_variance[0] = -0.5 * (trace_a - rss_a + tr_a) + b * cross
    d_variance[1] = -0.5 * (trace_b - rss_b + tr_b) - a * cross
    return logp, d_beta, d_variance
