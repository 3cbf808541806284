"""Any terms, and traits with values missing: every verb against the covariances written out.

Means and covariances of draws are exact: a draw is affine in its normal numbers. The density itself
is tested in test_dense.py, the records left out in tests/comparison/loo.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from affine import moments
from kernel_problems import people
from numpy.typing import NDArray
from oracles import log_marginal_density
from scipy.stats import multivariate_normal

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.likelihood.dense import dense_form
from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.likelihood.fixed_effects import integrate_beta
from bayeslmm.likelihood.incomplete import IncompleteTraits, incomplete_traits
from bayeslmm.likelihood.incomplete_marginal import IncompleteMarginal
from bayeslmm.likelihood.realised import realised_pve
from bayeslmm.likelihood.terms import Covariance, Term, simple_term

type Floats = NDArray[np.float64]

N = 18
KINDS = ("two kernels", "two effects, two classes", "two traits", "two traits, their cheap form")
EACH = pytest.mark.parametrize("kind", KINDS)


def kernel(rng: np.random.Generator, q: int, rank: int) -> Floats:
    Z = rng.standard_normal((q, rank))
    return Z @ Z.T / rank


def terms_of_traits() -> tuple[Term, ...]:
    """Two traits of ten people, of whom two miss the second: G ⊗ K + R ⊗ I."""
    rng = np.random.default_rng(3)
    who = np.r_[:10, :8]
    weights = np.repeat(np.eye(2), (10, 8), axis=0)
    levels = np.column_stack([who, who])
    names = ("additive:a", "additive:b"), ("residual:a", "residual:b")
    return (
        Term("additive", names[0], kernel(rng, 10, 14), levels, weights),
        Term("residual", names[1], None, levels, weights, genetic=False),
    )


@cache
def marginal(kind: str) -> DenseMarginal:
    """Of 18 records with two covariates; for two traits those of each by themselves."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((N, 1))
    X = np.hstack([np.ones((N, 1)), x])
    if kind.startswith("two traits"):
        terms = terms_of_traits()
        X = np.hstack([X * w[:, None] for w in terms[0].weights.T])
        form = dense_form(Covariance(terms, None), X, lazy="cheap" in kind)
        return (
            IncompleteMarginal(form, pattern=pattern(X)) if "cheap" in kind else DenseMarginal(form)
        )
    each, few = np.arange(N), np.arange(N) % 5
    two = Term("two", ("a", "b"), kernel(rng, 9, 12), rng.integers(0, 9, (N, 2)),
               rng.standard_normal((N, 2)))  # fmt: skip
    if kind == "two kernels":
        terms = (
            simple_term("A", kernel(rng, N, 4), each),
            simple_term("I", None, few, genetic=False),
        )
        return DenseMarginal(dense_form(Covariance(terms, np.zeros(N, dtype=np.intp)), X))
    terms = (simple_term("A", kernel(rng, N, 30), each), two)
    return DenseMarginal(dense_form(Covariance(terms, each % 2), X))


def pattern(X: Floats) -> IncompleteTraits:
    """The same traits in the eigenbasis of all ten people."""

    first = terms_of_traits()[0]
    assert first.kernel is not None
    parts = [
        Cohort(np.arange(float(m)), np.ones((m, 1)), people(10)[:m], ("intercept",), name)
        for m, name in ((10, "a"), (8, "b"))
    ]
    return incomplete_traits(stack_traits(parts), first.kernel, X)


def coefficients(kind: str, seed: int) -> Floats:
    """Random ones with every Σ positive definite."""
    rng, covariance = np.random.default_rng(seed), marginal(kind).covariance
    out: list[float] = []
    for term in covariance.terms:
        S = kernel(rng, term.k, term.k + 1)
        out += [S[pair] for pair in term.pairs]
    return np.array([*out, *rng.uniform(0.2, 2.0, covariance.classes)])


