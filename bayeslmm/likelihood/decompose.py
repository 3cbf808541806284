"""Compute a `Spectrum` from a kernel and a design: by eigenvalues, or singular values of a root.

With the factorisation X = Q [R; 0] and Q = [Q₁, Q_c], all parts follow from ``QᵀKQ``::

    Q_cᵀKQ_c = V diag(s) Vᵀ      C = Q₁ᵀKQ_c V      T = Q₁ᵀKQ₁ - C s⁺ Cᵀ

For K = GGᵀ with few columns G, ``QᵀG = [G₁; G_c]`` and ``G_c = V D Fᵀ`` give the same without
squaring G: ``s = D²``, ``C = G₁ F D``, ``T = G₁ (I - FFᵀ) G₁ᵀ``.
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

SMALL = 1000  # number of records below which all eigenvectors are stored
SPARE = 0.1  # smallest share of null eigenvalues among the contrasts at which they are merged


def spectrum(
    cohort: Cohort, relationship: Relationship, *, path: PathArg | None = None
) -> Spectrum:
    """Compute the spectrum of a relationship among the records of a cohort, aligned by ID.

    Parameters
    ----------
    cohort
        Gives the individuals and the design X.
    relationship
        The kernel; its rows are selected by ID and scaled by `Relationship.on`. Several records
        of an individual share its row: ``K = Z G Zᵀ``.
    path
        A `.npz` file: read if it holds the spectrum of the same kernel and design, otherwise
        written. A spectrum in memory is also reused by traits and models that share both.

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
        return _cached_spectrum(key, path, partial(decompose_root, root, cohort.X))

    def kernel() -> Floats:
        """Compute Z G Zᵀ as a new array."""
        K = relationship.on(cohort.people).matrix
        if cohort.records is not None:
            return K[np.ix_(cohort.levels, cohort.levels)]
        return np.array(K)

    def make() -> Spectrum:
        found = _decompose(fresh.pop(), cohort.X, kernel, key)
        return compress(found) if cohort.n >= SMALL else found

    fresh = [kernel()]
    key = kernel_key(fresh[0], cohort.X)
    return _cached_spectrum(key, path, make)


def variant_spectrum(cohort: Cohort, variants: Variants) -> Spectrum:
    """Compute the spectrum of ``K = WWᵀ/c``, c the average semivariance of WWᵀ in the cohort.

    With fewer variants than individuals it comes from the singular values of W, otherwise from the
    eigenvalues of K.
    """
    aligned = variants.on(cohort.individuals)
    if aligned.m < cohort.n:
        root = np.asarray(aligned.W, dtype=np.float64) / np.sqrt(aligned.factor)
        return decompose_root(root, cohort.X)
    return decompose(aligned.cross_product() / aligned.factor, cohort.X)


def _cached_spectrum(key: str, path: PathArg | None, make: Callable[[], Spectrum]) -> Spectrum:
    """Return the spectrum of a key: from memory, from a file, or computed by `make`."""
    kept = path is not None and Path(path).is_file() and read_key(path) == key
    found = SPECTRA.get(key, partial(Spectrum.load, path) if path is not None and kept else make)
    if path is not None and not kept:
        found.save(path)
    return found


def kernel_key(K: Floats, X: Floats) -> str:
    """Return the SHA-256 of a kernel (n, n) and a design (n, p): the `Spectrum.key`."""
    digest = hashlib.sha256()
    for array in (K, X):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def root_key(root: Floats, X: Floats) -> str:
    """Return the `Spectrum.key` of a kernel given by its root (n, r)."""
    return hashlib.sha256(b"root" + kernel_key(root, X).encode()).hexdigest()


def decompose(K: Floats, X: Floats) -> Spectrum:
    """Project out X and decompose the kernel.

    Parameters
    ----------
    K
        Kernel (n, n), symmetric. Negative eigenvalues down to -1e-6 of the largest are set to zero
        as rounding; down to -1e-2 with a warning (pairwise missing genotypes); below is an error.
    X
        Design (n, p) of full column rank.

    Returns
    -------
    Spectrum
        With all n eigenvectors; see `compress`.

    Notes
    -----
    Beside K it needs memory for 3 n² numbers, W and the workspace of LAPACK's `dsyevd`; only W is
    stored. The same number of threads gives the same bits. With another number, or on another
    machine, eigenvalues change by rounding, and eigenvectors by rounding over the gap of their
    eigenvalues; `settle` fixes the eigenvectors of equal eigenvalues. `Spectrum.save` stores the
    exact bits.
    """
    return _decompose(np.array(K, dtype=np.float64, order="C"), X, lambda: K, kernel_key(K, X))


def _decompose(K: Floats, X: Floats, recompute: Callable[[], Floats], key: str) -> Spectrum:
    """Decompose K in place; `recompute` returns K again if it is indefinite."""
    n = len(X)
    require_memory(2 * 8 * n * n, f"the eigendecomposition of a {n} × {n} kernel", "use fewer")
    found, smallest, largest = _decompose_in_place(K, X)
    if smallest < -NEGATIVE_SILENT * largest:  # K_cc or T is indefinite, so check K itself
        found = _decompose_in_place(positive_part(recompute(), largest), X)[0]
    return replace(found, key=key)


def _decompose_in_place(K: Floats, X: Floats) -> tuple[Spectrum, float, float]:
    """Decompose K (C order) in place.

    Also return the smallest eigenvalue of K_cc and T, and the largest of K_cc or, if larger, the
    mean diagonal of K.
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
    merged = n >= SMALL and zeros >= SPARE * (n - p)  # `compress` will merge them
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
    """Compute the spectrum of the kernel ``GGᵀ`` from the singular values of its root G.

    Parameters
    ----------
    root
        G (n, r), any r; faster than `decompose` if r < n. Only r eigenvectors are stored.
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
    """Merge the eigenvectors of eigenvalue zero into one node, if there are many.

    It needs 1 in the space of X, so that means and sample variances of records do not change. Other
    repeated eigenvalues keep their eigenvectors: g varies along them, so that a draw of g needs
    them, and the decomposition has allocated n² numbers for them already.
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
    """Compute QA or QᵀA (side L), AQ or AQᵀ (side R) by Householder reflectors: O(n²p).

    The reflectors come from ``scipy.linalg.qr(mode="raw")``. `overwrite` saves a copy of a matrix A
    in Fortran order.
    """
    lapack = scipy.linalg.lapack
    how = (side, "T" if transpose else "N")
    size = 64 * max(A.shape)  # workspace that LAPACK would choose
    return np.asarray(lapack.dormqr(*how, factor, tau, A, size, overwrite_c=int(overwrite))[0])
