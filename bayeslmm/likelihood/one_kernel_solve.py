"""V⁻¹ in the basis of a spectrum, ``V = aK + bI``, for many variances at once.

With ``d = a s + b``, C and T of the spectrum and ``S = bI + aT + ab C diag(1/(s d)) Cᵀ`` (p × p)::

    V⁻¹ = [0, 0; 0, D⁻¹] + E S⁻¹ Eᵀ        E = [I; -a D⁻¹ Cᵀ]
"""

from __future__ import annotations

import numpy as np

from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats

LEAST = 1e-200  # smallest residual variance, if V is singular; avoids overflow


def spectral_solve(spectrum: Spectrum, r: Floats, a: Floats, b: Floats) -> Floats:
    """Compute ``V⁻¹ r`` for rotated rows r (draws, p + k) and variances a, b (draws, 1)."""
    C, p = spectrum.coupling, spectrum.p
    a, b, d, S = solve_parts(spectrum, a, b)
    first = np.linalg.solve(S, (r[:, :p] - a * ((r[:, p:] / d) @ C.T))[:, :, None])[:, :, 0]
    return np.hstack([first, (r[:, p:] - a * (first @ C)) / d])


def mean_inverse(spectrum: Spectrum, a: Floats, b: Floats, weights: Floats) -> Floats:
    """Compute ``Σ_k weights_k V_k⁻¹`` over draws of a, b (draws, 1), in rotated coordinates."""
    C, p = spectrum.coupling, spectrum.p
    n = p + spectrum.nodes
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


def times_kernel(spectrum: Spectrum, w: Floats) -> Floats:
    """Compute ``K w`` for rows w (any, p + k) in rotated coordinates."""
    s, C, T, p = spectrum.eigenvalues, spectrum.coupling, spectrum.schur, spectrum.p
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    K11 = T + (C * inverse) @ C.T
    top, rest = w[:, :p], w[:, p:]
    return np.hstack([top @ K11 + rest @ C.T, top @ C + rest * s])


def kernel_times(spectrum: Spectrum, v: Floats) -> Floats:
    """Compute ``K v`` of a vector v (n,)."""
    return spectrum.unrotate(times_kernel(spectrum, spectrum.basis.project(v)[None])[0])


def semivariance(spectrum: Spectrum) -> float:
    """Compute the average semivariance of K: ``tr(PKP)/(n - 1)``, ``P = I - 11ᵀ/n``."""
    s, C, n = spectrum.eigenvalues, spectrum.coupling, spectrum.n
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    trace = float(s.sum() + np.trace(spectrum.schur) + ((C * inverse) * C).sum())
    return (trace - float(kernel_times(spectrum, np.ones(n)).sum()) / n) / (n - 1)


def shrink(spectrum: Spectrum, r: Floats, a: Floats, b: Floats) -> Floats:
    """Compute ``a K (a K + b I)⁻¹ r`` for rows r (draws, p + k) and variances a, b (draws, 1)."""
    return a * times_kernel(spectrum, spectral_solve(spectrum, r, a, b))


def clear_null(spectrum: Spectrum, rotated: Floats) -> Floats:
    """Set rows (any, p + k) to zero, in place, in the null space of the kernel.

    Covariances with g are zero there; V⁻¹ would amplify rounding errors if h² is near 1.
    """
    rotated[:, spectrum.p :][:, spectrum.eigenvalues == 0.0] = 0.0
    return rotated


def solve_parts(spectrum: Spectrum, a: Floats, b: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return a, b (bounded away from 0), d (draws, k) and S (draws, p, p) for a, b (draws, 1)."""
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