@cache
def data(kind: str) -> tuple[Floats, Floats]:
    """y and β."""
    rng = np.random.default_rng(4)
    one = marginal(kind)
    y = 3.0 + one.design @ rng.standard_normal(one.p) + 2 * rng.standard_normal(N)
    beta = np.linalg.lstsq(one.design, y)[0] + 0.2 * rng.standard_normal(one.p)
    return y, beta


def joint(terms: Any, c: Floats, covariance: Covariance) -> tuple[Floats, Floats]:
    """Covariance of all effects, column by column, and of them with the records."""
    blocks, loads = [], []
    for term, S in zip(terms, covariance.unpack(c[None])[0], strict=True):
        A = np.eye(term.q) if term.kernel is None else term.kernel
        blocks.append(np.kron(S[0], A))
        loads.append(np.hstack([term.incidence(j).toarray() for j in range(term.k)]))
    wide = np.zeros((sum(map(len, blocks)),) * 2)
    at = 0
    for block in blocks:
        wide[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return wide, wide @ np.hstack(loads).T


def flat(effects: dict[str, Floats], row: int = 0) -> Floats:
    return np.concatenate([values[row] for values in effects.values()])


@EACH
def test_what_the_density_says_of_itself(kind: str) -> None:
    one, several = marginal(kind), kind.startswith("two traits")
    assert (one.n, one.p, one.traits) == (N, 4 if several else 2, 2 if several else 1)
    assert one.signature == "(p),(c)->(n)"
    assert one.trait_index.tolist() == ([0] * 10 + [1] * 8 if several else [0] * N)
    assert one.effect_names == tuple(name for group in one.effect_groups for name in group)
    assert one.part_names == (("random",) if several else one.effect_names)
    assert (one.spectrum, one.compiled, one.expensive, one.complete) == (None, None, False, False)
    assert (one.contrasts(data(kind)[0]) is None) == several
    ((dims, X),) = one.constant_data(data(kind)[0]).values()
    assert dims == ("individual", "covariate")
    np.testing.assert_array_equal(X, one.design)


@EACH
def test_the_density_with_beta_and_without(kind: str) -> None:
    one, (y, beta) = marginal(kind), data(kind)
    at = one.quadratic(y)
    factor = np.diag(np.linspace(1.0, 2.0, one.p))
    for seed in range(4):
        c = coefficients(kind, seed)
        V = one.covariance.dense(c)
        found = at([c])
        assert found is not None
        exact = multivariate_normal(one.design @ beta, V).logpdf(y)
        assert found.at(beta) == pytest.approx(exact, rel=1e-9)
        value, d_beta, _ = one.logp_gradient(one.rotate(y), beta, c)
        assert value == pytest.approx(exact, rel=1e-9)
        close(d_beta, one.design.T @ np.linalg.solve(V, y - one.design @ beta))
        matrices = list(one.covariance.matrices())
        whole, slope = log_marginal_density(y, one.design, matrices, c, beta, factor)
        assert integrate_beta(found, beta, factor) == pytest.approx(whole, rel=1e-9)
        gradient = one.gradient(y)
        assert (gradient is None) == ("cheap" in kind)
        if gradient is not None:
            value, (d_c,) = gradient([c], beta, factor)
            assert value == pytest.approx(whole, rel=1e-9)
            close(d_c, slope, 1e-8)


def close(found: Any, expected: Any, tolerance: float = 1e-9) -> None:
    """Within a tolerance of the largest entry."""
    expected = np.asarray(expected)
    size = tolerance * max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=size)


@EACH
def test_solve_one_draw_or_many_equal_ones(kind: str) -> None:
    one = marginal(kind)
    c = np.stack([coefficients(kind, seed) for seed in (0, 1, 0, 2, 1)])
    r = np.random.default_rng(5).standard_normal((5, N))
    found = one.solve([c], r)
    for x, row, at in zip(found, r, c, strict=True):
        close(one.covariance.dense(at) @ x, row)
    with pytest.raises(np.linalg.LinAlgError, match=r"not (positive )?definite"):
        one.solve([-c], r)


