"""Eigendecomposition of a symmetric matrix by LAPACK's divide and conquer, in place if wanted."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.lapack import flag, pointer, routine

LARGEST = 32_766  # rows up to which SciPy's 32-bit LAPACK can count its workspace, 2 n² + 6 n + 1


def eigh(A: Floats, *, overwrite: bool = False) -> tuple[Floats, Floats]:
    """Return the eigenvalues s and the eigenvectors V of ``A = V diag(s) Vᵀ``.

    LAPACK's ``dsyevd`` computes them with as many threads as BLAS may use. The same number of
    threads gives the same bits. Another number changes s by rounding, at most about ``n ε |A|``,
    and V also by signs and by rotations among the eigenvectors of close eigenvalues.

    Parameters
    ----------
    A
        (n, n), symmetric and finite. Only one triangle is read.
    overwrite
        Compute V in the memory of A. A is then a writeable float64 array in C or Fortran order, or
        a square block of one.

    Returns
    -------
    s, V
        Eigenvalues (n,), ascending, and eigenvectors (n, n), one in each column. With `overwrite`,
        V is A where A is in Fortran order, and ``A.T`` where it is in C order.

    Raises
    ------
    ValueError
        If A is not square, or cannot be overwritten.
    numpy.linalg.LinAlgError
        If LAPACK finds no eigenvalues, as where A is not finite.

    Notes
    -----
    Beside A it allocates 3 n² numbers at its peak, V and 2 n² of workspace; with `overwrite`, the
    workspace alone. Above n = 32 766 NumPy's 64-bit LAPACK does the work, with 4 n² beside A.
    ``dsyevr`` needs n² less, but took four times as long at n = 5000 with half of s equal.

    References
    ----------
    Anderson et al. (1999) LAPACK Users' Guide, section 2.4.4.
    """
    n = len(A)
    if A.shape != (n, n) or n < 1:
        raise ValueError(f"a square matrix is needed, not the shape {A.shape}")
    V = _fortran(A if overwrite else np.array(A, dtype=np.float64, order="K"))
    if n > LARGEST:
        s, V[...] = np.linalg.eigh(V)
        return s, V
    s = np.empty(n)
    work, iwork = np.empty(2 * n * n + 6 * n + 1), np.empty(5 * n + 3, dtype=np.intc)
    leading, info = max(V.strides[1] // V.itemsize, n), ctypes.c_int(0)
    routine("cython_lapack", "dsyevd", 11)(
        *(flag(b"V"), flag(b"L"), pointer(n), V.ctypes.data, pointer(leading), s.ctypes.data),
        *(work.ctypes.data, pointer(work.size), iwork.ctypes.data, pointer(iwork.size)),
        ctypes.byref(info),
    )
    if info.value != 0 or not np.isfinite(s).all():
        raise np.linalg.LinAlgError(
            f"LAPACK's dsyevd found no eigenvalues of a matrix of {n} rows (info = {info.value}): "
            "are all its values finite?"
        )
    return s, V


def _fortran(A: Floats) -> Floats:
    """Return the symmetric A (n, n) as LAPACK wants it, columns contiguous, without a copy."""
    for V in (A, A.T):
        step, leading = V.strides
        in_order = len(V) == 1 or (step == V.itemsize and leading >= V.nbytes // len(V))
        if V.dtype == np.float64 and V.flags.writeable and V.flags.aligned and in_order:
            return V
    raise ValueError("a writeable float64 array in C or Fortran order is needed to overwrite it")


def settle(s: Floats, V: Floats, *partners: Floats, first: int = 0) -> None:
    """Choose, in place, the eigenvectors that rounding would choose where eigenvalues are equal.

    Every orthonormal basis of the space of k equal eigenvalues is as good as another, and LAPACK's
    depends on the order of its sums. With P (n, k) of fixed normal numbers, ``V_kᵀP = QR`` and R's
    diagonal positive, ``V_k Q`` depends on the space alone: it is the Gram-Schmidt basis of the
    projection of P onto it. So draws along eigenvectors are the same, up to rounding, with any
    number of threads. For k = 1 this fixes the sign.

    Where all eigenvalues are distinct nothing is done. Only where some are equal does LAPACK's
    tridiagonal matrix fall apart, so that rounding decides signs as well.

    Parameters
    ----------
    s
        Eigenvalues (m,), ascending.
    V
        Eigenvectors (n, m), in columns.
    *partners
        Other arrays with m columns, which take part in the rotations.
    first
        Where to begin: columns before it, of one eigenvalue, stay as they are.
    """
    rounding = len(V) * np.finfo(float).eps * np.abs(s).max(initial=0.0)
    ends = np.flatnonzero(np.diff(s) > rounding) + 1
    if len(ends) + 1 >= len(s):
        return
    bounds = [first, *ends[ends > first].tolist(), len(s)]
    for start, end in itertools.pairwise(bounds):
        probes = np.random.default_rng(0).standard_normal((len(V), end - start))
        Q, R = np.linalg.qr(V[:, start:end].T @ probes)
        Q *= np.where(np.diagonal(R) < 0.0, -1.0, 1.0)
        for columns in (V, *partners):
            columns[:, start:end] = columns[:, start:end] @ Q
