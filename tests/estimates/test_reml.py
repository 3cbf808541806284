"""REML of one and of several kernels: published values, GEMMA's digits, a dense oracle."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from model_cases import case
from numpy.typing import NDArray
from scipy.linalg import null_space
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from bayeslmm import models
from bayeslmm.distributions.phenotype import marginal_of
from bayeslmm.estimates.boundary import expected_se, restricted_lrt
from bayeslmm.estimates.haseman_elston import haseman_elston_several
from bayeslmm.estimates.reml import (
    _climb,
    _evaluate,
    profile,
    reml_one_kernel,
    reml_several,
    share_with_se,
)
from bayeslmm.individuals import individual_index
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.dense import DenseForm, dense_form
from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.likelihood.terms import Covariance, simple_term
from bayeslmm.relationship.pedigree.matrix import additive_relationship
from bayeslmm.relationship.pedigree.pedigree import read_pedigree

type Floats = NDArray[np.float64]

N = 90


@cache
def problem() -> tuple[Floats, Floats, Floats, Floats]:
    """K of families of five, groups of three across them, X with a covariate, and y."""
    rng = np.random.default_rng(3)
    K = np.kron(np.eye(N // 5), 0.5 + 0.5 * np.eye(5))
    H = (np.arange(N)[:, None] % 30 == np.arange(N) % 30).astype(float)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    V = 0.9 * K + 0.6 * H + 0.7 * np.eye(N)
    y = X @ np.array([1.0, -0.5]) + np.linalg.cholesky(V) @ rng.standard_normal(N)
    return np.asarray(K), H, X, np.asarray(y)


def restricted(c: Floats, matrices: list[Floats], X: Floats, y: Floats) -> float:
    """Log density of orthonormal error contrasts under V(c), by SciPy."""
    Q = null_space(X.T)
    V = sum(value * Q.T @ M @ Q for value, M in zip(c, matrices, strict=True))
    return float(multivariate_normal(np.zeros(Q.shape[1]), V).logpdf(Q.T @ y))


def maximum(matrices: list[Floats], X: Floats, y: Floats) -> Any:
    """The top of the restricted likelihood over log variances, by SciPy."""

    def loss(u: Floats) -> float:
        return -restricted(np.exp(u), matrices, X, y)

    return minimize(loss, np.zeros(len(matrices)), tol=1e-10)


def spectrum_and_contrasts(K: Floats, X: Floats, y: Floats) -> tuple[Spectrum, Floats]:
    found = decompose(K, X)
    return found, found.rotate(y)[found.p :]


def two_kernels() -> tuple[DenseForm, Floats]:
    K, _, X, y = problem()
    each = np.arange(N)
    terms = (simple_term("K", K, each), simple_term("H", None, each % 30, genetic=False))
    form = dense_form(Covariance(terms, np.zeros(N, dtype=np.intp)), X)
    return form, form.rotate(y)


def test_profile_is_the_density_at_the_best_scale() -> None:
    K, _, X, y = problem()
    spectrum, e = spectrum_and_contrasts(K, X, y)
    for h2 in (0.0, 0.3, 0.8):
        total = np.mean(e**2 / (h2 * spectrum.eigenvalues + 1 - h2))
        wanted = restricted(total * np.array([h2, 1 - h2]), [K, np.eye(N)], X, y)
        assert profile(spectrum.eigenvalues, e**2, h2) == pytest.approx(wanted, abs=1e-8)


def test_one_kernel_is_the_top_of_the_restricted_likelihood() -> None:
    K, _, X, y = problem()
    spectrum, e = spectrum_and_contrasts(K, X, y)
    found = reml_one_kernel(spectrum.eigenvalues, e)
    best = maximum([K, np.eye(N)], X, y)
    assert found.variances == pytest.approx(np.exp(best.x), rel=1e-4)
    assert found.log_likelihood == pytest.approx(-best.fun, abs=1e-7)
    assert found.h2 == pytest.approx(found.variances[0] / found.variances.sum(), abs=1e-12)
    step = 1e-4  # observed information, by second differences of the profile
    low, top, high = [profile(spectrum.eigenvalues, e**2, found.h2 + k * step) for k in (-1, 0, 1)]
    assert found.se == pytest.approx((-(low - 2 * top + high) / step**2) ** -0.5, rel=1e-3)
    assert not found.at_edge
    statistic = restricted_lrt(spectrum.eigenvalues, e, simulations=100).statistic
    gain = 2 * (found.log_likelihood - profile(spectrum.eigenvalues, e**2, 0.0))
    assert statistic == pytest.approx(gain, abs=0.05)  # its maximum is over a grid


def test_an_estimate_at_the_edge_says_so() -> None:
    s = np.linspace(0.1, 3.0, 60)
    falling = reml_one_kernel(s, np.sqrt(3.1 - s))
    rising = reml_one_kernel(s, np.sqrt(s))
    assert falling.h2 == 0.0
    assert rising.h2 == pytest.approx(1.0, abs=1e-8)
    assert falling.at_edge
    assert rising.at_edge
    assert falling.se == expected_se(s, 0.0)
    assert np.isfinite(rising.se)


def test_several_kernels_are_at_the_top_of_the_restricted_likelihood() -> None:
    K, H, X, y = problem()
    form, rotated = two_kernels()
    genetic = np.array([True, False, False])
    found = reml_several(form, rotated, np.ones(3), genetic, tolerance=1e-10)
    matrices = [K, H, np.eye(N)]
    best = maximum(matrices, X, y)
    assert found.converged
    assert found.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    assert found.variances == pytest.approx(np.exp(best.x), rel=1e-3)
    # the average information, from its definition
    Q = null_space(X.T)
    V = sum(v * Q.T @ M @ Q for v, M in zip(found.variances, matrices, strict=True))
    alpha = np.linalg.solve(V, Q.T @ y)
    moved = np.stack([Q.T @ M @ Q @ alpha for M in matrices])
    information = 0.5 * moved @ np.linalg.solve(V, moved.T)
    assert found.covariance == pytest.approx(np.linalg.inv(information), rel=1e-4)
    share = share_with_se(found.variances, found.covariance, genetic)
    assert (found.h2, found.se) == pytest.approx(share)


def test_several_kernels_with_one_is_the_same_as_one_kernel() -> None:
    K, _, X, y = problem()
    term = simple_term("K", K, np.arange(N))
    form = dense_form(Covariance((term,), np.zeros(N, dtype=np.intp)), X)
    several = reml_several(form, form.rotate(y), np.ones(2), np.array([True, False]), 1e-10)
    spectrum, e = spectrum_and_contrasts(K, X, y)
    one = reml_one_kernel(spectrum.eigenvalues, e)
    assert several.variances == pytest.approx(one.variances, rel=1e-4)
    assert several.log_likelihood == pytest.approx(one.log_likelihood, abs=1e-7)
    assert several.se == pytest.approx(one.se, rel=0.05)  # average against observed information


def test_where_a_covariance_is_singular_there_is_no_likelihood() -> None:
    s = np.array([0.0, 1.0, 2.0])
    assert profile(s, np.ones(3), 1.0) == -np.inf
    assert np.isfinite(profile(s, np.ones(3), 1.0 - 1e-12))
    form, rotated = two_kernels()
    e = np.ascontiguousarray(rotated[: form.n - form.p])
    value, slope, information = _evaluate(form, e, np.array([1.0, 1.0, -50.0]))
    assert value == -np.inf
    assert slope.tolist() == [0.0] * 3
    assert (information == np.eye(3)).all()
    assert np.isnan(share_with_se(np.zeros(2), np.eye(2), np.array([True, False]))).all()


def test_from_the_top_no_step_goes_up() -> None:
    form, rotated = two_kernels()
    e = np.ascontiguousarray(rotated[: form.n - form.p])
    top = reml_several(form, rotated, np.ones(3), np.array([True, False, False]), 1e-12).variances
    value = _evaluate(form, e, top)[0]
    for step in (np.array([0.5, 0.0, 0.0]), np.array([-0.2, 0.3, 0.1])):
        assert _climb(form, e, top, step, value, 1e-9) is None
    low = 0.8 * top
    found = _climb(form, e, low, top - low, _evaluate(form, e, low)[0], 1e-9)
    assert found is not None
    assert found[0] == pytest.approx(top)


def test_effects_with_covariances_are_refused() -> None:
    one = case("gxe")
    marginal = marginal_of(models.load("gxe")(one.cohort, *one.matrices))
    assert isinstance(marginal, DenseMarginal)
    form = marginal.form
    genetic = np.ones(form.covariance.size, dtype=bool)
    with pytest.raises(ValueError, match="reml_several: every term must have one effect per level"):
        reml_several(form, np.zeros(form.n), np.ones(genetic.size), genetic)
    with pytest.raises(ValueError, match="haseman_elston_several: every term must have one effect"):
        haseman_elston_several(form, np.zeros(form.n), genetic)


def test_a_component_that_is_not_there_is_zero() -> None:
    """y without groups, made so that likeness within them is below chance."""
    form, _ = two_kernels()
    rng = np.random.default_rng(8)
    K, H, _, _ = problem()
    y = np.linalg.cholesky(K + np.eye(N)) @ rng.standard_normal(N)
    y -= 0.9 * H @ y / 3
    found = reml_several(form, form.rotate(y), np.ones(3), np.array([True, False, False]))
    assert found.variances[1] == 0.0
    assert found.at_edge
    assert found.converged
    assert found.covariance[1].tolist() == [0.0, 0.0, 0.0]


def test_standard_error_of_a_share_by_simulation() -> None:
    rng = np.random.default_rng(1)
    covariance = np.array([[0.02, -0.01], [-0.01, 0.03]]) / 100
    draws = rng.multivariate_normal([1.0, 2.0], covariance, 200_000)
    h2, se = share_with_se(np.array([1.0, 2.0]), covariance, np.array([True, False]))
    assert h2 == pytest.approx(1 / 3)
    assert se == pytest.approx((draws[:, 0] / draws.sum(axis=1)).std(), rel=0.01)


def test_published_estimates_of_the_gryphons(shared_data: Path) -> None:
    """Wilson et al. 2010: V_A = 3.40 (0.64), V_R = 3.83 (0.52), h² = 0.47."""
    wanted = json.loads((shared_data.parent / "reference/gryphon.json").read_text())
    records = pd.read_csv(shared_data / "gryphon/phenotypes.tsv", sep="\t", dtype={"ANIMAL": str})
    records = records.dropna(subset=["BWT"])
    pedigree = read_pedigree(shared_data / "gryphon/pedigree.tsv", "rows")
    people = individual_index(["0"] * len(records), records["ANIMAL"])
    A = additive_relationship(pedigree, people).on(people).matrix
    y, sex = records["BWT"].to_numpy(), records["SEX"].to_numpy() == 1
    for which, X in (
        ("intercept_only", np.ones((len(y), 1))),
        ("with_sex", np.column_stack([np.ones(len(y)), sex])),
    ):
        spectrum, e = spectrum_and_contrasts(A, X, y)
        found = reml_one_kernel(spectrum.eigenvalues, e)
        one = wanted[which]
        assert found.variances == pytest.approx([one["VA"], one["VR"]], rel=2e-4)
        assert found.h2 == pytest.approx(one["h2"], abs=2e-3 if case == "intercept_only" else 2e-4)
        if "VA_se" in one:  # by observed or average information there, expected here
            ses = np.sqrt(np.diagonal(found.covariance))
            assert ses == pytest.approx([one["VA_se"], one["VR_se"]], rel=0.03)
