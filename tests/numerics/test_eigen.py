"""The eigendecomposition that several threads share: against SciPy, and to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from bayeslmm.numerics.eigen import WIDTH, _call, eigh

SIZES = [1, 2, 3, 31, 65, WIDTH - 1, WIDTH, WIDTH + 1, 3 * WIDTH + 5]


def symmetric(n: int, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(n)
    if rank is None:
        A = rng.standard_normal((n, n))
        return A + A.T
    A = rng.standard_normal((n, rank))
    return A @ A.T


@pytest.mark.parametrize("n", SIZES)
def test_it_is_scipys(n: int) -> None:
    """n eps |A|, the backward error of a stable algorithm, is the unit of the tolerances."""
    A = symmetric(n)
    kept = A.copy()
    s, V = eigh(A)
    assert (kept == A).all()
    unit = n * np.finfo(float).eps * np.abs(s).max()
    np.testing.assert_allclose(s, scipy.linalg.eigvalsh(A), rtol=0, atol=10 * unit)
    np.testing.assert_allclose((V * s) @ V.T, A, rtol=0, atol=10 * unit)
    np.testing.assert_allclose(V.T @ V, np.eye(n), rtol=0, atol=10 * n * np.finfo(float).eps)


def test_many_equal_eigenvalues() -> None:
    s, V = eigh(symmetric(200, rank=40))
    assert np.abs(s[:160]).max() < 1e-12 * s[-1]
    np.testing.assert_allclose(V.T @ V, np.eye(200), rtol=0, atol=1e-12)
    s, V = eigh(np.eye(70))
    assert (s == 1.0).all()
    assert (np.abs(V).sum(axis=0) == 1.0).all()


@pytest.mark.parametrize("n", [100, WIDTH + 1, 5 * WIDTH])
def test_the_same_bits_by_any_number_of_threads(n: int) -> None:
    A = symmetric(n)
    s, V = eigh(A, 1)
    for threads in (2, 3, 5, 8, 8, 8):
        again = eigh(A, threads)
        assert (again[0] == s).all()
        assert (again[1] == V).all()


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"square matrix .* \(2, 3\)"):
        eigh(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="square"):
        eigh(np.zeros((0, 0)))


def test_a_failure_of_lapack_is_an_error() -> None:
    A, d = np.eye(3), np.zeros(3)
    with pytest.raises(np.linalg.LinAlgError, match="dsytrd failed with info = -2"):
        _call("dsytrd", b"L", -1, A, 3, d, d, d, work=(None,))
