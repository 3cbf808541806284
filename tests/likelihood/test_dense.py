"""The Gaussian likelihood of several kernels, against SciPy's normal density of the whole y."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from kernel_problems import people
from numpy.typing import NDArray
from oracles import log_marginal_density, log_normal_density, relative
from scipy import stats

from bayeslmm.likelihood.dense import (
    DenseForm,
    beta_quadratic,
    dense_form,
    dense_logp,
    marginal_gradient,
)
from bayeslmm.likelihood.fixed_effects import draw_beta, integrate_beta
from bayeslmm.likelihood.terms import Covariance, Term

type Floats = NDArray[np.float64]

N = 14


def kernel(rng: np.random.Generator, q: int, rank: int) -> Floats:
    Z = rng.standard_normal((q, rank))
    return Z @ Z.T / rank


def single(name: str, A: Floats | None, levels: Any, weights: Any = None) -> Term:
    w = np.ones((len(levels), 1)) if weights is None else np.asarray(weights)[:, None]
    return Term(name, (name,), A, np.asarray(levels)[:, None], w)


@cache
def covariance(kind: str) -> Covariance:
    """Two kernels; repeated records; a term of two effects; classes; terms without a residual."""
    rng = np.random.default_rng(1)
    each, few = np.arange(N), np.arange(N) % 5
    A, low = kernel(rng, N, 30), kernel(rng, N, 3)
    two = Term(
        "two", ("a", "b"), kernel(rng, 9, 12), rng.integers(0, 9, (N, 2)),
        rng.standard_normal((N, 2)),
    )  # fmt: skip
    one, classes = np.zeros(N, dtype=np.intp), rng.permutation(np.arange(N) % 3)
    return {
        "two kernels": Covariance((single("A", A, each), single("low", low, each)), one),
        "records": Covariance((single("A", kernel(rng, 5, 9), few), single("I", None, few)), one),
        "two effects": Covariance((two,), one),
        "classes": Covariance((single("A", A, each), two), classes),
        "no residual": Covariance((single("A", A, each), single("I", None, each)), None),
    }[kind]


KINDS = ["two kernels", "records", "two effects", "classes", "no residual"]
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
EACH_P = pytest.mark.parametrize("p", [1, 2, 3, 4])


@cache
def problem(kind: str, p: int) -> tuple[DenseForm, Floats, Floats, list[Floats]]:
    """Form, X, y and the matrices of the coefficients."""
    rng = np.random.default_rng(p)
    year = 1990.0 + rng.integers(-5, 6, N)
    X = np.column_stack([np.ones(N), rng.standard_normal((N, 2)), year])[:, :p]
    y = 30 + rng.standard_normal(N) * 2
    form = dense_form(covariance(kind), np.ascontiguousarray(X))
    return form, X, y, list(covariance(kind).matrices())


def coefficients(kind: str, seed: int) -> Floats:
    """Random ones with every Σ positive definite."""
    rng = np.random.default_rng(seed)
    out: list[float] = []
    for term in covariance(kind).terms:
        S = kernel(rng, term.k, term.k + 1)
        out += [S[pair] for pair in term.pairs]
    return np.array([*out, *rng.uniform(0.2, 2.0, covariance(kind).classes)])


def expected(kind: str, p: int, beta: Floats, c: Floats) -> tuple[float, Floats, Floats]:
    """Density and gradient in extended precision; V has no I of its own there."""
    _, X, y, matrices = problem(kind, p)
    logp, d_beta, d_c = log_normal_density(y, X, matrices, beta[None], [[*c, 0.0]])
    return float(logp[0]), np.asarray(d_beta[0], float), np.asarray(d_c[0, :-1], float)


@EACH_KIND
@EACH_P
def test_density_and_gradient(kind: str, p: int) -> None:
    """Density 1e-8 and gradient 1e-6 of max(1, |.|), and SciPy's density to 1e-8."""
    form, X, y, matrices = problem(kind, p)
    rotated = form.rotate(y)
    fit = np.linalg.lstsq(X, y, rcond=None)[0]
    for seed in range(10):
        c = coefficients(kind, seed)
        noise = np.random.default_rng(seed).standard_normal(p) / np.abs(X).max(axis=0)
        beta = fit + noise
        kept = rotated.copy()
        logp, d_beta, d_c = dense_logp(form, rotated, beta, c)
        np.testing.assert_array_equal(rotated, kept)  # nothing is written into the data
        wanted = expected(kind, p, beta, c)
        assert relative(logp, wanted[0]) < 1e-8
        assert relative(d_beta, wanted[1]) < 1e-6
        assert relative(d_c, wanted[2]) < 1e-6
        V = sum(x * M for x, M in zip(c, matrices, strict=True))
        assert relative(logp, stats.multivariate_normal(X @ beta, V).logpdf(y)) < 1e-8
        quadratic = beta_quadratic(form, rotated, c)
        assert quadratic is not None
        assert quadratic.at(beta) == pytest.approx(logp, rel=1e-9)


