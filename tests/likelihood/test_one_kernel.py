"""The spectral likelihood against dense formulas in extended precision, and its invariances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kernel_problems import Problem, dense_problem, problems
from oracles import LONG, log_normal_density, log_reml, relative
from scipy.stats import multivariate_normal

from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.one_kernel import (
    cholesky_in_place,
    solve_lower,
    solve_lower_transposed,
    spectral_logp,
)
from bayeslmm.likelihood.spectrum import Spectrum

PROBLEMS = list(problems().values())
EACH = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)


def logp(S: Spectrum, rotated: Any, beta: Any, variance: Any) -> tuple[float, Any, Any]:
    parts = S.arrays
    return spectral_logp(rotated, np.asarray(beta), np.asarray(variance, dtype=float), *parts)


def natural(gradient: Any, variances: Any) -> Any:
    """Gradient in (σ²_u, σ²_e) as one in (logit h², log σ²)."""
    h2 = variances[:, :1] / variances.sum(axis=1, keepdims=True)
    u, e = gradient[:, :1] * variances[:, :1], gradient[:, 1:] * variances[:, 1:]
    return np.hstack([(1 - h2) * u - h2 * e, u + e])


def evaluate(
    y: Any, K: Any, X: Any, betas: Any, variances: Any, S: Spectrum | None = None
) -> tuple[Any, Any, Any]:
    """Log density, gradient in β and gradient in the variances at every point."""
    S = decompose(K, X) if S is None else S
    rotated = S.rotate(y)
    found = [logp(S, rotated, b, v) for b, v in zip(betas, variances, strict=True)]
    return tuple(np.array([f[k] for f in found]) for k in range(3))


@EACH
def test_density_and_gradient_are_the_dense_ones(problem: Problem) -> None:
    """200 points, 40 at h² = 1e-8 and 40 at h² = 1 - 1e-8.

    Density 1e-8. The gradient, 1e-6, is taken in (β, logit h², log σ²), as samplers do: towards
    h² = 1 the one in σ²_u alone is a small number beside terms of 1e16, of which even the
    extended precision of the oracle keeps three digits only.
    """
    betas, variances = dense_problem(problem, seed=1)
    found = evaluate(problem.y, problem.kernel, problem.X, betas, variances)
    expected = log_normal_density(problem.y, problem.X, [problem.K], betas, variances)
    assert relative(found[0], expected[0]) < 1e-8
    assert relative(found[1], expected[1]) < 1e-6
    assert relative(natural(found[2], variances), natural(expected[2], variances)) < 1e-6
    inner = slice(80, None)  # h² uniform on (0, 1): the plain gradient in the variances too
    assert relative(found[2][inner], expected[2][inner]) < 1e-6
    assert relative(found[2][:40], expected[2][:40]) < 1e-6  # and at h² = 1e-8


@pytest.mark.parametrize("name", ["pedigree", "uncentred GRM, 4 covariates", "blocks of ones"])
def test_gradient_in_the_variances_at_the_edge_where_the_oracle_knows_it(name: str) -> None:
    """Kernels whose null space is exact in binary or empty: 1e-6 at h² = 1 - 1e-8 as well."""
    problem = problems()[name]
    betas, variances = dense_problem(problem, seed=2)
    found = evaluate(problem.y, problem.kernel, problem.X, betas, variances)
    expected = log_normal_density(problem.y, problem.X, [problem.K], betas, variances)
    assert relative(found[2], expected[2]) < 1e-6


@EACH
def test_the_oracle_is_scipys_density(problem: Problem) -> None:
    """At h² = 0.3, where V is well conditioned, float64 SciPy and the oracle agree to 1e-11."""
    betas, variances = dense_problem(problem, seed=3, count=5)
    variances[:] = variances.sum(axis=1, keepdims=True) * [0.3, 0.7]
    expected = [
        multivariate_normal(problem.X @ b, v[0] * problem.kernel + v[1] * np.eye(len(problem.y)))
        for b, v in zip(betas, variances, strict=True)
    ]
    found = log_normal_density(problem.y, problem.X, [problem.K], betas, variances)[0]
    assert relative(found, [e.logpdf(problem.y) for e in expected]) < 1e-11


@EACH
def test_the_oracles_gradient_is_that_of_its_density(problem: Problem) -> None:
    """Central differences in extended precision: error about 1e-19/1e-6 and 1e-12."""
    betas, variances = dense_problem(problem, seed=4, count=3)
    variances[:] = variances.sum(axis=1, keepdims=True) * [0.6, 0.4]

    def density(theta: Any) -> Any:
        p = betas.shape[1]
        parts = (problem.y, problem.X, [problem.K], theta[:, :p], theta[:, p:])
        return log_normal_density(*parts)[0]

    point = np.hstack([betas, variances]).astype(LONG)
    gradient = np.hstack(
        log_normal_density(problem.y, problem.X, [problem.K], betas, variances)[1:]
    )
    for k in range(point.shape[1]):
        step = np.zeros_like(point)
        step[:, k] = 1e-6
        slope = (density(point + step) - density(point - step)) / LONG(2e-6)
        assert relative(gradient[:, k], slope) < 1e-8


@EACH
@pytest.mark.parametrize("h2", [1e-8, 0.4, 1 - 1e-8])
def test_the_first_factor_is_the_reml_likelihood(problem: Problem, h2: float) -> None:
    """log N(e; 0, D) is the density of any orthonormal contrasts; 1e-8."""
    S = decompose(problem.kernel, problem.X)
    found = contrasts_logp(S, problem.y, 2.0 * h2, 2.0 * (1 - h2))
    expected = log_reml(problem.y, problem.X, problem.K, 2.0 * h2, 2.0 * (1 - h2))
    assert relative(found, expected) < 1e-8


def contrasts_logp(S: Spectrum, y: Any, a: float, b: float) -> float:
    e, d = S.rotate(y)[S.p :], a * S.eigenvalues + b
    return float(-0.5 * (S.m * np.log(2 * np.pi) + np.log(d).sum() + (e**2 / d).sum()))


@EACH
def test_the_oracle_of_contrasts_integrates_the_fixed_effects_out(problem: Problem) -> None:
    """log N(Qᵀy; 0, QᵀVQ) = log ∫ N(y; Xβ, V) dβ + ½ log|XᵀX|, at h² = 0.3 in float64."""
    y, X, V = problem.y, problem.X, 0.3 * problem.kernel + 0.7 * np.eye(problem.y.size)
    X = np.column_stack([X[:, :1], X[:, 1:] - X[:, 1:].mean(axis=0)])  # the year well scaled
    assert textbook_reml(y, X, problem.kernel, 0.3, 0.7) == pytest.approx(
        log_reml(y, problem.X, problem.K, 0.3, 0.7), rel=1e-11
    )
    Vi = np.linalg.inv(V)
    P = Vi - Vi @ X @ np.linalg.solve(X.T @ Vi @ X, X.T @ Vi)
    log_dets = [np.linalg.slogdet(A)[1] for A in (V, X.T @ Vi @ X)]
    log_dets += [-np.linalg.slogdet(X.T @ X)[1]]
    expected = -0.5 * ((len(y) - X.shape[1]) * np.log(2 * np.pi) + sum(log_dets) + y @ P @ y)
    assert log_reml(y, X, problem.K, 0.3, 0.7) == pytest.approx(expected, rel=1e-11)


def textbook_reml(y: Any, X: Any, K: Any, a: float, b: float) -> float:
    """The same by rotating y and X with the eigenvectors of K, as most programs do."""
    s, U = np.linalg.eigh(K)
    d, yt, Xt = a * s + b, U.T @ y, U.T @ X
    XDX, XDy = (Xt.T / d) @ Xt, (Xt.T / d) @ yt
    rss = (yt**2 / d).sum() - XDy @ np.linalg.solve(XDX, XDy)
    log_dets = np.log(d).sum() + np.linalg.slogdet(XDX)[1] - np.linalg.slogdet(X.T @ X)[1]
    return float(-0.5 * ((len(y) - X.shape[1]) * np.log(2 * np.pi) + log_dets + rss))


def test_the_textbook_form_loses_its_digits_where_this_one_does_not() -> None:
    """Why the contrasts: the intercept is a null vector of the kernel, and |XᵀD⁻¹X| ~ n/d_null.

    d_null = a s_null + b with s_null = ±1e-15 of rounding; as b → 0 the logarithm of d_null, and
    the squared mean over d_null, are noise. At b = 1e-12 the textbook form is off by more than
    1e-4, at b = 0 by whole log units or undefined; here 1e-10 is kept up to b = 0.
    """
    problem = problems()["centred GRM, X = 1"]
    y, X, K = problem.y + 100.0, problem.X, problem.kernel
    S = decompose(K, X)
    for b in (1e-2, 1e-8, 1e-12, 0.0):
        expected = log_reml(y, X, problem.K, 1.0, b)
        assert relative(contrasts_logp(S, y, 1.0, b), expected) < 1e-10
    assert abs(textbook_reml(y, X, K, 1.0, 1e-2) - log_reml(y, X, problem.K, 1.0, 1e-2)) < 1e-8
    assert abs(textbook_reml(y, X, K, 1.0, 1e-12) - log_reml(y, X, problem.K, 1.0, 1e-12)) > 1e-4
    with np.errstate(all="ignore"):
        assert not abs(textbook_reml(y, X, K, 1.0, 0.0) - expected) < 1.0


def test_balanced_one_way_anova_in_closed_form() -> None:
    """K = blocks of ones: k groups of r records; d = r a + b (k - 1 times) and b (k(r - 1))."""
    k, r, a, b = 4, 4, 1.7, 0.6
    y = problems()["blocks of ones"].y
    S = decompose(np.kron(np.eye(k), np.ones((r, r))), np.ones((k * r, 1)))
    groups = y.reshape(k, r)
    between = r * ((groups.mean(axis=1) - y.mean()) ** 2).sum()
    within = ((groups - groups.mean(axis=1, keepdims=True)) ** 2).sum()
    d = r * a + b
    log_d = (k - 1) * np.log(d) + k * (r - 1) * np.log(b)
    expected = -0.5 * ((k * r - 1) * np.log(2 * np.pi) + log_d + between / d + within / b)
    assert contrasts_logp(S, y, a, b) == pytest.approx(expected, rel=1e-12)


def test_with_the_identity_as_kernel_only_the_sum_of_the_variances_counts() -> None:
    problem = problems()["pedigree"]
    S = decompose(np.eye(16), problem.X)
    beta, rotated = np.array([30.0, 1.0]), S.rotate(problem.y)
    found = [logp(S, rotated, beta, (3 * h, 3 * (1 - h)))[0] for h in (0.0, 0.3, 0.9, 1.0)]
    np.testing.assert_allclose(found, found[0], rtol=1e-13)


def test_the_ends_of_the_range_of_h2() -> None:
    """h² = 0 is ordinary regression; h² = 1 is the kernel alone if it has full rank."""
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)
    beta, rotated = np.array([30.0, 1.0]), S.rotate(problem.y)
    for variance, V in (((0.0, 2.0), 2 * np.eye(16)), ((2.0, 0.0), 2 * problem.kernel)):
        expected = multivariate_normal(problem.X @ beta, V).logpdf(problem.y)
        assert logp(S, rotated, beta, variance)[0] == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("pedigree", (-1e-9, 1.0)),
        ("pedigree", (1.0, -1e-9)),
        ("pedigree", (0.0, 0.0)),
        ("pedigree", (np.nan, 1.0)),
        ("pedigree", (1.0, np.nan)),
        ("pedigree", (np.inf, 1.0)),
        ("pedigree", (1.0, np.inf)),
        ("tutorial", (1.0, 0.0)),
        ("centred GRM, X = 1", (1.0, 0.0)),
    ],
)
def test_outside_the_support_the_density_is_zero_and_never_a_number(
    name: str, variance: tuple[float, float]
) -> None:
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    value, d_beta, d_variance = logp(S, S.rotate(problem.y), np.zeros(S.p), variance)
    assert value == -np.inf
    assert not d_beta.any()
    assert not d_variance.any()


@EACH
def test_invariances(problem: Problem) -> None:
    """Order of records, signs of eigenvectors, y → a + c y, X → XA: 1e-10."""
    y, K, X = problem.y, problem.kernel, problem.X
    rng = np.random.default_rng(5)
    betas, variances = dense_problem(problem, seed=5, count=30)
    variances[:] = variances.sum(axis=1, keepdims=True) * rng.uniform(0.02, 0.98, (30, 1))
    variances[:, 1] = variances[::-1, 1]
    base = evaluate(y, K, X, betas, variances)[0]
    order = rng.permutation(y.size)
    shuffled = evaluate(y[order], K[np.ix_(order, order)], X[order], betas, variances)[0]
    assert relative(shuffled, base) < 1e-10
    S = decompose(K, X)
    signs = rng.choice([-1.0, 1.0], S.n)
    p = S.p
    flipped = replace(
        S,
        basis=replace(S.basis, columns=S.basis.columns * signs),
        coupling=signs[:p, None] * S.coupling * signs[p:],
        schur=signs[:p, None] * S.schur * signs[:p],
        triangle=signs[:p, None] * S.triangle,
    )
    assert relative(evaluate(y, K, X, betas, variances, flipped)[0], base) < 1e-10
    moved = -2.5 * betas
    moved[:, 0] += 7.0
    scaled = evaluate(7.0 - 2.5 * y, K, X, moved, 2.5**2 * variances)[0]
    assert relative(scaled, base - y.size * np.log(2.5)) < 1e-10
    A = rng.standard_normal((p, p)) + 3 * np.eye(p)
    mixed = evaluate(y, K, X @ A, np.linalg.solve(A, betas.T).T, variances)[0]
    # an uncentred year of 1990 goes into every column of XA: 8 digits are left of Xβ
    assert relative(mixed, base) < (1e-10 if np.abs(X).max() < 100 else 1e-7)


def test_no_overflow_in_the_product_of_eigenvalues() -> None:
    """Scaling y, β and σ by c changes log p by -n log c, from c = 1e-70 to 1e70.

    400 factors at a time, and variances beyond 1e±100, where factors are taken one by one.
    """
    n = 400
    rng = np.random.default_rng(6)
    Z = rng.standard_normal((n, 450)) * np.exp(rng.standard_normal(450))
    K, X, y = Z @ Z.T / 450, np.ones((n, 1)), rng.standard_normal(n)
    S = decompose(K, X)
    base, variance = np.array([0.1]), np.array([0.7, 0.4])
    expected = log_normal_density(y, X, [K], base[None], variance[None])[0][0]
    for c in (1e-70, 1e-40, 1e-3, 1.0, 1e3, 1e40, 1e70):
        found = logp(S, S.rotate(c * y), c * base, c**2 * variance)[0]
        assert found == pytest.approx(float(expected) - n * np.log(c), rel=1e-12)


def test_small_cholesky_and_triangular_solves() -> None:
    rng = np.random.default_rng(8)
    A = rng.standard_normal((5, 5))
    A = A @ A.T + np.eye(5)
    L = A.copy()
    assert cholesky_in_place(L)
    np.testing.assert_allclose(np.tril(L), np.linalg.cholesky(A), rtol=1e-13)
    b = rng.standard_normal(5)
    x = b.copy()
    solve_lower(L, x)
    np.testing.assert_allclose(np.tril(L) @ x, b, rtol=1e-12)
    x = b.copy()
    solve_lower_transposed(L, x)
    np.testing.assert_allclose(np.tril(L).T @ x, b, rtol=1e-12)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan])
def test_small_cholesky_says_no(bad: float) -> None:
    assert not cholesky_in_place(np.diag([1.0, bad, 1.0]))
