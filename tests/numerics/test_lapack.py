"""LAPACK in place, without the GIL: against SciPy, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.linalg

from bayeslmm.numerics.lapack import cholesky, inverse, solve_lower

SIZES = [1, 2, 7, 64, 130]  # beyond 64 LAPACK works in blocks


def positive(n: int, seed: int = 0) -> Any:
    A = np.random.default_rng(seed).standard_normal((n, n + 5))
    return A @ A.T


def factor(n: int) -> Any:
    L = positive(n)
    assert cholesky(L)
    return L


@pytest.mark.parametrize("n", SIZES)
def test_cholesky_is_scipys(n: int) -> None:
    A = positive(n)
    L = A.copy()
    L[np.triu_indices(n, 1)] = np.nan  # the upper triangle is neither read nor written
    assert cholesky(L)
    expected = scipy.linalg.cholesky(A, lower=True)
    np.testing.assert_allclose(np.tril(L), expected, rtol=1e-11, atol=1e-12)
    assert np.isnan(L[np.triu_indices(n, 1)]).all()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [None, 1, 3])
def test_solves_are_scipys(n: int, k: int | None) -> None:
    """A right-hand side a row; b itself of one dimension."""
    L = factor(n)
    lower = np.tril(L)
    B = np.random.default_rng(1).standard_normal((n,) if k is None else (k, n))
    for transpose in (False, True):
        found = B.copy()
        solve_lower(L, found, transpose=transpose)
        T = lower.T if transpose else lower
        expected = scipy.linalg.solve_triangular(T, B.T, lower=not transpose).T
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", SIZES)
def test_inverse_is_scipys(n: int) -> None:
    A = positive(n)
    L = factor(n)
    inverse(L)
    expected = scipy.linalg.inv(A)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(np.tril(L), np.tril(expected), rtol=1e-8, atol=1e-9 * scale)


@pytest.mark.parametrize("n", SIZES[1:])
def test_what_is_not_positive_definite(n: int) -> None:
    v = np.ones((n, 1))
    for A in (-np.eye(n), np.zeros((n, n)), v @ v.T - 0.5 * np.eye(n), np.full((n, n), np.nan)):
        assert not cholesky(np.ascontiguousarray(A))
    late = np.eye(n)
    late[-1, -1] = np.nan
    assert not cholesky(late)


def test_the_inverse_of_a_singular_factor_is_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="dpotri failed with info = 2"):
        inverse(np.diag([1.0, 0.0, 1.0]))


def frozen(A: Any) -> Any:
    A.flags.writeable = False
    return A


@pytest.mark.parametrize(
    "A",
    [
        np.eye(3, dtype=np.float32),
        np.eye(3, dtype=int),
        np.asfortranarray(positive(3)),
        np.eye(6)[::2, ::2],
        frozen(np.eye(3)),
    ],
    ids=["float32", "int", "Fortran order", "strided", "read-only"],
)
def test_wrong_arrays_are_refused(A: Any) -> None:
    """Before LAPACK sees them: it would read and write elsewhere."""
    for use in (cholesky, inverse, lambda A: solve_lower(A, np.ones(3))):
        with pytest.raises(ValueError, match="a writeable, C-ordered float64 array"):
            use(A)
    if not (A.flags.writeable and A.flags.c_contiguous and A.dtype == float):
        with pytest.raises(ValueError, match="a writeable, C-ordered float64 array"):
            solve_lower(np.eye(3), A)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3), (1, 3, 3)])
def test_wrong_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for use in (cholesky, inverse, lambda A: solve_lower(A, np.ones(3))):
        with pytest.raises(ValueError, match="a square matrix is needed"):
            use(np.ones(shape))


@pytest.mark.parametrize("shape", [(2,), (3, 2), (4,)])
def test_right_hand_sides_have_to_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"right-hand sides of shape .* for a matrix of 3 rows"):
        solve_lower(np.eye(3), np.ones(shape))


def test_threads_do_not_disturb_each_other() -> None:
    matrices = [positive(60, seed) for seed in range(16)]

    def work(A: Any) -> Any:
        L, b = A.copy(), np.ones(60)
        assert cholesky(L)
        solve_lower(L, b)
        solve_lower(L, b, transpose=True)
        return b

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, matrices))
    for A, b in zip(matrices, found, strict=True):
        np.testing.assert_allclose(A @ b, np.ones(60), rtol=1e-7, atol=1e-7)
