"""The likelihood of several traits against dense formulas in extended precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_problems import Problem, problems
from multitrait_oracles import correlated, covariance, dense, parts, stacked, traits
from oracles import LONG, log_normal_density, relative
from scipy.stats import multivariate_normal

from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.one_kernel import spectral_logp
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.traits import multi_trait_logp, multi_trait_quadratic

NAMES = (
    "centred GRM, X = 1",
    "fewer variants than individuals",
    "uncentred GRM, 4 covariates",
    "uncentred GRM of 6 variants, 4 covariates",
    "blocks of ones",
    "pedigree",
)
EACH = pytest.mark.parametrize("name", NAMES)
TWO_THREE = pytest.mark.parametrize("T", [2, 3])
NEAR = 1 - 1e-8


def points(T: int, seed: int) -> list[tuple[Any, Any]]:
    """(G, R): at random, with r_g = ±(1 - 1e-8) and ±1, G = 0 and small, equal shares."""
    rng = np.random.default_rng(seed)

    def cov() -> Any:
        return covariance(rng, T)

    same = cov()
    first = np.zeros((T, T))
    first[0, 0] = 1.3
    edges = [correlated(T, r) for r in (NEAR, -NEAR, 1.0, -1.0)]
    genetic = [*(cov() for _ in range(4)), *edges, np.zeros((T, T)), 1e-8 * cov(), first]
    found = [(G, cov()) for G in genetic]
    return [*found, (same, 0.4 * same), (np.eye(T), np.eye(T)), (cov(), correlated(T, 0.99))]


def evaluate(S: Spectrum, Y: Any, B: Any, where: list[tuple[Any, Any]]) -> list[Any]:
    """Log density and gradients in B, G and R at every point."""
    found = [multi_trait_logp(S.rotate(Y), B, G, R, *parts(S)) for G, R in where]
    return [np.array([f[k] for f in found]) for k in range(4)]


@EACH
@TWO_THREE
def test_density_and_gradient_are_the_dense_ones(name: str, T: int) -> None:
    """1e-8 and 1e-6 asked for; 1e-9 kept, G on the edge of the covariances or not."""
    problem = problems()[name]
    where = points(T, seed=1)
    Y, B = traits(problem, T, seed=2)
    found = evaluate(decompose(problem.kernel, problem.X), Y, B, where)
    expected = dense(Y, problem.X, problem.K, B, where)
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < 1e-9


@TWO_THREE
@pytest.mark.parametrize("name", ["pedigree", "uncentred GRM, 4 covariates"])
def test_a_residual_covariance_near_singular_with_a_regular_kernel(name: str, T: int) -> None:
    """r_e = ±(1 - 1e-8), residual variances of 1e-8, of one trait or of all: an ordinary point."""
    problem = problems()[name]
    rng = np.random.default_rng(3)
    small = np.eye(T)
    small[0, 0] = 1e-8
    hard = [correlated(T, NEAR), correlated(T, -NEAR), small, 1e-8 * covariance(rng, T)]
    where = [(covariance(rng, T), R) for R in hard]
    Y, B = traits(problem, T, seed=4)
    found = evaluate(decompose(problem.kernel, problem.X), Y, B, where)
    expected = dense(Y, problem.X, problem.K, B, where)
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < 1e-9


@TWO_THREE
@pytest.mark.parametrize("e", [1e-4, 1e-8])
def test_a_residual_covariance_near_singular_with_a_singular_kernel(T: int, e: float) -> None:
    """The hard edge: log p ~ -1/(1 - r_e), and 1 - r_e carries the rounding 1e-16 of R's entries.

    A relative 1e-16/(1 - r_e) is all that is left; 100 times that is asked for, which is 1e-6 at
    1 - r_e = 1e-8, where |log p| is 1e8. Small variances (R = 1e-8 I) lose nothing in this way.
    """
    problem = problems()["fewer variants than individuals"]
    rng = np.random.default_rng(5)
    where = [(covariance(rng, T), correlated(T, 1 - e)), (covariance(rng, T), e * np.eye(T))]
    Y, B = traits(problem, T, seed=6)
    found = evaluate(decompose(problem.kernel, problem.X), Y, B, where)
    expected = dense(Y, problem.X, problem.K, B, where)
    assert relative(found[0][:1], expected[0][:1]) < 1e-14 / e
    assert relative(found[1][:1], expected[1][:1]) < 1e-14 / e
    assert relative(found[0][1:], expected[0][1:]) < 1e-8


def test_a_singular_residual_covariance_is_the_edge_of_one_trait() -> None:
    """R of rank one: the density of a regular kernel, none of a singular one."""
    for name, finite in (("pedigree", True), ("centred GRM, X = 1", False)):
        problem = problems()[name]
        S = decompose(problem.kernel, problem.X)
        Y, B = traits(problem, 2, seed=7)
        G, R = covariance(np.random.default_rng(8), 2), np.ones((2, 2))
        value, *slopes = multi_trait_logp(S.rotate(Y), B, G, R, *parts(S))
        if finite:
            V = np.kron(G, problem.kernel) + np.kron(R, np.eye(S.n))
            expected = multivariate_normal(stacked(problem.X @ B), V).logpdf(stacked(Y))
            assert value == pytest.approx(expected, rel=1e-10)
        else:
            assert value == -np.inf
            assert not any(slope.any() for slope in slopes)


@pytest.mark.parametrize(
    ("G", "R"),
    [
        ([[1.0, 1.1], [1.1, 1.0]], np.eye(2)),
        (np.diag([-1e-9, 1.0]), np.eye(2)),
        (np.eye(2), [[1.0, -1.0001], [-1.0001, 1.0]]),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.ones((2, 2)), 2 * np.ones((2, 2))),
        ([[np.nan, 0.0], [0.0, 1.0]], np.eye(2)),
        ([[np.inf, 0.0], [0.0, 1.0]], np.eye(2)),
        (np.eye(2), [[1.0, np.nan], [np.nan, 1.0]]),
        (np.diag([5e-324, 1.0]), np.diag([0.0, 1.0])),
        (np.diag([1e308, 1.0]), np.diag([1e308, 1.0])),
    ],
)
def test_outside_the_support_the_density_is_zero_and_never_a_number(G: Any, R: Any) -> None:
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, 2, seed=9)
    G, R = np.array(G, dtype=float), np.array(R, dtype=float)
    value, *slopes = multi_trait_logp(S.rotate(Y), B, G, R, *parts(S))
    assert value == -np.inf
    assert not any(slope.any() for slope in slopes)
    level, A, w = multi_trait_quadratic(S.rotate(Y), G, R, *parts(S))
    assert level == -np.inf
    assert not A.any()
    assert not w.any()


@EACH
def test_one_trait_is_the_one_trait_likelihood(name: str) -> None:
    """The shares are σ² over their sum: 1e-12 from h² = 1e-12 to 1 - 1e-8, and at 0."""
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, 1, seed=10)
    for a, b in ((0.0, 2.0), (1e-12, 3.0), (0.7, 0.4), (5.0, 5e-8), (1e9, 1e9), (1e-9, 1e-9)):
        one = spectral_logp(S.rotate(Y[:, 0]), B[:, 0], np.array([a, b]), *parts(S))
        many = multi_trait_logp(S.rotate(Y), B, np.array([[a]]), np.array([[b]]), *parts(S))
        assert relative(many[0], one[0]) < 1e-12
        assert relative(many[1][:, 0], one[1]) < 1e-10
        slope = np.array([many[2][0, 0], many[3][0, 0]])
        assert relative(slope * [a, b], one[2] * [a, b]) < 1e-10


@pytest.fixture(scope="module")
def problem() -> Problem:
    return problems()["uncentred GRM, 4 covariates"]


@pytest.fixture(scope="module")
def S(problem: Problem) -> Spectrum:
    return decompose(problem.kernel, problem.X)


@TWO_THREE
def test_another_basis_of_the_traits(problem: Problem, S: Spectrum, T: int) -> None:
    """YA with BA, AᵀGA, AᵀRA: log p falls by n log|det A|, and gradients go with A."""
    rng = np.random.default_rng(11)
    Y, B = traits(problem, T, seed=12)
    A = rng.standard_normal((T, T)) + 2 * np.eye(T)
    for G, R in points(T, seed=13):
        base = multi_trait_logp(S.rotate(Y), B, G, R, *parts(S))
        other = multi_trait_logp(S.rotate(Y @ A), B @ A, A.T @ G @ A, A.T @ R @ A, *parts(S))
        change = S.n * np.linalg.slogdet(A)[1]
        assert relative(other[0], base[0] - change) < 1e-9
        assert relative(other[1] @ A.T, base[1]) < 1e-7
        assert relative(A @ other[2] @ A.T, base[2]) < 1e-7
        assert relative(A @ other[3] @ A.T, base[3]) < 1e-7


def test_independent_traits_are_so_many_problems_of_one(problem: Problem, S: Spectrum) -> None:
    Y, B = traits(problem, 3, seed=14)
    a, b = np.array([0.0, 1.2, 3.0]), np.array([1.0, 0.3, 2.0])
    single = [
        log_normal_density(Y[:, t], problem.X, [problem.K], B[None, :, t], [[a[t], b[t]]])[0][0]
        for t in range(3)
    ]
    found = multi_trait_logp(S.rotate(Y), B, np.diag(a), np.diag(b), *parts(S))[0]
    assert relative(found, sum(single)) < 1e-10


def test_only_the_symmetric_part_counts(problem: Problem, S: Spectrum) -> None:
    """So that an upper or lower triangle, halved or not, has the gradient it should."""
    Y, B = traits(problem, 3, seed=15)
    rng = np.random.default_rng(16)
    G, R = covariance(rng, 3), covariance(rng, 3)
    skew = rng.standard_normal((2, 3, 3))
    skew -= skew.transpose(0, 2, 1)
    base = multi_trait_logp(S.rotate(Y), B, G, R, *parts(S))
    other = multi_trait_logp(S.rotate(Y), B, G + skew[0], R + skew[1], *parts(S))
    for one, two in zip(base, other, strict=True):
        assert relative(two, one) < 1e-12
    np.testing.assert_array_equal(base[2], base[2].T)
    np.testing.assert_array_equal(base[3], base[3].T)


@pytest.mark.parametrize("c", [1e-70, 1e-5, 1e5, 1e70])
def test_units_of_the_traits(problem: Problem, S: Spectrum, c: float) -> None:
    """The second trait in other units by c: log p changes by -n log c."""
    Y, B = traits(problem, 2, seed=17)
    scale = np.array([1.0, c])
    rng = np.random.default_rng(18)
    G, R = covariance(rng, 2), covariance(rng, 2)
    base = multi_trait_logp(S.rotate(Y), B, G, R, *parts(S))
    unit = np.outer(scale, scale)
    found = multi_trait_logp(S.rotate(Y * scale), B * scale, G * unit, R * unit, *parts(S))
    assert relative(found[0], base[0] - S.n * np.log(c)) < 1e-9
    assert relative(found[2] * unit, base[2]) < 1e-9


# The quadratic in β


@EACH
@TWO_THREE
def test_the_quadratic_in_beta_is_the_density_for_all_beta(name: str, T: int) -> None:
    """ℓ - ½‖w - Aβ‖² and its slope Aᵀ(w - Aβ): 1e-13 of their terms is kept."""
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, T, seed=21)
    rng = np.random.default_rng(22)
    for G, R in points(T, seed=23):
        level, A, w = multi_trait_quadratic(S.rotate(Y), G, R, *parts(S))
        for move in (0.0, rng.standard_normal(B.shape) * 1e-3):
            beta = stacked(B + move)
            value, slope, *_ = multi_trait_logp(S.rotate(Y), B + move, G, R, *parts(S))
            residual, size = w - A @ beta, np.abs(w) + np.abs(A) @ np.abs(beta)
            bound = 1e-13 * (abs(level) + size @ np.abs(residual)) + 1e-11
            assert abs(level - 0.5 * residual @ residual - value) < bound
            bound = 1e-12 * np.abs(A).T @ size + 1e-9
            assert (np.abs(A.T @ residual - stacked(slope)) < bound).all()


def test_the_precision_of_beta_is_the_dense_one(problem: Problem, S: Spectrum) -> None:
    rng = np.random.default_rng(24)
    G, R = covariance(rng, 2), covariance(rng, 2)
    Y, _ = traits(problem, 2, seed=25)
    _, A, w = multi_trait_quadratic(S.rotate(Y), G, R, *parts(S))
    V = np.kron(G, problem.kernel) + np.kron(R, np.eye(S.n))
    X = np.kron(np.eye(2), problem.X)
    np.testing.assert_allclose(A.T @ A, X.T @ np.linalg.solve(V, X), rtol=1e-9)
    np.testing.assert_allclose(A.T @ w, X.T @ np.linalg.solve(V, stacked(Y)), rtol=1e-9)


@pytest.mark.parametrize("gap", [1e-4, 1e-7, 1e-9])
def test_both_correlations_next_to_one(gap: float) -> None:
    """Traits drawn from such covariances: an error of n rounding / (1 - r²), as G + R holds it."""
    problem = problems()["centred GRM, X = 1"]
    S = decompose(problem.kernel, problem.X)
    n, rng = problem.y.size, np.random.default_rng(31)
    B = np.zeros((problem.X.shape[1], 2))
    for _ in range(5):
        scale = np.diag(10 ** rng.uniform(-2, 2, 2))
        G, R = (scale @ correlated(2, 1 - x * gap) @ scale for x in rng.uniform(0.2, 1.0, 2))
        one, other = rng.standard_normal((2, n))
        Y = np.stack([one, one + np.sqrt(gap) * other], axis=1) @ scale
        wanted = dense(Y, problem.X, problem.kernel.astype(LONG), B, [(G, R)])[0]
        found = multi_trait_logp(S.rotate(Y), B, G, R, *parts(S))[0]
        assert found == pytest.approx(float(wanted[0]), abs=5e-16 * n / gap)
