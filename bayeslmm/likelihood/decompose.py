"""From a kernel and a design to a `Spectrum`: by eigenvalues, or by singular values of a root.

With the factorisation X = Q [R; 0] and Q = [Q₁, Q_c], everything is read off ``QᵀKQ``::

    Q_cᵀKQ_c = V diag(s) Vᵀ      C = Q₁ᵀKQ_c V      T = Q₁ᵀKQ₁ - C s⁺ Cᵀ

For K = GGᵀ with few columns G, ``QᵀG = [G₁; G_c]`` and ``G_c = V D Fᵀ`` say the same without a
squared matrix: ``s = D²``, ``C = G₁ F D``, ``T = G₁ (I - FFᵀ) G₁ᵀ``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg

from bayeslmm.likelihood.basis import Basis
from bayeslmm.likelihood.definite import NEGATIVE_SILENT, nearest_psd, positive_part
from bayeslmm.likelihood.spectrum import SPECTRA, Spectrum
from bayeslmm.likelihood.spectrum_file import read_key
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.eigen import eigh, settle
from bayeslmm.relationship.relationship import FEW, Relationship
from bayeslmm.system.files import PathArg
from bayeslmm.system.memory import require_memory

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.relationship.variants import Variants

SMALL = 1000  # records below which an n × n basis is no burden, and all eigenvectors are kept
SPARE = 0.1  # share of the contrasts that the kernel does not reach, from which on they are merged


def spectrum(
    cohort: Cohort, relationship: Relationship, *, path: PathArg | None = None
) -> Spectrum:
    """Spectrum of a relationship among the records of a cohort, aligned by ID.

    Parameters
    ----------
    cohort
        Gives the individuals and the design X.
    relationship
        The kernel; its rows are chosen by ID and scaled as `Relationship.on` says. Several
        records of an individual share its row: ``K = Z G Zᵀ``.
    path
        A `.npz` file: read if it holds the spectrum of this very kernel and design, otherwise
        written. A spectrum in memory is also reused between traits and models that share both.

    Returns
    -------
    Spectrum
    """
    root = relationship.root
    if root is not None and cohort.n >= SMALL and root.shape[1] < FEW * cohort.n:
        root = relationship.on(cohort.people).root
        assert root is not None
        if cohort.records is not None:
            root = root[cohort.levels]
        key = root_key(root, cohort.X)
        return _found(key, path, partial(decompose_root, root, cohort.X))

    def kernel() -> Floats:
        """Z G Zᵀ, in memory of its own."""
        K = relationship.on(cohort.people).matrix
        if cohort.records is not None:
            return K[np.ix_(cohort.levels, cohort.levels)]
        return np.array(K)

    def make() -> Spectrum:
        found = _decompose(fresh.pop(), cohort.X, kernel, key)
        return compress(found) if cohort.n >= SMALL else found

    fresh = [kernel()]
    key = kernel_key(fresh[0], cohort.X)
    return _found(key, path, make)


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


def _found(key: str, path: PathArg | None, make: Callable[[], Spectrum]) -> Spectrum:
    """The spectrum of a key: from memory, from a file, or made."""
    kept = path is not None and Path(path).is_file() and read_key(path) == key
    found = SPECTRA.get(key, partial(Spectrum.load, path) if path is not None and kept else make)
    if path is not None and not kept:
        found.save(path)
    return found


def kernel_key(K: Floats, X: Floats) -> str:
    """SHA-256 of a kernel (n, n) and a design (n, p): the `Spectrum.key`."""
    digest = hashlib.sha256()
    for array in (K, X):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def root_key(root: Floats, X: Floats) -> str:
    """`kernel_key` of the kernel of a root (n, r)."""
    return hashlib.sha256(b"root" + kernel_key(root, X).encode()).hexdigest()


def decompose(K: Floats, X: Floats) -> Spectrum:
    """Split off X and decompose the kernel.

    Parameters
    ----------
    K
        Kernel (n, n), symmetric. Eigenvalues down to -1e-6 of the largest are rounding and set to
        zero; down to -1e-2 with a warning (pairwise missing genotypes); beyond it is an error.
    X
        Design (n, p) of full column rank.

    Returns
    -------
    Spectrum
        With all n eigenvectors; see `compress`.

    Notes
    -----
    Beside K it takes 3 n² numbers, W and the workspace of LAPACK's `dsyevd`, of which W stays. The
    same number of threads gives the same bits. Another one, or another machine, changes eigenvalues
    by rounding, and eigenvectors by rounding over the distance of their eigenvalues; those of equal
    ones are chosen by `settle`. `Spectrum.save` keeps the bits.
    """
    return _decompose(np.array(K, dtype=np.float64, order="C"), X, lambda: K, kernel_key(K, X))


def _decompose(K: Floats, X: Floats, again: Callable[[], Floats], key: str) -> Spectrum:
    """Decompose K in its own memory; `again` gives it once more where it is indefinite."""
    n = len(X)
    require_memory(2 * 8 * n * n, f"the eigendecomposition of a {n} × {n} kernel", "use fewer")
    found, smallest, largest = _split(K, X)
    if smallest < -NEGATIVE_SILENT * largest:  # of K_cc or of T: look at K itself
        found = _split(positive_part(again(), largest), X)[0]
    return replace(found, key=key)


def _split(K: Floats, X: Floats) -> tuple[Spectrum, float, float]:
    """Decompose K, in its own memory and C order.

    Also return its smallest eigenvalue, and the largest or the mean diagonal.
    """
    n, p = X.shape
    (factor, tau), R = scipy.linalg.qr(X, mode="raw")
    trace = float(np.trace(K))
    work = K.T  # symmetric, in Fortran order; becomes QᵀKQ, then diag(I, V), then W
    work = apply_q(factor, tau, work, transpose=True, overwrite=True)
    work = apply_q(factor, tau, work, transpose=False, side="R", overwrite=True)
    corner = 0.5 * (work[:p, :p] + work[:p, :p].T)
    below = np.ascontiguousarray(work[p:, :p])
    s, V = eigh(work[p:, p:], overwrite=True)
    top = max(float(s[-1]), trace / n, np.finfo(float).tiny)
    smallest = float(s[0])
    rounding = max(n * np.finfo(float).eps, 1e-14)
    null = s <= rounding * top
    s = np.where(null, 0.0, s)
    zeros = int(null.sum())
    merged = n >= SMALL and zeros >= SPARE * (n - p)  # by `compress`
    settle(s, V, first=zeros if merged else 0)
    coupling = below.T @ V
    coupling[:, null] = 0.0
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=~null)
    schur = corner - (coupling * inverse) @ coupling.T
    smallest = min(smallest, float(np.linalg.eigvalsh(schur)[0]))
    schur = nearest_psd(schur, rounding * max(top, float(np.trace(corner))))
    work[:p, :p] = np.eye(p)
    work[:p, p:] = 0.0
    work[p:, :p] = 0.0
    W = apply_q(factor, tau, work, transpose=False, overwrite=True)
    triangle = np.ascontiguousarray(np.triu(R[:p]))
    ones = np.ones(n - p)
    found = Spectrum(s, ones, np.ascontiguousarray(coupling), schur, triangle, Basis(W, p), "")
    return found, smallest, top


def decompose_root(root: Floats, X: Floats) -> Spectrum:
    """Spectrum of the kernel ``GGᵀ`` by the singular values of its root G.

    Parameters
    ----------
    root
        G (n, r), any r; pays where r < n. Only the r eigenvectors that it reaches are kept.
    X
        Design (n, p) of full column rank.
    """
    root = np.asarray(root, dtype=np.float64)
    (n, p), r = X.shape, root.shape[1]
    require_memory(8 * 6 * n * min(n, r), f"the spectrum of {n} individuals", "use fewer")
    (factor, tau), R = scipy.linalg.qr(X, mode="raw")
    rotated = apply_q(factor, tau, root, transpose=True)
    V, D, Ft = scipy.linalg.svd(rotated[p:], full_matrices=False, check_finite=False)
    top = max(float(D[0]) ** 2, float(np.square(root).sum()) / n, np.finfo(float).tiny)
    rounding = max(n, r) * np.finfo(float).eps
    kept = int((rounding * np.sqrt(top) < D).sum())
    V, D, Ft = V[:, :kept][:, ::-1], D[:kept][::-1], Ft[:kept][::-1]  # ascending
    settle(D, V, Ft.T)
    inside = rotated[:p] @ Ft.T
    rest = rotated[:p] - inside @ Ft
    size = float(np.square(rotated[:p]).sum())
    T = nearest_psd(rest @ rest.T, rounding * max(top, size))
    inner = np.zeros((n, p + kept), order="F")  # W = Q diag(I, V)
    inner[:p, :p] = np.eye(p)
    inner[p:, p:] = V
    W = apply_q(factor, tau, inner, transpose=False, overwrite=True)
    null = n - p - kept
    first = [0.0] * (null > 0)
    return Spectrum(
        np.array([*first, *np.square(D)]),
        np.array([float(null)] * (null > 0) + [1.0] * kept),
        np.ascontiguousarray(np.hstack([np.zeros((p, len(first))), inside * D])),
        T,
        np.ascontiguousarray(np.triu(R[:p])),
        Basis(np.ascontiguousarray(W), p, len(first)),
        root_key(root, X),
    )


def compress(whole: Spectrum) -> Spectrum:
    """Merge the contrasts that the kernel does not reach into one node, where they are many.

    Needs 1 in the space of X, so that means and sample variances of records stay what they are.
    """
    zeros = int(np.count_nonzero(whole.eigenvalues == 0.0))
    W, p = whole.basis.columns, whole.p
    ones = np.full(whole.n, 1.0 / np.sqrt(whole.n))
    outside = np.linalg.norm(ones - W[:, :p] @ (W[:, :p].T @ ones))
    if whole.basis.nodes or zeros < max(SPARE * whole.m, 2) or outside > 1e-8:
        return whole
    kept = np.ascontiguousarray(np.hstack([W[:, :p], W[:, p + zeros :]]))
    return Spectrum(
        np.concatenate([[0.0], whole.eigenvalues[zeros:]]),
        np.concatenate([[float(zeros)], whole.weights[zeros:]]),
        np.ascontiguousarray(whole.coupling[:, zeros - 1 :]),
        whole.schur,
        whole.triangle,
        Basis(kept, p, 1),
        whole.key,
    )


def apply_q(
    factor: Floats,
    tau: Floats,
    A: Floats,
    *,
    transpose: bool,
    side: str = "L",
    overwrite: bool = False,
) -> Floats:
    """QA or QᵀA (side L), AQ or AQᵀ (side R) by Householder reflectors: O(n²p).

    The reflectors are those of ``scipy.linalg.qr(mode="raw")``. `overwrite` a matrix A in Fortran
    order, to save a copy.
    """
    lapack = scipy.linalg.lapack
    how = (side, "T" if transpose else "N")
    size = 64 * max(A.shape)  # LAPACK's own choice of workspace
    return np.asarray(lapack.dormqr(*how, factor, tau, A, size, overwrite_c=int(overwrite))[0])