@EACH
def test_effects_have_the_conditional_mean_and_covariance(kind: str) -> None:
    one, (y, beta) = marginal(kind), data(kind)
    for seed in range(3):
        c = coefficients(kind, seed)
        V = one.covariance.dense(c)
        wide, cross = joint(one.covariance.terms, c, one.covariance)
        half = np.linalg.solve(V, cross.T)

        def draw(rng: Any, c: Floats = c) -> Floats:
            ((where, found),) = one.random_effects(y, beta[None], [c[None]], rng)
            assert where.tolist() == [0]
            assert tuple(found) == one.effect_names
            return flat(found)

        mean, cov = moments(draw)
        close(mean, half.T @ (y - one.design @ beta))
        close(cov, wide - cross @ half)


@EACH
def test_genetic_values_expected(kind: str) -> None:
    one, (y, beta) = marginal(kind), data(kind)
    c = np.stack([coefficients(kind, seed) for seed in range(3)])
    found = one.genetic_mean(y, np.tile(beta, (3, 1)), [c])
    assert len(found) == one.traits
    for k in range(3):
        x = np.linalg.solve(one.covariance.dense(c[k]), y - one.design @ beta)
        close(np.concatenate([part[k] for part in found]), some_terms(one, c[k], "genetic") @ x)


def some_terms(one: DenseMarginal, c: Floats, which: str) -> Floats:
    """V(c) with the genetic terms alone, or without the residual."""
    chosen, start = np.zeros_like(c), 0
    for term in one.covariance.terms:
        stop = start + len(term.pairs)
        if term.genetic or which == "all terms":
            chosen[start:stop] = c[start:stop]
        start = stop
    return one.covariance.dense(chosen)


@EACH
def test_simulated_records_and_their_parts(kind: str) -> None:
    one, (_, beta) = marginal(kind), data(kind)
    which = "genetic" if kind.startswith("two traits") else "all terms"
    for seed in range(3):
        c = coefficients(kind, seed)
        mean, cov = moments(lambda rng, c=c: one.simulate(beta, [c], rng)[0])
        close(mean, one.design @ beta)
        close(cov, one.covariance.dense(c))

        def random_part(rng: Any, c: Floats = c) -> Floats:
            parts = one.simulate(beta, [c], rng)[1]
            return np.concatenate([np.sum(part.parts, axis=0)[0] for part in parts])

        close(moments(random_part)[1], some_terms(one, c, which))
    y, parts = one.simulate(beta, [coefficients(kind, 4)], np.random.default_rng(6))
    assert len(parts) == one.traits
    for t, part in enumerate(parts):
        rows = one.trait_index == t
        np.testing.assert_array_equal(part.y, y[rows])
        close(part.fixed[0], (one.design @ beta)[rows])
        close(part.ones, np.full(rows.sum(), rows.sum() ** -0.5))
        assert len(part.parts) == len(one.part_names)


@EACH
def test_what_is_realised_is_what_is_drawn(kind: str) -> None:
    one, (y, beta) = marginal(kind), data(kind)
    c, betas = np.tile(coefficients(kind, 7), (4, 1)), np.tile(beta, (4, 1))
    ((where, drawn),) = one.random_effects(y, betas, [c], np.random.default_rng(8))
    (found,) = one.realised(y, betas, [c], np.random.default_rng(8))
    parts = {
        name: drawn[name] @ term.incidence(j).T
        for term in one.covariance.terms
        for j, name in enumerate(term.columns)
    }
    genetic = [n for t in one.covariance.terms if t.genetic for n in t.columns]
    g = np.sum([parts[name] for name in genetic], axis=0)
    np.testing.assert_array_equal(found.where, where)
    close(found.genetic(), g)
    shown = [g] if one.covariance.residual is None else list(parts.values())
    for t, part in enumerate(found.traits):
        rows = np.flatnonzero(one.trait_index == t)
        ones = np.full(rows.size, rows.size**-0.5)
        own = [x[:, rows] for x in shown]
        expected = realised_pve((betas @ one.design.T)[:, rows], own, y[rows], ones)
        for key, value in realised_pve(*part).items():
            close(value, expected[key])


