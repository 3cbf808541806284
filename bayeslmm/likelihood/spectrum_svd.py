"""The second way to a `Spectrum`: from a root of the kernel, K = WWᵀ, with fewer columns than rows.

With ``QᵀW = [W₁; W_c]`` (Q splits off the fixed effects X) and the singular value decomposition
``W_c = V D Fᵀ``, everything a spectrum has is there without a squared matrix::

    Q_cᵀKQ_c = V D² Vᵀ      C = W₁ F D      T = W₁ (I - F₊F₊ᵀ) W₁ᵀ      (F₊: singular values > 0)
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from bayeslmm.likelihood.spectrum import Spectrum, apply_q, decompose, nearest_psd
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.relationship.variants import Variants
from bayeslmm.system.memory import require_memory

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


def variant_spectrum(cohort: Cohort, variants: Variants) -> Spectrum:
    """Spectrum of ``K = WWᵀ/c`` and X, c the average semivariance of WWᵀ in the cohort.

    By a singular value decomposition of W where there are fewer variants than individuals, of K
    otherwise.
    """
    aligned = variants.on(cohort.individuals)
    if aligned.m < cohort.n:
        root = np.asarray(aligned.W, dtype=np.float64) / np.sqrt(aligned.factor)
        return decompose_root(root, cohort.X)
    return decompose(aligned.cross_product() / aligned.factor, cohort.X)


def decompose_root(W: Floats, X: Floats) -> Spectrum:
    """Spectrum of the kernel WWᵀ, at the price of the singular values of W.

    Parameters
    ----------
    W
        (n, m), any m; pays where m < n.
    X
        Design (n, p) of full column rank.
    """
    with one_thread():
        return _decompose_root(W, X)


def _decompose_root(W: Floats, X: Floats) -> Spectrum:
    n, p = X.shape
    m = W.shape[1]
    require_memory(8 * (4 * n * n + 3 * n * m), f"the spectrum of {n} individuals", "use fewer")
    reflectors = scipy.linalg.qr(X, mode="raw")
    (factor, tau), R = reflectors[0], reflectors[1]
    rotated = apply_q(factor, tau, np.asfortranarray(W), transpose=True)
    V, D, Ft = scipy.linalg.svd(rotated[p:], full_matrices=True, check_finite=False)
    top = max(float(D[0]) ** 2, float(np.square(W).sum()) / n, np.finfo(float).tiny)
    rounding = max(n, m) * np.finfo(float).eps
    kept = int((rounding * np.sqrt(top) < D).sum())
    s, coupling = np.zeros(n - p), np.zeros((p, n - p))
    s[:kept] = D[:kept] ** 2
    coupling[:, :kept] = (rotated[:p] @ Ft[:kept].T) * D[:kept]
    rest = rotated[:p] @ Ft[kept:].T
    T = nearest_psd(rest @ rest.T, rounding * max(top, float(np.square(rotated[:p]).sum())))
    inner = np.zeros((n, n))  # basis = Q diag(I, V), eigenvalues in ascending order
    inner[:p, :p] = np.eye(p)
    inner[p:, p:] = V[:, ::-1]
    basis = np.ascontiguousarray(apply_q(factor, tau, inner, transpose=False))
    key = hashlib.sha256(b"root" + np.ascontiguousarray(W).tobytes() + X.tobytes()).hexdigest()
    return Spectrum(
        np.ascontiguousarray(s[::-1]),
        np.ascontiguousarray(coupling[:, ::-1]),
        T,
        np.ascontiguousarray(np.triu(R[:p])),
        basis,
        key,
    )
