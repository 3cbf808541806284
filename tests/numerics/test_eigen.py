"""The eigendecomposition in place, against SciPy; equal eigenvalues; other numbers of threads."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import threadpool_limits

import bayeslmm.numerics.eigen
from bayeslmm.numerics.eigen import eigh, settle

SIZES = [1, 2, 3, 25, 26, 65, 257, 700]  # to 25 rows LAPACK does not divide
EPS = np.finfo(float).eps


def symmetric(n: int, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(n)
    if rank is None:
        A = rng.standard_normal((n, n))
        return A + A.T
    A = rng.standard_normal((n, rank))
    return A @ A.T


def families(count: int, columns: int = 2) -> np.ndarray:
    """Error contrasts of families of five in a random order: five eigenvalues, often equal."""
    rng = np.random.default_rng(count)
    family = 0.5 * np.ones((5, 5)) + 0.5 * np.eye(5)
    family[0, 1] = family[1, 0] = 0.0
    n = 5 * count
    order = rng.permutation(n)
    K = np.kron(np.eye(count), family)[np.ix_(order, order)]
    X = np.c_[np.ones(n), rng.standard_normal((n, columns - 1))]
    Q = scipy.linalg.qr(X)[0][:, columns:]
    return Q.T @ K @ Q


def check(A: np.ndarray, s: np.ndarray, V: np.ndarray) -> None:
    """n eps |A|, the backward error of a stable algorithm, is the unit of the tolerances."""
    n = len(A)
    unit = n * EPS * max(np.abs(s).max(), np.finfo(float).tiny)
    np.testing.assert_allclose(s, scipy.linalg.eigvalsh(A), rtol=0, atol=10 * unit)
    np.testing.assert_allclose((V * s) @ V.T, A, rtol=0, atol=10 * unit)
    np.testing.assert_allclose(V.T @ V, np.eye(n), rtol=0, atol=10 * n * EPS)


@pytest.mark.parametrize("n", SIZES)
def test_it_is_scipys(n: int) -> None:
    A = symmetric(n)
    kept = A.copy()
    s, V = eigh(A)
    assert (kept == A).all()
    assert not np.shares_memory(A, V)
    check(A, s, V)


@pytest.mark.parametrize("n", SIZES)
def test_in_place_of_the_matrix_or_of_a_block_of_another(n: int) -> None:
    """Whatever lies around the block stays as it is."""
    A = symmetric(n)
    s, V = eigh(A)
    for order in ("C", "F"):
        inside = np.array(A, order=order)
        again = eigh(inside, overwrite=True)
        check(A, *again)
        assert np.shares_memory(again[1], inside)
        around = np.full((n + 5, n + 5), np.nan, order=order)
        block = around[3 : n + 3, 2 : n + 2]
        block[...] = A
        of_block = eigh(block, overwrite=True)
        assert np.shares_memory(of_block[1], around)
        assert (block == (of_block[1] if order == "F" else of_block[1].T)).all()
        assert np.isnan(around).sum() == (n + 5) ** 2 - n**2
        for values, vectors in (again, of_block):
            np.testing.assert_array_equal(values, s)
            np.testing.assert_array_equal(vectors, V)


def test_beyond_32_bit_integers_numpy_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    A = symmetric(60)
    for overwrite in (False, True):
        monkeypatch.setattr(bayeslmm.numerics.eigen, "LARGEST", 59)
        inside = A.copy()
        s, V = eigh(inside, overwrite=overwrite)
        check(A, s, V)
        assert np.shares_memory(V, inside) is overwrite
    n = 32_766
    assert 1 + 6 * n + 2 * n**2 <= np.iinfo(np.intc).max < 1 + 6 * (n + 1) + 2 * (n + 1) ** 2


def test_many_equal_eigenvalues() -> None:
    s, V = eigh(symmetric(200, rank=40))
    assert np.abs(s[:160]).max() < 1e-12 * s[-1]
    np.testing.assert_allclose(V.T @ V, np.eye(200), rtol=0, atol=1e-12)
    s, V = eigh(np.eye(70))
    assert (s == 1.0).all()
    assert (np.abs(V).sum(axis=0) == 1.0).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_by_the_same_number_of_threads(threads: int) -> None:
    A = symmetric(220)  # from 200 rows on, OpenBLAS uses threads
    with threadpool_limits(threads):
        s, V = eigh(A)
        again = eigh(A)
    assert (again[0] == s).all()
    assert (again[1] == V).all()


def test_another_number_of_threads_changes_eigenvalues_by_rounding() -> None:
    A = symmetric(220)  # from 200 rows on, OpenBLAS uses threads
    with threadpool_limits(1):
        s, V = eigh(A)
    with threadpool_limits(2):
        again = eigh(A)
    np.testing.assert_allclose(again[0], s, rtol=0, atol=220 * EPS * np.abs(s).max())
    np.testing.assert_allclose(again[1], V, rtol=0, atol=1e-9)  # ε over the smallest gap


# --- equal eigenvalues ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "A",
    [families(60), families(60, 1), symmetric(300, rank=40), np.eye(50), np.diag([2.0, 1.0, 2.0])],
    ids=["families", "without covariates", "low rank", "identity", "diagonal"],
)
def test_settled_eigenvectors_do_not_depend_on_rounding(A: np.ndarray) -> None:
    """A change of 1e-16 gives other eigenvectors, but the same ones when settled."""
    rng = np.random.default_rng(1)
    s, V = eigh(A)
    V = V * rng.choice([-1.0, 1.0], len(A))
    settle(s, V)
    check(A, s, V)
    for _ in range(5):
        E = rng.standard_normal(A.shape) * 1e-16 * np.abs(A).max()
        other = eigh(A + E + E.T)
        settle(*other)
        np.testing.assert_allclose(other[1], V, rtol=0, atol=1e-10)


def test_a_settled_basis_is_that_of_gram_and_schmidt() -> None:
    """Of the projections of normal numbers onto the space, with SciPy's QR."""
    s, V = eigh(families(20))
    inside = np.flatnonzero(np.abs(s - s[len(s) // 3]) < 1e-10)
    space = V[:, inside]
    settle(s, V)
    probes = np.random.default_rng(0).standard_normal((len(V), len(inside)))
    Q, R = scipy.linalg.qr(space @ (space.T @ probes), mode="economic")
    np.testing.assert_allclose(V[:, inside], Q * np.sign(np.diag(R)), rtol=0, atol=1e-11)
    assert len(inside) > 10


def test_distinct_eigenvalues_keep_their_eigenvectors() -> None:
    s, V = eigh(symmetric(100))
    kept = V.copy()
    settle(s, V)
    assert (kept == V).all()


def test_partners_take_part_and_columns_before_the_first_do_not() -> None:
    """W = V D Fᵀ stays what it is; the nulls are left alone."""
    rng = np.random.default_rng(5)
    U, F = (scipy.linalg.qr(rng.standard_normal((30, 30)))[0][:, :12] for _ in range(2))
    D = np.array([0.0] * 5 + [1.0] * 4 + [2.0, 3.0, 3.0])
    W, before = (U * D) @ F.T, U.copy()
    settle(D, U, F, first=5)
    np.testing.assert_allclose((U * D) @ F.T, W, rtol=0, atol=1e-13)
    assert (U[:, :5] == before[:, :5]).all()
    assert not np.isclose(U[:, 5:9], before[:, 5:9]).any(axis=0).all()


# --- what it refuses -----------------------------------------------------------------------------


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match=r"square matrix .* \(2, 3\)"):
        eigh(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="square"):
        eigh(np.zeros((0, 0)))


@pytest.mark.parametrize(
    "A", [np.eye(6)[::2, ::2], np.eye(3, dtype=np.float32), np.broadcast_to(1.0, (3, 3))]
)
def test_what_cannot_be_overwritten(A: np.ndarray) -> None:
    with pytest.raises(ValueError, match="writeable float64 array in C or Fortran order"):
        eigh(A, overwrite=True)
    check(A.astype(float), *eigh(A))


def test_numbers_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError, match=r"30 rows.*are all its values finite"):
        eigh(np.full((30, 30), np.nan))
