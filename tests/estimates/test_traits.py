"""REML and Haseman-Elston of several traits: one trait, dense oracles, simulation, GEMMA."""

from __future__ import annotations

import numpy as np
import pytest
from multitrait_oracles import covariance
from numpy.typing import NDArray
from scipy import stats

from bayeslmm.errors import InputError
from bayeslmm.estimates.haseman_elston import haseman_elston_one_kernel
from bayeslmm.estimates.reml import reml_one_kernel
from bayeslmm.estimates.reml_traits import restricted_logp
from bayeslmm.estimates.traits import (
    TraitCovariances,
    _expected,
    haseman_elston_traits,
    reml_traits,
)
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.spectrum import Spectrum

type Floats = NDArray[np.float64]


def sibships(n: int) -> tuple[Spectrum, Floats]:
    """Full sibs by five with one covariate: their spectrum and K."""
    K = np.kron(np.eye(n // 5), 0.5 + 0.5 * np.eye(5))
    X = np.column_stack([np.ones(n), np.random.default_rng(5).standard_normal(n)])
    return decompose(K, X), K


def drawn(S: Spectrum, G: Floats, R: Floats, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    marginal = KernelMarginal(S, len(G), tuple(map(str, range(len(G)))), matrices=True)
    return marginal.rotate(marginal.simulate(np.zeros(marginal.p), [G, R], rng)[0])


def test_of_one_trait_they_are_those_of_one_trait() -> None:
    """REML to 1e-5: the two searches stop at a slope, not at a digit."""
    S, _ = sibships(300)
    rotated = drawn(S, np.array([[0.6]]), np.array([[0.5]]), seed=1)
    s, e = S.eigenvalues, rotated[S.p :]
    reml, he = reml_traits(S, rotated), haseman_elston_traits(s, e)
    one = reml_one_kernel(s, e[:, 0])
    assert reml.genetic[0, 0] == pytest.approx(one.variances[0], rel=1e-5)
    assert reml.h2(0)[0] == pytest.approx(one.h2, rel=1e-5)
    assert reml.h2(0)[1] == pytest.approx(one.se, rel=1e-5)
    two = haseman_elston_one_kernel(s, e[:, 0])
    assert he.h2(0) == pytest.approx((two.h2, two.se), rel=1e-9)


def test_the_expected_information_is_the_mean_curvature() -> None:
    """The information is the mean of minus the second derivatives over data sets from the estimate.

    At e_k e_kᵀ = V_k, the mean of the data, minus the second derivative is the information itself:
    T data sets whose contrasts are the columns of a root of V_k have just that mean. Central
    differences of gradients with steps of 1e-5: error about 1e-9.
    """
    S, _ = sibships(60)
    rng = np.random.default_rng(2)
    G, R = covariance(rng, 2), covariance(rng, 2)
    V = S.eigenvalues[:, None, None] * G + R
    roots = np.linalg.cholesky(V)
    rotated = [np.vstack([np.zeros((S.p, 2)), np.sqrt(2) * roots[:, :, t]]) for t in range(2)]
    pairs = [(0, 0), (1, 0), (1, 1)]

    def slopes(theta: Floats) -> Floats:
        A, B = (np.array([[x[0], x[1]], [x[1], x[2]]]) for x in (theta[:3], theta[3:]))
        total = np.zeros(6)
        for one in rotated:
            _, dG, dR = restricted_logp(one, A, B, S)
            for half, D in ((0, dG), (3, dR)):
                total[half : half + 3] += [D[t, u] * (1 if t == u else 2) for t, u in pairs]
        return total / 2

    at = np.array([*(G[p] for p in pairs), *(R[p] for p in pairs)])
    steps = 1e-5 * np.eye(6)
    curvature = np.array([(slopes(at + h) - slopes(at - h)) / 2e-5 for h in steps])
    np.testing.assert_allclose(_expected(S.eigenvalues, G, R), -curvature, rtol=1e-6)


def test_haseman_elston_is_the_regression_of_all_products_of_pairs() -> None:
    """Ordinary least squares of r_ti r_uj on the entries of MKM and M, over all pairs (i, j)."""
    n = 40
    S, K = sibships(n)
    rng = np.random.default_rng(3)
    rotated = drawn(S, covariance(rng, 2), covariance(rng, 2), seed=4)
    found = haseman_elston_traits(S.eigenvalues, rotated[S.p :])
    W, p = S.basis.columns, S.p
    M = np.eye(n) - W[:, :p] @ W[:, :p].T
    residuals = M @ W @ rotated
    design = np.column_stack([(M @ K @ M).ravel(), M.ravel()])
    for t, u in ((0, 0), (0, 1), (1, 1)):
        product = np.outer(residuals[:, t], residuals[:, u]).ravel()
        slope, rest = np.linalg.lstsq(design, product, rcond=None)[0]
        assert found.genetic[t, u] == pytest.approx(slope, rel=1e-9)
        assert found.residual[t, u] == pytest.approx(rest, rel=1e-9)


def test_standard_errors_are_the_spread_over_data_sets() -> None:
    """400 data sets of 500 individuals: the sd of 400 estimates has 3.5 % of error itself.

    Four of those; both methods are right about the mean within four standard errors too.
    """
    S, _ = sibships(500)
    G = np.array([[1.0, 0.4], [0.4, 0.8]])
    R = np.array([[0.7, -0.1], [-0.1, 0.9]])
    truth = np.array([1.0 / 1.7, 0.8 / 1.7, 0.4 / np.sqrt(0.8)])

    def told(found: TraitCovariances) -> list[tuple[float, float]]:
        return [found.h2(0), found.h2(1), found.r_g(0, 1)]

    both = np.array([
        [told(reml_traits(S, rotated)),
         told(haseman_elston_traits(S.eigenvalues, rotated[S.p:]))]
        for rotated in (drawn(S, G, R, seed) for seed in range(400))
    ])  # fmt: skip
    estimate, se = both[..., 0], both[..., 1]
    spread = estimate.std(axis=0, ddof=1)
    np.testing.assert_allclose(np.sqrt((se**2).mean(axis=0)), spread, rtol=4 * 0.036)
    z = (estimate.mean(axis=0) - truth) / (spread / 20)
    assert (np.abs(z[:, :2]) < 4).all()
    assert (np.abs(z[:, 2]) < 5).all()  # r_g: a ratio, with a bias of its own
    inside = np.abs(estimate[:, 0] - truth) < 1.96 * se[:, 0]
    assert all(stats.binomtest(int(k), 400, 0.95).pvalue > 1e-4 for k in inside.sum(axis=0))


def test_at_the_edge_it_says_so() -> None:
    """With a singular truth about half of the estimates are singular; the least eigenvalue tells.

    That it is either rounding or clearly positive makes the threshold one that nothing is near.
    """
    S, _ = sibships(200)
    G = np.outer([1.0, 0.8], [1.0, 0.8])
    flags = []
    for seed in range(20):
        found = reml_traits(S, drawn(S, G, np.eye(2), seed=seed))
        r = found.r_g(0, 1)[0]
        assert found.at_edge == (abs(r) > 1 - 1e-4)
        assert np.isfinite(found.sampling_covariance).all()
        flags.append(found.at_edge)
    assert 3 <= sum(flags) <= 17


def test_what_has_no_estimate_is_nan() -> None:
    negative = TraitCovariances(np.diag([-0.1, 1.0]), np.diag([0.05, 1.0]), np.eye(6))
    assert np.isnan(negative.h2(0)).all()
    assert np.isnan(negative.r_g(0, 1)).all()
    assert negative.h2(1)[0] == 0.5


def test_linearly_dependent_traits_are_refused() -> None:
    S, _ = sibships(50)
    rotated = drawn(S, np.array([[0.6]]), np.array([[0.5]]), seed=9)
    with pytest.raises(InputError, match="linear combinations"):
        reml_traits(S, np.column_stack([rotated, 2 * rotated]))
