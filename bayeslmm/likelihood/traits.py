"""The Gaussian likelihood of T traits and one kernel, with gradient: O(n p² T + n T²).

For T traits of the same n individuals, all observed, with one kernel K and one design X::

    Y = XB + U + E      vec U ~ N(0, G ⊗ K)      vec E ~ N(0, R ⊗ I)

In the basis Φ that diagonalises both covariances (`bayeslmm.likelihood.canonical`) the canonical
traits ``Y' = YΦ⁻ᵀ`` are independent: each is a one-trait problem of
`bayeslmm.likelihood.one_kernel` with the variances (h_t, 1 - h_t) and the effects ``B' = BΦ⁻ᵀ``::

    log p(Y | B, G, R) = Σ_t log N(Y'_t; XB'_t, h_t K + (1 - h_t) I) - n log|det Φ|

With V_t = h_t K + (1 - h_t) I and α_t = V_t⁻¹ (Y'_t - XB'_t) the gradient, before it is transformed
back by Φ, has no derivatives of eigenvectors, so equal h_t need no special case::

    ∂/∂G'_tu = ½ [α_tᵀ K α_u - δ_tu tr(V_t⁻¹ K)]        ∂/∂R'_tu = ½ [α_tᵀ α_u - δ_tu tr V_t⁻¹]

A singular G (a correlation of ±1, a trait without genetic variance) needs no special case. A
singular R is the boundary h = 1. There the density is the density with covariance K if K is
regular, and ``-inf`` otherwise, as for one trait. Near the boundary the density with a singular K
has the accuracy of 1 - h, which inherits the rounding of R: relative 1e-16 / (1 - r_e²) for a
residual correlation r_e. If G + R is singular the density is ``-inf``.

Vectors of all traits are stacked trait by trait: y = [Y_1; Y_2; ...] (nT,), β = [B_1; B_2; ...]
(pT,), so that Var(y) = G ⊗ K + R ⊗ I.

References
----------
Thompson (1976) Biometrics 32:283 and Meyer (1985) Biometrics 41:153 (REML of many traits by
canonical transformation); Zhou & Stephens (2014) Nat Methods 11:407 (with the spectrum of a GRM).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from bayeslmm.likelihood.canonical import canonical_basis, combine, congruent
from bayeslmm.likelihood.one_kernel import LOG_2PI, cholesky_in_place, solve_lower, spectral_logp
from bayeslmm.numerics.arrays import Floats


@numba.njit(cache=True, nogil=True)
def multi_trait_logp(
    rotated: Floats,
    B: Floats,
    G: Floats,
    R: Floats,
    s: Floats,
    weights: Floats,
    C: Floats,
    schur: Floats,
    triangle: Floats,
) -> tuple[float, Floats, Floats, Floats]:
    """Compute the log density of Y and its gradient.

    Parameters
    ----------
    rotated
        ``WᵀY`` (n, T).
    B
        Fixed effects (p, T), a column for each trait.
    G, R
        Genetic and residual covariance of the traits (T, T); only the symmetric part is used.
    s, weights, C, schur, triangle
        Eigenvalues (k,), their weights (k,), coupling (p, k), Schur complement (p, p) and
        triangular design (p, p) of the `bayeslmm.likelihood.spectrum.Spectrum`.

    Returns
    -------
    logp, gradient in B (p, T), in G (T, T) and in R (T, T)
        The last two are symmetric: dlogp = Σ_tu dG[t, u] δG[t, u]. ``-inf`` and zeros outside the
        support (G, R positive semidefinite, G ⊗ K + R ⊗ I regular).
    """
    T = G.shape[0]
    p = triangle.shape[0]
    nowhere = (-np.inf, np.zeros((p, T)), np.zeros((T, T)), np.zeros((T, T)))
    possible, _, inverse, shares, log_det = canonical_basis(G, R)
    if not possible:
        return nowhere
    Y = combine(inverse, rotated)
    fitted = np.zeros((p, T))  # RB: the mean in the coordinates of W
    for i in range(p):
        for j in range(i, p):
            for t in range(T):
                fitted[i, t] += triangle[i, j] * B[j, t]
    mean = combine(inverse, fitted)
    unit = np.eye(p)
    logp = -(p + weights.sum()) * log_det
    v = np.empty((T, p))  # α_t in the column space of X
    dG = np.zeros((T, T))
    dR = np.zeros((T, T))
    for t in range(T):
        value, v_t, slope = spectral_logp(Y[t], mean[t], shares[t], s, weights, C, schur, unit)
        if value == -np.inf:
            return nowhere
        logp += value
        v[t] = v_t
        dG[t, t] = slope[0]
        dR[t, t] = slope[1]
    cross_products(Y[:, p:], v, shares, s, C, schur, dG, dR)
    vT = inverse.T @ v
    dB = np.zeros((p, T))
    for j in range(p):
        for t in range(T):
            for i in range(j + 1):
                dB[j, t] += triangle[i, j] * vT[t, i]
    down = np.ascontiguousarray(inverse.T)
    return logp, dB, congruent(down, dG), congruent(down, dR)


@numba.njit(cache=True, nogil=True)
def cross_products(
    e: Floats,
    v: Floats,
    shares: Floats,
    s: Floats,
    C: Floats,
    schur: Floats,
    dG: Floats,
    dR: Floats,
) -> None:
    """Fill ``½ α_tᵀKα_u`` and ``½ α_tᵀα_u`` for t ≠ u, without cancellation as h → 1.

    In the basis W α = [v; (e - a c)/d] with c = Cᵀv and d = a s + b, and
    ``αᵀKα = vᵀTv + Σ_k s x²`` with x = (e + b c/s)/d.

    Parameters
    ----------
    e, v
        Contrasts (T, m) of the canonical traits, and α_t in the column space of X (T, p).
    shares
        (a, b) = (h, 1 - h) of every canonical trait (T, 2).
    dG, dR
        (T, T), changed off the diagonal.
    """
    T, m = e.shape
    p = v.shape[1]
    if T == 1:
        return
    x = np.zeros((T, m))  # √s x
    alpha = np.empty((T, m))
    c = np.empty(m)
    for t in range(T):
        a = shares[t, 0]
        b = shares[t, 1]
        c[:] = 0.0
        for i in range(p):
            for k in range(m):
                c[k] += v[t, i] * C[i, k]
        for k in range(m):
            w = 1.0 / (a * s[k] + b)
            alpha[t, k] = (e[t, k] - a * c[k]) * w
            if s[k] > 0.0:
                x[t, k] = (s[k] * e[t, k] + b * c[k]) * w / math.sqrt(s[k])
    for t in range(T):
        for u in range(t):
            genetic = 0.0
            residual = 0.0
            for k in range(m):
                genetic += x[t, k] * x[u, k]
                residual += alpha[t, k] * alpha[u, k]
            for i in range(p):
                residual += v[t, i] * v[u, i]
                for j in range(p):
                    genetic += v[t, i] * schur[i, j] * v[u, j]
            dG[t, u] = dG[u, t] = 0.5 * genetic
            dR[t, u] = dR[u, t] = 0.5 * residual


@numba.njit(cache=True, nogil=True)
def multi_trait_quadratic(
    rotated: Floats,
    G: Floats,
    R: Floats,
    s: Floats,
    weights: Floats,
    C: Floats,
    schur: Floats,
    triangle: Floats,
) -> tuple[float, Floats, Floats]:
    """Compute the log density as a quadratic in β: ``ℓ - ½ ‖w - Aβ‖²``.

    Parameters as in `multi_trait_logp`.

    Returns
    -------
    ℓ, A (pT, pT), w (pT,)
        β is stacked trait by trait. ``-inf`` and zeros outside the support.
    """
    T = G.shape[0]
    p = triangle.shape[0]
    A = np.zeros((p * T, p * T))
    w = np.zeros(p * T)
    possible, _, inverse, shares, log_det = canonical_basis(G, R)
    if not possible:
        return -np.inf, A, w
    Y = combine(inverse, rotated)
    level = n = 0.0
    for t in range(T):
        value, A_t, w_t, n = one_trait_quadratic(Y[t], shares[t], s, weights, C, schur, triangle)
        if value == -np.inf:
            return -np.inf, A, w
        level += value
        w[t * p : (t + 1) * p] = w_t
        for u in range(T):
            A[t * p : (t + 1) * p, u * p : (u + 1) * p] = inverse[t, u] * A_t
    return level - n * log_det, A, w


@numba.njit(cache=True, nogil=True)
def one_trait_quadratic(
    y: Floats,
    variance: Floats,
    s: Floats,
    weights: Floats,
    C: Floats,
    schur: Floats,
    triangle: Floats,
) -> tuple[float, Floats, Floats, float]:
    """Compute ℓ, A = L⁻¹R (p, p) and w = L⁻¹(q - a C D⁻¹ e) (p,) of one trait, S = LLᵀ; and n."""
    p, m = C.shape
    a = variance[0]
    b = variance[1]
    A = np.zeros((p, p))
    S = a * schur + b * np.eye(p)
    r = y[:p].copy()
    log_d = 0.0
    product = 1.0
    count = float(p)
    rss = 0.0
    for k in range(m):
        d = a * s[k] + b
        if not d > 0.0:
            return -np.inf, A, r, count
        x = y[p + k] / d
        rss += x * y[p + k]
        count += weights[k]
        if weights[k] == 1.0 and 1e-100 < d < 1e100:
            product *= d
            if not 1e-100 < product < 1e100:
                log_d += math.log(product)
                product = 1.0
        else:
            log_d += weights[k] * math.log(d)
        if s[k] > 0.0:
            weight = a * b / (d * s[k])
            for i in range(p):
                r[i] -= a * C[i, k] * x
                for j in range(i + 1):
                    S[i, j] += weight * C[i, k] * C[j, k]
    log_d += math.log(product)
    if not cholesky_in_place(S):
        return -np.inf, A, r, count
    solve_lower(S, r)
    level = count * LOG_2PI + log_d + rss
    for i in range(p):
        level += 2.0 * math.log(S[i, i])
        A[: i + 1, i] = triangle[: i + 1, i]
        solve_lower(S, A[:, i])
    return -0.5 * level, A, r, count


@numba.njit(cache=True, nogil=True)
def stacked_logp(
    rotated: Floats,
    beta: Floats,
    G: Floats,
    R: Floats,
    s: Floats,
    weights: Floats,
    C: Floats,
    schur: Floats,
    triangle: Floats,
) -> tuple[float, Floats, Floats, Floats]:
    """Compute `multi_trait_logp` and its gradient with β stacked trait by trait (pT,)."""
    T, p = G.shape[0], triangle.shape[0]
    B = np.empty((p, T))
    for t in range(T):
        for j in range(p):
            B[j, t] = beta[t * p + j]
    logp, dB, dG, dR = multi_trait_logp(rotated, B, G, R, s, weights, C, schur, triangle)
    d_beta = np.empty(p * T)
    for t in range(T):
        for j in range(p):
            d_beta[t * p + j] = dB[j, t]
    return logp, d_beta, dG, dR
