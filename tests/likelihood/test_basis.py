"""The basis of a spectrum, complete or not, against the matrices written out."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bayeslmm.likelihood.basis import Basis

type Floats = NDArray[np.float64]

N, P = 12, 2
EACH = pytest.mark.parametrize("r", [0, 1, 4, 9, 10])


def basis(r: int, nodes: int | None = None) -> Basis:
    """Two columns of X and r of the kernel; one coordinate for the rest unless all are there."""
    W = np.linalg.qr(np.random.default_rng(r).standard_normal((N, P + r)))[0]
    null = N - P - r
    return Basis(np.ascontiguousarray(W), P, min(null, 1) if nodes is None else nodes)


def columns(k: int) -> Floats:
    return np.random.default_rng(k).standard_normal((N, k))


def rest(one: Basis, Y: Floats) -> Floats:
    """``(I - WWᵀ) Y``."""
    return Y - one.columns @ (one.columns.T @ Y)


@EACH
def test_a_column_by_itself_keeps_its_length(r: int) -> None:
    """``[q; rest; e]``: q and e are Wᵀy, rest the length of what is orthogonal to W."""
    one, Y = basis(r), columns(3)
    null = N - P - r
    assert (one.n, one.null) == (N, null)
    rotated = one.rotate(Y)
    assert rotated.shape == (P + (null > 0) + r, 3)
    linear = one.columns.T @ Y
    np.testing.assert_allclose(rotated[:P], linear[:P], rtol=1e-13)
    np.testing.assert_allclose(rotated[len(rotated) - r :], linear[P:], rtol=1e-13)
    if null:
        np.testing.assert_allclose(rotated[P], np.linalg.norm(rest(one, Y), axis=0), rtol=1e-12)
    np.testing.assert_allclose((rotated**2).sum(axis=0), (Y**2).sum(axis=0), rtol=1e-13)
    np.testing.assert_allclose(one.rotate(Y[:, 1]), rotated[:, 1], rtol=1e-13)


@EACH
@pytest.mark.parametrize("T", [2, 3])
def test_traits_rotated_together_keep_all_inner_products(r: int, T: int) -> None:
    one, Y = basis(r).together(T), columns(T)
    assert one.nodes == (T if one.null else 0)
    rotated = one.rotate(Y)
    assert rotated.shape == (P + one.nodes + r, T)
    np.testing.assert_allclose(rotated.T @ rotated, Y.T @ Y, rtol=1e-12, atol=1e-13)
    alone = one.rotate(Y[:, 0])  # one of them by itself: its length in the first coordinate
    np.testing.assert_allclose(alone @ alone, Y[:, 0] @ Y[:, 0], rtol=1e-13)
    assert not alone[P + 1 : P + one.nodes].any()
    assert one.together(1).nodes == (1 if one.null else 0)


def test_parts_that_depend_on_each_other_keep_their_inner_products() -> None:
    """Where the first trait lies in W, or two are the same, or fewer dimensions are left."""
    one = basis(9).together(2)  # a single dimension for two traits
    Y = columns(2)
    inside = one.columns @ one.columns.T @ Y[:, 0]
    for pair in (Y, np.column_stack([inside, Y[:, 1]]), Y[:, [0, 0]]):
        rotated = one.rotate(pair)
        np.testing.assert_allclose(rotated.T @ rotated, pair.T @ pair, rtol=1e-12, atol=1e-13)


@EACH
def test_what_is_orthogonal_to_the_columns(r: int) -> None:
    """As records and along a basis: the same lengths, nothing of W, linear in y."""
    one, Y = basis(r), columns(3)
    outside, along = one.outside(Y), one.complement(Y)
    np.testing.assert_allclose(outside, rest(one, Y), atol=1e-14)
    np.testing.assert_allclose(one.columns.T @ outside, 0.0, atol=1e-15)
    assert along.shape == (one.null, 3)
    np.testing.assert_allclose(along.T @ along, outside.T @ outside, atol=1e-13)
    np.testing.assert_allclose(one.complement(Y @ [1.0, 2, -1]), along @ [1.0, 2, -1], atol=1e-13)
    np.testing.assert_allclose(one.complement(one.columns), 0.0, atol=1e-14)
    np.testing.assert_allclose(one.outside(Y[:, 2]), outside[:, 2], atol=1e-14)


def test_a_small_rest_beside_a_large_record_is_orthogonal_to_the_columns() -> None:
    """Projected twice: 1e-10 of y outside W, of which one projection leaves 1e-6 in W."""
    one = basis(4)
    y = one.columns @ np.full(P + 4, 1e10)
    y += rest(one, columns(1)[:, 0])
    outside = one.outside(y)
    assert np.abs(one.columns.T @ outside).max() < 1e-14 * np.linalg.norm(outside)
    np.testing.assert_allclose(outside, rest(one, columns(1)[:, 0]), atol=1e-5)


@EACH
@pytest.mark.parametrize("nodes", [1, 3])
def test_there_and_back_within_the_columns(r: int, nodes: int) -> None:
    """Values in the space of W come back; of others what is in it; rows are coordinates."""
    one, Y = basis(r).together(nodes), columns(2)
    inside = Y - rest(one, Y)
    rotated = one.project(Y)
    assert not rotated[P : P + one.nodes].any()
    np.testing.assert_allclose(one.unrotate(rotated), inside, atol=1e-14)
    np.testing.assert_allclose(one.unrotate(one.rotate(Y)), inside, atol=1e-14)
    np.testing.assert_allclose(one.rows() @ rotated, inside, atol=1e-14)
    some = np.array([5, 0, 5])
    np.testing.assert_array_equal(one.rows(some), one.rows()[some])
    np.testing.assert_allclose(one.rows() @ one.rows().T, one.columns @ one.columns.T, atol=1e-14)
