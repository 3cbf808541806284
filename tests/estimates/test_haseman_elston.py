"""Haseman-Elston regression against least squares over all pairs, and its sampling variance."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from bayeslmm.estimates import haseman_elston
from bayeslmm.estimates.haseman_elston import haseman_elston_one_kernel, haseman_elston_several
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.dense import DenseForm, dense_form
from bayeslmm.likelihood.terms import Covariance, simple_term

type Floats = NDArray[np.float64]

N = 60
GENETIC = np.array([True, False, False])


@cache
def kernels() -> tuple[Floats, Floats, Floats]:
    """K, groups H and a design X of an intercept and a covariate."""
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((N, 25))
    H = (np.arange(N)[:, None] % 12 == np.arange(N) % 12).astype(float)
    return Z @ Z.T / 25, H, np.column_stack([np.ones(N), rng.standard_normal(N)])


def over_pairs(y: Floats, X: Floats, matrices: list[Floats]) -> Floats:
    """OLS of r_i r_j on the projected matrices over all n² pairs."""
    M = np.eye(N) - X @ np.linalg.solve(X.T @ X, X.T)
    r = M @ y
    regressors = np.column_stack([(M @ K @ M).ravel() for K in [*matrices, np.eye(N)]])
    return np.asarray(np.linalg.lstsq(regressors, np.outer(r, r).ravel(), rcond=None)[0])


def several(X: Floats) -> DenseForm:
    K, H, _ = kernels()
    each = np.arange(N)
    terms = (simple_term("K", K, each), simple_term("H", None, each % 12, genetic=False))
    assert np.array_equal(terms[1].block(0, 0), H)
    return dense_form(Covariance(terms, np.zeros(N, dtype=np.intp)), X)


def test_one_kernel_is_least_squares_over_all_pairs() -> None:
    K, _, X = kernels()
    y = np.random.default_rng(2).standard_normal(N)
    spectrum = decompose(K, X)
    found = haseman_elston_one_kernel(spectrum.eigenvalues, spectrum.rotate(y)[spectrum.p :])
    wanted = over_pairs(y, X, [K])
    assert found.variances == pytest.approx(wanted, abs=1e-10)
    assert found.h2 == pytest.approx(wanted[0] / wanted.sum(), abs=1e-10)


def test_several_kernels_are_least_squares_over_all_pairs() -> None:
    K, H, X = kernels()
    y = np.random.default_rng(3).standard_normal(N)
    form = several(X)
    found = haseman_elston_several(form, form.rotate(y), GENETIC)
    assert found.variances == pytest.approx(over_pairs(y, X, [K, H]), abs=1e-9)


def test_unbiased_with_the_spread_that_it_says() -> None:
    """3 000 data sets of one kernel: 3 % of the spread is four of its Monte Carlo errors."""
    K, _, X = kernels()
    spectrum = decompose(K, X)
    s = spectrum.eigenvalues
    rng = np.random.default_rng(4)
    e = rng.standard_normal((3000, s.size)) * np.sqrt(0.8 * s + 0.6)
    fits = [haseman_elston_one_kernel(s, one) for one in e]
    drawn = np.array([fit.variances for fit in fits])
    assert drawn.mean(axis=0) == pytest.approx([0.8, 0.6], abs=4 * 0.4 / np.sqrt(3000))
    there = haseman_elston_one_kernel(s, np.sqrt(0.8 * s + 0.6))  # its estimate is the truth
    assert there.variances == pytest.approx([0.8, 0.6], abs=1e-10)
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(np.diagonal(there.covariance)), rel=0.06)


def test_sampling_variance_of_several_kernels_by_simulation() -> None:
    K, H, X = kernels()
    form = several(X)
    truth = np.array([0.8, 0.5, 0.6])
    root = np.linalg.cholesky(truth[0] * K + truth[1] * H + truth[2] * np.eye(N))
    rng = np.random.default_rng(5)
    fits = [haseman_elston_several(form, form.rotate(root @ rng.standard_normal(N)), GENETIC)
            for _ in range(600)]  # fmt: skip
    drawn = np.array([fit.variances for fit in fits])
    assert drawn.mean(axis=0) == pytest.approx(truth, abs=4 * 0.5 / np.sqrt(600))
    said = np.sqrt(np.mean([np.diagonal(fit.covariance) for fit in fits], axis=0))
    assert drawn.std(axis=0) == pytest.approx(said, rel=0.15)


def test_one_and_several_say_the_same_of_one_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    K, _, X = kernels()
    y = np.random.default_rng(6).standard_normal(N) + 0.1 * np.arange(N)
    term = simple_term("K", K, np.arange(N))
    form = dense_form(Covariance((term,), np.zeros(N, dtype=np.intp)), X)
    spectrum = decompose(K, X)
    one = haseman_elston_one_kernel(spectrum.eigenvalues, spectrum.rotate(y)[spectrum.p :])
    many = haseman_elston_several(form, form.rotate(y), GENETIC[:2])
    assert many.variances == pytest.approx(one.variances, abs=1e-10)
    assert many.covariance == pytest.approx(one.covariance, abs=1e-10)
    assert many.se == pytest.approx(one.se, abs=1e-10)
    monkeypatch.setattr(haseman_elston, "EXACT", 0)  # traces by random vectors
    rough = haseman_elston_several(form, form.rotate(y), GENETIC[:2])
    assert rough.variances.tolist() == many.variances.tolist()
    assert rough.se == pytest.approx(one.se, rel=0.2)  # 100 vectors at n = 60
    assert rough.se != many.se
