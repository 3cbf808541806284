"""Records given all others, one kernel: against normal distributions conditioned by the book.

The covariance is partitioned, β has a normal prior or is estimated by generalised least squares
from the other records (flat). Bases complete or not, as in test_low_rank.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from low_rank import FORMS, LowRank, data, dense_parts, design, low_rank, parameters
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from bayeslmm.errors import InputError
from bayeslmm.likelihood.blocks import Blocks

type Floats = NDArray[np.float64]

NAMES = ("8 columns, 3 covariates", "in part within the space of X", "one dimension is not reached")
EACH = pytest.mark.parametrize("name", NAMES)
FORM = pytest.mark.parametrize("form", FORMS)
TRAITS = pytest.mark.parametrize("T", [0, 2])
PRIOR = pytest.mark.parametrize("flat", [False, True], ids=["normal", "flat"])


def prior(p: int) -> tuple[Floats, Floats]:
    """Mean and factor of β."""
    rng = np.random.default_rng(p)
    return 5 * np.eye(p)[0], np.tril(rng.standard_normal((p, p))) + 2 * np.eye(p)


def by_the_book(
    problem: LowRank, y: Floats, c: list[Floats], T: int, F: Any, flat: bool
) -> tuple[Floats, Floats]:
    """Mean and covariance of y_F given the other records."""
    X, V = design(problem, T), dense_parts(problem, c)[0]
    mean, factor = prior(X.shape[1])
    rest = np.setdiff1d(np.arange(y.size), F)
    if not flat:
        V = V + X @ factor @ factor.T @ X.T
    half = np.linalg.solve(V[np.ix_(rest, rest)], V[np.ix_(rest, F)])
    cov = V[np.ix_(F, F)] - V[np.ix_(F, rest)] @ half
    if not flat:
        return X[F] @ mean + half.T @ (y[rest] - X[rest] @ mean), cov
    ViX = np.linalg.solve(V[np.ix_(rest, rest)], X[rest])
    spread = np.linalg.inv(X[rest].T @ ViX)
    beta = spread @ ViX.T @ y[rest]
    left = X[F] - half.T @ X[rest]
    return X[F] @ beta + half.T @ (y[rest] - X[rest] @ beta), cov + left @ spread @ left.T


def blocks(n: int, single: bool) -> Blocks:
    """Some records by themselves, or in blocks that mix the traits of two."""
    order = np.random.default_rng(n).permutation(n)
    members = order[:6, None] if single else [order[:1], order[1:4], order[4:9]]
    return Blocks(tuple(np.asarray(one) for one in members))


@EACH
@FORM
@TRAITS
@PRIOR
@pytest.mark.parametrize("single", [False, True], ids=["blocks", "single"])
def test_records_given_all_others(name: str, form: str, T: int, flat: bool, single: bool) -> None:
    """Few draws, one by one; 40, by interpolation between Chebyshev points: to 1e-7."""
    problem = low_rank(name)
    y, beta = data(problem, T, 1)
    marginal = problem.marginal(form, T)
    mean, factor = prior(beta.size)
    out = blocks(y.size, single)
    for count in (2, 40):
        where = parameters(T, 2, count)
        c = [np.stack(x) for x in zip(*where, strict=True)]
        found = marginal.conditionals(y, c, mean, None if flat else factor, out)
        for s in (0, count // 2, count - 1):
            for g, F in enumerate(out.members):
                here = slice(out.starts[g], out.starts[g + 1])
                centre, cov = by_the_book(problem, y, where[s], T, F, flat)
                sd = np.sqrt(np.diag(cov))
                np.testing.assert_allclose(found.sd[s, here], sd, rtol=1e-7)
                np.testing.assert_allclose(found.mean[s, here], centre, rtol=0, atol=1e-6)
                exact = multivariate_normal(centre, cov).logpdf(y[F])
                assert found.log_density[s, g] == pytest.approx(exact, rel=1e-6)


@EACH
@FORM
@TRAITS
def test_the_density_of_the_other_records(name: str, form: str, T: int) -> None:
    problem = low_rank(name)
    y, beta = data(problem, T, 3)
    X, where, F = design(problem, T), parameters(T, 4, 3), np.array([4, 1, 7])
    mean, factor = prior(beta.size)
    rest = np.setdiff1d(np.arange(y.size), F)
    c = [np.stack(x) for x in zip(*where, strict=True)]
    marginal = problem.marginal(form, T)
    values, given = marginal.without(y, c, mean, factor, Blocks((F,)))
    for value, at, one in zip(values, given, where, strict=True):
        V = dense_parts(problem, one)[0] + X @ factor @ factor.T @ X.T
        exact = multivariate_normal((X @ mean)[rest], V[np.ix_(rest, rest)]).logpdf(y[rest])
        assert value == pytest.approx(exact, rel=1e-8)
        centre, cov = by_the_book(problem, y, one, T, F, flat=False)
        assert at is not None
        np.testing.assert_allclose(at.mean[0], centre, rtol=0, atol=1e-6)
        np.testing.assert_allclose(at.sd[0], np.sqrt(np.diag(cov)), rtol=1e-7)


@FORM
def test_draws_at_an_edge_are_left_out_and_the_others_kept(form: str) -> None:
    """Without residual variance a kernel of few columns has no density."""
    problem = low_rank("8 columns, 3 covariates")
    y, beta = data(problem, 0, 5)
    c = np.array([[1.0, 0.5], [1.0, 0.0], [0.3, 1.0]])
    mean, factor = prior(beta.size)
    marginal, out = problem.marginal(form, 0), singles(2)
    values, given = marginal.without(y, [c], mean, factor, out)
    assert np.isfinite(values).tolist() == [True, False, True]
    assert [at is None for at in given] == [False, True, False]
    alone, _ = marginal.without(y, [c[2:]], mean, factor, out)
    assert values[2] == pytest.approx(alone[0], rel=1e-10)


@FORM
def test_effects_that_only_the_records_left_out_have_are_an_error(form: str) -> None:
    """Under a flat prior of β: the record is said to determine an effect."""
    problem = low_rank("8 columns, 3 covariates")
    X = problem.X.copy()
    X[:, 3] = np.eye(60)[5]
    other = LowRank(problem.G, X, problem.everybody)
    y, _ = data(other, 0, 6)
    marginal, c = other.marginal(form, 0), [np.array([[1.0, 0.5]])]
    with pytest.raises(InputError, match="without which a fixed effect or a variance is not"):
        marginal.conditionals(y, c, np.zeros(4), None, singles(4, 5, 6))
    found = marginal.conditionals(y, c, np.zeros(4), None, singles(4, 6))
    assert np.isfinite(found.log_density).all()


def singles(*records: int) -> Blocks:
    """Each record in a block of its own."""
    return Blocks(tuple(np.array([record]) for record in records))