@EACH
def test_predictions_of_more_levels(kind: str) -> None:
    """m = E[u | y], d has the conditional covariance; six levels more in the first kernel."""
    one, (y, beta) = marginal(kind), data(kind)
    first, *others = one.covariance.terms
    assert first.kernel is not None
    q = first.q
    root = np.vstack([
        np.linalg.eigh(first.kernel)[1] * np.sqrt(np.maximum(np.linalg.eigvalsh(first.kernel), 0)),
        np.random.default_rng(9).standard_normal((6, q)) / q,
    ])  # fmt: skip
    terms = (replace(first, kernel=root @ root.T), *others)
    for seed in range(2):
        c = coefficients(kind, seed)

        def draw(rng: Any, c: Floats = c) -> tuple[Floats, Floats]:
            (found,) = one.predict(y, beta[None], [c[None]], terms, rng)
            return flat(found.mean), flat(found.deviation)

        wide, cross = joint(terms, c, one.covariance)
        half = np.linalg.solve(one.covariance.dense(c), cross.T)
        mean, cov = moments(lambda rng: draw(rng)[1])
        close(draw(np.random.default_rng(10))[0], half.T @ (y - one.design @ beta), 1e-7)
        close(mean, np.zeros(len(wide)))
        close(cov, wide - cross @ half, 1e-7)


def test_contrasts_whiten_the_records() -> None:
    kind = "two effects, two classes"
    one, (y, _), rows = marginal(kind), data(kind), np.array([4, 0, 9])
    X, c = one.design, coefficients(kind, 11)
    V = one.covariance.dense(c)
    H = np.stack([one.contrasts(e).at(c).white for e in np.eye(N)], axis=1)  # type: ignore[union-attr]
    close(H @ V @ H.T, np.eye(N - 2))
    close(H @ X, np.zeros((N - 2, 2)))
    contrasts = one.contrasts(y)
    assert contrasts is not None
    assert (contrasts.n, contrasts.cheap, contrasts.form is one.form) == (N, False, True)
    at, M = contrasts.at(c), np.eye(N) - X @ np.linalg.solve(X.T @ X, X.T)
    P = H.T @ H
    close(at.white, H @ y)
    close(at.scores(), P @ y)
    close(at.diagonal(), np.diag(P))
    close(at.block(rows), P[np.ix_(rows, rows)])
    close(contrasts.residuals(), M @ y)
    mean, cov = moments(lambda rng: at.residuals(1, rng)[:, 0])
    close(mean, np.zeros(N))
    close(cov, M @ V @ M)
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        contrasts.at(-c)


def test_some_of_the_records_also_without_a_class_of_the_residual() -> None:
    """A class that nobody is left in keeps its coefficient, with no influence."""
    kind = "two effects, two classes"
    one, (y, beta), c = marginal(kind), data(kind), coefficients(kind, 12)
    for some in (np.array([2, 7, 1, 0, 13, 11, 4]), np.arange(0, N, 2)):
        found = one.subset(some)
        assert found is not None
        V = one.covariance.dense(c)[np.ix_(some, some)]
        at, gradient = found.quadratic(y[some])([c]), found.gradient(y[some])
        assert at is not None
        assert gradient is not None
        exact = multivariate_normal(one.design[some] @ beta, V).logpdf(y[some])
        assert at.at(beta) == pytest.approx(exact, rel=1e-10)
        (slope,) = gradient([c], beta, np.eye(2))[1]
        assert slope.shape == c.shape
    assert found.empty_classes == 1
    assert slope[-1] == 0.0
    assert one.subset(np.array([3])) is None


def test_the_individuals_that_have_all_of_some_traits() -> None:
    one, (y, _) = marginal("two traits"), data("two traits")
    assert one.in_own_basis(y, 0, 1) is None  # eight people: too few
    assert marginal("two kernels").in_own_basis(y, 0) is None  # no traits
