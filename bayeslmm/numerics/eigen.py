"""Eigendecomposition of a symmetric matrix by several threads, to the same bits as by one."""

from __future__ import annotations

import ctypes

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.lapack import flag, pointer, routine
from bayeslmm.numerics.threads import sharing

WIDTH = 256  # eigenvectors a thread transforms at once


def eigh(A: Floats, threads: int | None = None) -> tuple[Floats, Floats]:
    """``A = V diag(s) Vᵀ`` with s ascending.

    LAPACK's ``dsyevd`` step by step: ``A = H T Hᵀ`` with T tridiagonal (``dsytrd``), ``T = U
    diag(s) Uᵀ`` by divide and conquer (``dstevd``), and ``V = HU`` (``dormtr``). The first two run
    in one thread; the last, 40 % of the time, is shared by threads, some columns of U a piece.

    Parameters
    ----------
    A
        (n, n), symmetric and finite; only read.
    threads
        Default: as many as BLAS may use.

    Returns
    -------
    s, V
        (n,) eigenvalues and (n, n) eigenvectors, in columns: the same bits for any `threads`.

    References
    ----------
    Anderson et al. (1999) LAPACK Users' Guide, section 2.4.4.
    """
    n = len(A)
    if A.shape != (n, n) or n < 1:
        raise ValueError(f"a square matrix is needed, not the shape {A.shape}")
    with sharing(threads) as share:
        H = np.array(A, dtype=np.float64, order="C")  # symmetric: C order is Fortran order
        s, off, tau = np.empty(n), np.empty(max(n - 1, 1)), np.empty(max(n - 1, 1))
        _call("dsytrd", b"L", n, H, n, s, off, tau, work=(None,))
        U = np.empty((n, n))  # Fortran order: eigenvector k is row k
        _call("dstevd", b"V", n, s, off, U, n, work=(None, "int"))

        def transform(start: int) -> None:
            columns = U[start : start + WIDTH]
            m = len(columns)
            _call("dormtr", b"L", b"L", b"N", n, m, H, n, tau, columns, n, work=(None,))

        list(share(transform, range(0, n, WIDTH)))
    return s, U.T


def _call(name: str, *arguments: bytes | int | Floats, work: tuple[str | None, ...]) -> None:
    """Ask LAPACK routine `name` how much workspace it wants, then call it."""
    given = [_pass(argument) for argument in arguments]
    info = ctypes.c_int(0)
    function = routine("cython_lapack", name, len(given) + 2 * len(work) + 1)
    kinds = [np.intc if kind == "int" else np.float64 for kind in work]
    sizes = [np.zeros(1, kind) for kind in kinds]
    asked = [part for size in sizes for part in (size.ctypes.data, pointer(-1))]
    function(*given, *asked, ctypes.byref(info))
    spaces = [np.empty(max(int(size[0]), 1), kind) for size, kind in zip(sizes, kinds, strict=True)]
    granted = [part for space in spaces for part in (space.ctypes.data, pointer(space.size))]
    if info.value == 0:
        function(*given, *granted, ctypes.byref(info))
    if info.value != 0:
        raise np.linalg.LinAlgError(f"{name} failed with info = {info.value}")


def _pass(argument: bytes | int | Floats) -> object:
    if isinstance(argument, bytes):
        return flag(argument)
    return argument.ctypes.data if isinstance(argument, np.ndarray) else pointer(argument)
