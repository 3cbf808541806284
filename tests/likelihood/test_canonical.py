"""The basis that makes the genetic and the residual covariance of traits diagonal."""

from __future__ import annotations

import numpy as np
import pytest
from multitrait_oracles import correlated, covariance
from oracles import relative

from bayeslmm.likelihood.canonical import canonical_bases, canonical_basis


def test_the_canonical_basis_makes_both_diagonal() -> None:
    rng = np.random.default_rng(19)
    G, R = np.stack([covariance(rng, 4) for _ in range(6)]).reshape(2, 3, 4, 4)
    first, basis, inverse, shares = canonical_bases(G, R)
    assert first == -1
    assert relative(basis @ inverse, np.tile(np.eye(4), (3, 1, 1))) < 1e-12
    assert relative((basis * shares[:, None, :, 0]) @ basis.transpose(0, 2, 1), G) < 1e-12
    assert relative((basis * shares[:, None, :, 1]) @ basis.transpose(0, 2, 1), R) < 1e-12
    assert relative(shares.sum(axis=2), np.ones((3, 4))) < 1e-12
    log_det = canonical_basis(G[0], R[0])[4]
    assert log_det == pytest.approx(0.5 * np.linalg.slogdet(G[0] + R[0])[1], rel=1e-12)
    G[1, 0, 0] = -1.0
    assert canonical_bases(G, R)[0] == 1


def test_the_extreme_canonical_heritabilities_bound_that_of_any_index() -> None:
    """Hayes & Hill (1980): h² of Yw is wᵀGw / wᵀ(G + R)w."""
    rng = np.random.default_rng(20)
    G, R = covariance(rng, 3), covariance(rng, 3)
    _, _, inverse, shares, _ = canonical_basis(G, R)
    w = rng.standard_normal((1000, 3))
    h2 = np.einsum("it,tu,iu->i", w, G, w) / np.einsum("it,tu,iu->i", w, G + R, w)
    h = shares[:, 0]
    assert h2.min() >= h.min() - 1e-12
    assert h2.max() <= h.max() + 1e-12
    index = inverse[h.argmax()]  # the weights that reach it
    assert index @ G @ index / (index @ (G + R) @ index) == pytest.approx(h.max(), rel=1e-12)


def test_the_edges_are_exact() -> None:
    """Shares of 0 and 1 are no rounded numbers, whichever of G and R is singular."""
    rng = np.random.default_rng(21)
    A = covariance(rng, 2)
    for sign in (1.0, -1.0):
        singular = correlated(2, sign)
        for k, (G, R) in enumerate(((singular, A), (A, singular))):
            possible, *_, shares, _ = canonical_basis(G, R)
            assert possible
            assert shares[:, k].min() == 0.0
            assert shares[shares[:, k].argmin(), 1 - k] == pytest.approx(1.0, rel=1e-14)
    shares = canonical_basis(np.zeros((2, 2)), A)[3]
    np.testing.assert_array_equal(shares[:, 0], 0.0)


def test_small_shares_keep_their_digits() -> None:
    """G = 1e-12 A: h_t are those of A times 1e-12, to 1e-10 of themselves."""
    rng = np.random.default_rng(22)
    A, R = covariance(rng, 3), covariance(rng, 3)
    expected = np.sort(np.linalg.eigvals(np.linalg.solve(R, A)).real) * 1e-12
    for G, E, k in ((1e-12 * A, R, 0), (R, 1e-12 * A, 1)):
        found = np.sort(canonical_basis(G, E)[3][:, k])
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_trait_that_the_others_give_has_no_basis() -> None:
    """Both correlations at 1, or so near that G + R has fewer than six digits; on any scale."""
    ones = np.ones((2, 2))
    assert not canonical_basis(ones, ones)[0]
    scale = np.diag([1e-6, 1e9])
    for gap, possible in ((1e-9, True), (1e-11, False), (1e-13, False)):
        A = scale @ correlated(2, 1 - gap) @ scale
        assert canonical_basis(A, 0.3 * A)[0] == possible
        assert canonical_basis(A, 0.3 * scale @ scale)[0]
