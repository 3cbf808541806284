"""Cholesky, its solves and its inverse in place, with the GIL released.

SciPy's own wrappers hold the GIL, so that evaluations of a density could not run side by side;
these call the same routines of the same library (`scipy.linalg.cython_lapack`) through ctypes.

A symmetric matrix is a C-ordered float64 array (n, n) of which only the lower triangle is read and
written; for LAPACK, in Fortran order, that is the upper one.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

from bayeslmm.numerics.arrays import Floats


@cache
def routine(library: str, name: str, arguments: int) -> Any:
    """A routine of SciPy's BLAS or LAPACK by its Fortran name; all arguments are pointers."""
    from numba.extending import get_cython_function_address

    address = get_cython_function_address(f"scipy.linalg.{library}", name)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address)


def flag(letter: bytes) -> Any:
    """A letter as an argument."""
    return ctypes.c_char_p(letter)


def pointer(number: int | float) -> Any:
    """The address of a number."""
    value = ctypes.c_int(number) if isinstance(number, int) else ctypes.c_double(number)
    return ctypes.byref(value)


def cholesky(A: Floats) -> bool:
    """Overwrite the lower triangle of A (n, n) by L, ``L Lᵀ = A``: n³/3 operations.

    Returns False, and leaves A unfinished, when A is not positive definite (or not finite).
    """
    _check_square(A)
    n, info = len(A), ctypes.c_int(0)
    routine("cython_lapack", "dpotrf", 5)(
        flag(b"U"), pointer(n), A.ctypes.data, pointer(n), ctypes.byref(info)
    )
    # OpenBLAS goes on where it meets NaN; it always comes to the diagonal of its row
    return info.value == 0 and bool(np.isfinite(np.diagonal(A)).all())


def solve_lower(L: Floats, B: Floats, *, transpose: bool = False) -> None:
    """Overwrite B (k, n), a right-hand side a row, by ``L⁻¹b`` or ``L⁻ᵀb`` of every row."""
    _check_square(L)
    _check(B)
    n = len(L)
    if B.shape[-1] != n:
        raise ValueError(f"right-hand sides of shape {B.shape} for a matrix of {n} rows")
    columns = B.size // n
    routine("cython_blas", "dtrsm", 11)(
        *(flag(b"L"), flag(b"U"), flag(b"N" if transpose else b"T"), flag(b"N")),
        *(pointer(n), pointer(columns), pointer(1.0)),
        *(L.ctypes.data, pointer(n), B.ctypes.data, pointer(n)),
    )


def inverse(L: Floats) -> None:
    """Overwrite the lower triangle of L (n, n) with the one of ``(L Lᵀ)⁻¹``: 2n³/3 operations."""
    _check_square(L)
    n, info = len(L), ctypes.c_int(0)
    routine("cython_lapack", "dpotri", 5)(
        flag(b"U"), pointer(n), L.ctypes.data, pointer(n), ctypes.byref(info)
    )
    if info.value != 0:
        raise np.linalg.LinAlgError(f"dpotri failed with info = {info.value}")


def _check_square(A: Floats) -> None:
    _check(A)
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise ValueError(f"a square matrix is needed, not the shape {A.shape}")


def _check(A: Floats) -> None:
    if A.dtype != np.float64 or not A.flags.c_contiguous or not A.flags.writeable:
        raise ValueError("a writeable, C-ordered float64 array is needed")
