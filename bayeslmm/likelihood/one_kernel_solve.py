"""V⁻¹ in the basis of a spectrum, ``V = aK + bI``, for many variances at once.

With ``d = a s + b``, C and T of the spectrum and ``S = bI + aT + ab C diag(1/(s d)) Cᵀ`` (p × p)::

    V⁻¹ = [0, 0; 0, D⁻¹] + E S⁻¹ Eᵀ        E = [I; -a D⁻¹ Cᵀ]
"""

from __future__ import annotations

import numpy as np

from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats

LEAST = 1e-200  # residual variance where V is singular: far from overflow


def spectral_solve(spectrum: Spectrum, r: Floats, a: Floats, b: Floats) -> Floats:
    """``V⁻¹ r`` for rows r (draws, n) in rotated coordinates and variances a, b (draws, 1)."""
    C, p = spectrum.coupling, spectrum.p
    a, b, d, S = solve_parts(spectrum, a, b)
    first = np.linalg.solve(S, (r[:, :p] - a * ((r[:, p:] / d) @ C.T))[:, :, None])[:, :, 0]
    return np.hstack([first, (r[:, p:] - a * (first @ C)) / d])


def mean_inverse(spectrum: Spectrum, a: Floats, b: Floats, weights: Floats) -> Floats:
    """``Σ_k weights_k V_k⁻¹`` (n, n) over draws of a, b (draws, 1), in rotated coordinates."""
    C, p, n = spectrum.coupling, spectrum.p, spectrum.n
    a, b, d, S = solve_parts(spectrum, a, b)
    E = np.empty((len(a), n, p))
    E[:, :p] = np.eye(p)
    E[:, p:] = -(a / d)[:, :, None] * C.T
    half = np.linalg.solve(np.linalg.cholesky(S), np.swapaxes(E, 1, 2))  # L⁻¹Eᵀ, S = L Lᵀ
    half = np.swapaxes(half, 1, 2) * np.sqrt(weights)[:, None, None]
    flat = np.moveaxis(half, 0, 1).reshape(n, -1)
    out = flat @ flat.T
    out[np.arange(p, n), np.arange(p, n)] += weights @ (1.0 / d)
    return np.asarray(out)


def kernel_times(spectrum: Spectrum, v: Floats) -> Floats:
    """``K v`` of a vector v (n,)."""
    s, C, p = spectrum.eigenvalues, spectrum.coupling, spectrum.p
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    w = spectrum.rotate(v)
    top = (spectrum.schur + (C * inverse) @ C.T) @ w[:p] + C @ w[p:]
    return spectrum.unrotate(np.concatenate([top, C.T @ w[:p] + s * w[p:]]))


def clear_null(spectrum: Spectrum, rotated: Floats) -> Floats:
    """Set rows (any, n) to zero, in place, in directions in which the kernel is zero.

    Covariances with g are zero there; rounding would be blown up by V⁻¹ where h² is near 1.
    """
    rotated[:, spectrum.p :][:, spectrum.eigenvalues == 0.0] = 0.0
    return rotated


def solve_parts(spectrum: Spectrum, a: Floats, b: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """a, b (kept off zero), d (draws, m) and S (draws, p, p) for variances a, b (draws, 1)."""
    s, C, p = spectrum.eigenvalues, spectrum.coupling, spectrum.p
    b = np.maximum(b, LEAST)
    d = a * s + b
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    i, j = np.tril_indices(p)
    packed = a * b * ((1.0 / d) @ (C[i] * C[j] * inverse).T)
    S = b[:, :, None] * np.eye(p) + a[:, :, None] * spectrum.schur
    S[:, i, j] += packed
    S[:, j, i] = S[:, i, j]
    return a, b, d, S