@EACH_KIND
def test_the_form_is_the_rotated_covariance(kind: str) -> None:
    form, X, y, matrices = problem(kind, 3)
    W = form.basis
    np.testing.assert_allclose(W @ W.T, np.eye(N), atol=1e-13)
    np.testing.assert_allclose(form.design, X, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(form.rotate(y), W.T @ y, rtol=1e-12, atol=1e-12)
    assert (form.n, form.p, form.identity) == (N, 3, covariance(kind).classes == 1)
    c = coefficients(kind, 3)
    V = sum(x * M for x, M in zip(c, matrices, strict=True))
    np.testing.assert_allclose(V, covariance(kind).dense(c), rtol=1e-13, atol=1e-13)
    L = form.factor(c)
    assert L is not None
    np.testing.assert_allclose(np.tril(L), np.linalg.cholesky(W.T @ V @ W), rtol=1e-9, atol=1e-10)


@EACH_KIND
def test_shares_at_1e_8_of_zero(kind: str) -> None:
    """A variance that is next to nothing beside the others loses no digit; nor do all but I."""
    form, _, y, _ = problem(kind, 2)
    rotated, beta = form.rotate(y), np.array([30.0, 0.1])
    c = coefficients(kind, 4)
    last = len(c) - covariance(kind).classes if covariance(kind).classes else 1
    for small in (slice(0, 1), slice(0, last)):
        if kind in ("two effects", "classes") and small.stop == 1:
            continue  # Σ has to stay positive semidefinite
        moved = c.copy()
        moved[small] *= 1e-8
        found, wanted = dense_logp(form, rotated, beta, moved), expected(kind, 2, beta, moved)
        assert relative(found[0], wanted[0]) < 1e-8
        assert relative(found[1], wanted[1]) < 1e-6
        assert relative(found[2], wanted[2]) < 1e-6


@EACH_KIND
@pytest.mark.parametrize("scale", [-1.0, 0.0, np.nan])
def test_where_v_is_not_positive_definite(kind: str, scale: float) -> None:
    form, _, y, _ = problem(kind, 2)
    c = scale * coefficients(kind, 5)
    rotated, beta = form.rotate(y), np.zeros(2)
    logp, d_beta, d_c = dense_logp(form, rotated, beta, c)
    assert logp == -np.inf
    assert (d_beta == 0).all()
    assert (d_c == 0).all()
    assert form.factor(c) is None
    assert beta_quadratic(form, rotated, c) is None
    value, slope = marginal_gradient(form, rotated, beta, np.eye(2), c)
    assert value == -np.inf
    assert (slope == 0).all()


def test_an_indefinite_sigma_is_no_covariance() -> None:
    """A correlation beyond one: V stays definite only while the residual makes up for it."""
    form, _, y, _ = problem("two effects", 1)
    found = [
        dense_logp(form, form.rotate(y), np.array([30.0]), np.array([1.0, 8.0, 1.0, b]))[0]
        for b in (1e3, 1e-3)
    ]
    assert np.isfinite(found[0])
    assert found[1] == -np.inf


# β integrated out


def prior(p: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(9)
    return 20 * np.eye(p)[0], (np.tril(rng.standard_normal((p, p))) + 2 * np.eye(p))


@EACH_KIND
@EACH_P
@pytest.mark.parametrize("flat", [False, True], ids=["normal", "flat"])
def test_beta_integrated_out(kind: str, p: int, flat: bool) -> None:
    """log p(y | c) = log N(Xm, V + XFFᵀXᵀ), or its limit under a flat prior: 1e-8, gradient 1e-6.

    Of max(1, |.|) and the largest entry; SciPy's density of the whole y agrees to 1e-8 where the
    year does not make its covariance ill conditioned.
    """
    form, X, y, matrices = problem(kind, p)
    rotated = form.rotate(y)
    mean, F = prior(p)
    factor = None if flat else F
    for seed in range(6):
        c = coefficients(kind, seed)
        quadratic = beta_quadratic(form, rotated, c)
        assert quadratic is not None
        value, slope = marginal_gradient(form, rotated, mean, factor, c)
        expected, d_c = log_marginal_density(y, X, matrices, c, mean, factor)
        assert value == integrate_beta(quadratic, mean, factor)
        assert relative(value, expected) < 1e-8
        assert np.abs(slope - d_c).max() < 1e-6 * max(1.0, np.abs(d_c).max())
        if not flat and p < 4:
            V = sum(x * M for x, M in zip(c, matrices, strict=True))
            scipys = stats.multivariate_normal(X @ mean, V + X @ F @ F.T @ X.T).logpdf(y)
            assert relative(value, scipys) < 1e-8


def test_nothing_of_a_factor_is_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was in memory above the diagonal, NaN at times, made SciPy refuse the whole matrix."""
    form = problem("two kernels", 2)[0]
    monkeypatch.setattr(np, "empty", lambda shape, *_, **__: np.full(shape, np.nan))
    L = form.factor(coefficients("two kernels", 1))
    assert L is not None
    np.testing.assert_array_equal(np.triu(L, 1), 0.0)


def test_the_oracle_of_a_flat_prior_is_the_limit_of_a_wide_one() -> None:
    _, X, y, matrices = problem("two kernels", 2)
    c = coefficients("two kernels", 1)
    wide = 1e5  # the difference is of the order (β/wide)²
    near = log_marginal_density(y, X, matrices, c, np.zeros(2), wide * np.eye(2))
    flat = log_marginal_density(y, X, matrices, c)
    assert near[0] + 2 * np.log(wide) + np.log(2 * np.pi) == pytest.approx(flat[0], rel=1e-7)
    np.testing.assert_allclose(near[1], flat[1], rtol=1e-6)


def test_a_flat_prior_has_no_place() -> None:
    """Under a flat prior the mean that the caller names does not matter."""
    form, _, y, _ = problem("two kernels", 3)
    c = coefficients("two kernels", 1)
    found = [
        marginal_gradient(form, form.rotate(y), m, None, c) for m in (np.zeros(3), 7 * np.ones(3))
    ]
    assert found[0][0] == found[1][0]
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("flat", [False, True], ids=["normal", "flat"])
@pytest.mark.parametrize("p", [1, 3])
def test_draws_of_beta_have_the_conditional_moments(p: int, flat: bool) -> None:
    """Exactly: a draw is an affine function of z, so that z = 0 is the mean, and unit vectors give
    a factor of the covariance.
    """
    form, X, y, matrices = problem("classes", p)
    c = coefficients("classes", 2)
    V = sum(x * M for x, M in zip(c, matrices, strict=True))
    mean, F = prior(p)
    quadratic = beta_quadratic(form, form.rotate(y), c)
    assert quadratic is not None
    factor = None if flat else F
    centre = draw_beta(quadratic, mean, factor, np.zeros(p))
    columns = [draw_beta(quadratic, mean, factor, row) - centre for row in np.eye(p)]
    half = np.column_stack(columns)
    precision = X.T @ np.linalg.solve(V, X)
    h = X.T @ np.linalg.solve(V, y)
    if not flat:
        inverse = np.linalg.inv(F @ F.T)
        precision, h = precision + inverse, h + inverse @ mean
    np.testing.assert_allclose(centre, np.linalg.solve(precision, h), rtol=1e-8)
    np.testing.assert_allclose(half @ half.T, np.linalg.inv(precision), rtol=1e-7, atol=1e-12)
    z = np.random.default_rng(1).standard_normal(p)
    found = draw_beta(quadratic, mean, factor, z)
    np.testing.assert_allclose(found, centre + half @ z, rtol=1e-8)


def test_too_much_memory_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from bayeslmm.likelihood import dense

    asked: list[int] = []
    monkeypatch.setattr(dense, "require_memory", lambda size, *_: asked.append(size))
    dense_form(covariance("two kernels"), np.ones((N, 1)))
    assert asked == [8 * N * N * (2 + 5)]


def test_the_individuals_of_a_term_may_be_named() -> None:
    """Levels that no record has count as levels."""
    term = Term("I", ("I",), None, np.zeros((3, 1), dtype=np.intp), np.ones((3, 1)), people(7))
    assert term.q == 7
    assert isinstance(term.people, pd.MultiIndex)
