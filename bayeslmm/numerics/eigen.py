"""Eigendecomposition of a symmetric matrix by LAPACK's divide and conquer, in place if wanted."""

from __future__ import annotations

import ctypes

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.lapack import flag, pointer, routine

LARGEST = 32_765  # rows up to which SciPy's 32-bit LAPACK can count its workspace, 2 n² + 6 n + 1


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
        If the iteration does not converge.

    Notes
    -----
    Beside A it allocates 3 n² numbers at its peak, V and 2 n² of workspace; with `overwrite`, the
    workspace alone. Above n = 32 765 NumPy's 64-bit LAPACK does the work, with 4 n² beside A.
    ``dsyevr`` needs n² less, but took four times as long on a relationship matrix of 5000.

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
    if info.value != 0:
        raise np.linalg.LinAlgError(
            f"LAPACK's dsyevd stopped with info = {info.value}: no eigenvalues of a matrix of "
            f"{n} rows (are all its values finite?)"
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
