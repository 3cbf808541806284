"""Several traits with values missing: against the covariance of the records written out.

``V_oo = (G ⊗ K + R ⊗ I)[cells]``, by SciPy or by a Cholesky factorisation in extended precision.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytest
import scipy.linalg
from numpy.typing import NDArray
from scipy.stats import multivariate_normal

from bayeslmm import models
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.traits import stack_traits
from bayeslmm.distributions.phenotype import require_marginal, set_phenotype
from bayeslmm.individuals import individual_index
from bayeslmm.inference.effects import random_effects
from bayeslmm.inference.effects_candidates import extend_effects
from bayeslmm.inference.laplace import laplace
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.likelihood import incomplete
from bayeslmm.likelihood.dense import beta_quadratic, dense_form
from bayeslmm.likelihood.incomplete import IncompleteTraits, fast_traits, incomplete_traits
from bayeslmm.likelihood.incomplete_marginal import IncompleteMarginal
from bayeslmm.likelihood.terms import Covariance, residual_trait_term, trait_term
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]

Q = 30
KERNELS = ("uncentred", "centred", "rank 20")


def kernel(kind: str, q: int = Q) -> Floats:
    """Regular; singular by its mean; of 20 dimensions (fewer than any number of records)."""
    Z = np.random.default_rng(3).standard_normal((q, 20 if kind == "rank 20" else 3 * q))
    Z += 0.5 if kind == "uncentred" else 0.0
    Z -= Z.mean(axis=0) if kind == "centred" else 0.0
    return np.asarray(Z @ Z.T / Z.shape[1])


def people(q: int = Q) -> Any:
    return individual_index(["0"] * q, [f"i{k}" for k in range(q)])


@cache
def cohort(T: int, pattern: str = "missing", q: int = Q) -> Cohort:
    """The first of three traits is complete; trait k has k + 1 fixed effects, one a year."""
    rng, alone = np.random.default_rng(T), []
    order = rng.permutation(q)
    for k in range(T):
        some = pattern == "missing" and (k > 0 or T == 2)
        who = np.sort(np.roll(order, q // 4 * k)[q // 4 if some else 0 :])
        X = np.column_stack([np.ones(len(who)), 1990.0 + rng.integers(-6, 7, len(who)),
                             rng.standard_normal(len(who))])[:, : k + 1]  # fmt: skip
        y = 10.0**k * (30 + rng.standard_normal(len(who)))
        names = ("intercept", "year", "x")[: k + 1]
        alone.append(Cohort(y, np.ascontiguousarray(X), people(q)[who], names, "abc"[k]))
    return stack_traits(alone)


def form(T: int, kind: str, pattern: str = "missing") -> IncompleteTraits:
    one = cohort(T, pattern)
    return incomplete_traits(one, own_kernel(one, kind), one.X)


def own_kernel(one: Cohort, kind: str) -> Floats:
    """K in the order in which the cohort's people come."""
    rows = people(len(one.people)).get_indexer(one.people)
    return np.ascontiguousarray(kernel(kind, len(rows))[np.ix_(rows, rows)])


def covariances(T: int, seed: int, highest: float | None = None) -> tuple[Floats, Floats]:
    """G and R of traits on the scales 1, 10, 100, canonical heritabilities random or the highest
    given."""
    rng = np.random.default_rng(seed)
    h = rng.uniform(0.02, 0.98, T)
    h[0] = h[0] if highest is None else highest
    Phi = 10.0 ** np.arange(T)[:, None] * (rng.standard_normal((T, T)) + np.eye(T))
    return Phi * h @ Phi.T, Phi * (1 - h) @ Phi.T


def written_out(one: Cohort, K: Floats, G: Any, R: Any) -> Any:
    t, i = one.trait_index, one.levels
    assert t is not None
    return G[np.ix_(t, t)] * K[np.ix_(i, i)] + R[np.ix_(t, t)] * (i[:, None] == i)


def extended_precision(V: Any, r: Any) -> float:
    """log N(r; 0, V) in long double."""
    L, z = np.array(V, dtype=np.longdouble), np.array(r, dtype=np.longdouble)
    for j in range(len(L)):
        L[j, j] = np.sqrt(L[j, j] - L[j, :j] @ L[j, :j])
        L[j + 1 :, j] = (L[j + 1 :, j] - L[j + 1 :, :j] @ L[j, :j]) / L[j, j]
        z[j] = (z[j] - L[j, :j] @ z[:j]) / L[j, j]
    total = len(z) * np.log(2 * np.longdouble(np.pi)) + 2 * np.log(np.diagonal(L)).sum() + z @ z
    return float(-total / 2)


def logp(where: IncompleteTraits, y: Floats, beta: Floats, G: Floats, R: Floats) -> float:
    """log p(y | β, G, R); -inf where there is no density."""
    residual = y - where.basis @ (where.triangle @ beta)
    records = incomplete.rotated_records(where, residual)
    found = incomplete.quadratic(where, records, G, R)
    return -np.inf if found is None else found.at(np.zeros_like(beta))


def marginal(one: Cohort, kind: str, where: IncompleteTraits) -> IncompleteMarginal:
    """The density with its terms, on the scale of the kernel."""
    K = Relationship(own_kernel(one, kind), one.people, kernel_scale="none")
    terms = (trait_term(one, K), residual_trait_term(one))
    return IncompleteMarginal(dense_form(Covariance(terms, None), one.X, lazy=True), pattern=where)


def triangles(G: Floats, R: Floats) -> Floats:
    """The coefficients of G and R."""
    lower = np.tril_indices(len(G))
    return np.concatenate([G[lower], R[lower]])


def solve_alone(where: IncompleteTraits, G: Floats, R: Floats, r: Floats) -> Floats:
    """The rows r of one G and R by a Cholesky factorisation, as those that do not converge."""
    return where.unrotate(incomplete._solve_rotated(where, G, R, where.rotate(r)))


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("T", [2, 3])
@pytest.mark.parametrize("pattern", ["missing", "complete"])
def test_the_density_is_the_dense_one(T: int, kind: str, pattern: str) -> None:
    """Ten (G, R), random canonical heritabilities: relative 1e-10. "complete" differs in X only."""
    one, K, where = cohort(T, pattern), own_kernel(cohort(T, pattern), kind), form(T, kind, pattern)
    beta = np.linalg.lstsq(one.X, one.y)[0] * 1.001
    records = incomplete.rotated_records(where, one.y)
    for seed in range(10):
        G, R = covariances(T, seed)
        V = written_out(one, K, G, R)
        expected = extended_precision(V, one.y - one.X @ beta)
        assert logp(where, one.y, beta, G, R) == pytest.approx(expected, rel=1e-10)
        quadratic = incomplete.quadratic(where, records, G, R)
        assert quadratic is not None
        assert quadratic.at(beta) == pytest.approx(expected, rel=1e-9)  # sums of 1e5 cancel


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("T", [2, 3])
def test_the_quadratic_is_the_dense_forms(T: int, kind: str) -> None:
    """The constant, ``P = AᵀA`` and ``h = Aᵀw``: 1e-9 of their own size, in units of R = QᵀX."""
    one, K, where = cohort(T), own_kernel(cohort(T), kind), form(T, kind)
    relationship = Relationship(K, one.people, name="additive", kernel_scale="none")
    terms = (trait_term(one, relationship), residual_trait_term(one))
    kernel_of_terms = terms[0].kernel
    assert kernel_of_terms is not None
    assert terms[1].kernel is None
    scale = kernel_of_terms[0, 0] / K[0, 0]  # that of the analysis
    dense = dense_form(Covariance(terms, None), one.X)
    records = incomplete.rotated_records(where, one.y)
    back = np.linalg.inv(where.triangle)
    for seed in range(5):
        G, R = covariances(T, seed)
        c = triangles(G / scale, R)
        expected = beta_quadratic(dense, dense.rotate(one.y), c)
        found = incomplete.quadratic(where, records, G, R)
        assert expected is not None
        assert found is not None
        assert found.level == pytest.approx(expected.level, rel=1e-9)
        a, b = (one.A @ back for one in (found, expected))
        np.testing.assert_allclose(a.T @ a, b.T @ b, rtol=1e-9, atol=1e-9 * np.abs(b.T @ b).min())
        np.testing.assert_allclose(a.T @ found.w, b.T @ expected.w, rtol=1e-8)


@pytest.mark.parametrize("T", [2, 3])
@pytest.mark.parametrize("kind", ["uncentred", "centred"])
def test_near_the_edge_of_a_singular_kernel(T: int, kind: str) -> None:
    """Up to h = 1 - 1e-6 to 1e-8; beyond it to 1e-4, or no density; a regular kernel to 1e-8."""
    one, K, where = cohort(T), own_kernel(cohort(T), kind), form(T, kind)
    given_up, rng = 0, np.random.default_rng(7)
    for power in range(1, 14):
        G, R = covariances(T, power, highest=1 - 10.0**-power)
        V = written_out(one, K, np.asarray(G, np.longdouble), np.asarray(R, np.longdouble))
        y, _ = marginal(one, kind, where).simulate(np.zeros(one.p), [triangles(G, R)], rng)
        expected = extended_precision(V, y)
        found = logp(where, y, np.zeros(one.p), G, R)
        close = 1e-8 if kind == "uncentred" or power <= 6 else 1e-4
        given_up += found == -np.inf
        assert found == pytest.approx(expected, abs=close) or (found == -np.inf and power > 8)
    assert (given_up > 0) == (kind == "centred")


def test_outside_there_is_no_density() -> None:
    one, where = cohort(2), form(2, "centred")
    records, beta = incomplete.rotated_records(where, one.y), np.zeros(one.p)
    for G, R in (
        (np.eye(2), np.zeros((2, 2))),  # the kernel is singular
        (np.eye(2), np.array([[1.0, 1.1], [1.1, 1.0]])),
        (-np.eye(2), np.eye(2)),
        (np.zeros((2, 2)), np.ones((2, 2))),
    ):
        assert incomplete.quadratic(where, records, G, R) is None
        assert logp(where, one.y, beta, G, R) == -np.inf
        with pytest.raises(np.linalg.LinAlgError):
            solve_alone(where, G, R, one.y[None])
    with pytest.raises(np.linalg.LinAlgError):
        marginal(one, "centred", where).simulate(
            beta, [triangles(-np.eye(2), np.eye(2))], np.random.default_rng(1)
        )


def test_effects_that_cannot_be_told_from_a_singular_kernel() -> None:
    """Without residual variance 1 has no variance under a centred kernel, so every effect that is
    not orthogonal to it drowns the others: no density rather than one of rounding errors."""
    one = cohort(3, "complete")
    K, unit = own_kernel(one, "centred"), np.diag([1.0, 10.0, 100.0])
    G = unit @ (np.eye(3) + 0.3) @ unit
    none = 0
    for seed in range(8):  # other columns of the same model: in none is 1 a column by itself
        X = one.X @ np.random.default_rng(seed).standard_normal((one.p, one.p))
        where = incomplete_traits(one, K, X)
        records = incomplete.rotated_records(where, one.y)
        assert incomplete.quadratic(where, records, G, 0.3 * unit @ unit) is not None
        none += incomplete.quadratic(where, records, G, 1e-30 * unit @ unit) is None
    assert none > 0


def test_solve_each_says_when_a_draw_has_no_precision_of_the_missing() -> None:
    """Each (G, R) has a precision of all cells; that of the missing ones is singular to rounding.
    Draws beside it are not at fault: without it they are solved."""
    one, where = cohort(2), form(2, "centred")
    G = np.stack([np.eye(2)] * 3)
    R = np.stack([scale * np.eye(2) for scale in (1.0, 0.5, 1e-30)])
    r = np.random.default_rng(5).standard_normal((3, one.n))
    with pytest.raises(np.linalg.LinAlgError, match="of the traits is not positive definite"):
        incomplete.solve_each(where, G, R, r)
    K = own_kernel(one, "centred")
    found = incomplete.solve_each(where, G[:2], R[:2], r[:2])
    for k in range(2):
        expected = np.linalg.solve(written_out(one, K, G[k], R[k]), r[k])
        np.testing.assert_allclose(found[k], expected, rtol=1e-8, atol=1e-9)


def test_a_regular_kernel_needs_no_residual() -> None:
    one, K, where = cohort(2), own_kernel(cohort(2), "uncentred"), form(2, "uncentred")
    G = np.array([[1.0, 0.4], [0.4, 2.0]])
    beta = np.linalg.lstsq(one.X, one.y)[0]
    V = written_out(one, K, G, np.zeros((2, 2)))
    expected = multivariate_normal.logpdf(one.y - one.X @ beta, None, V)
    found = logp(where, one.y, beta, G, np.zeros((2, 2)))
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("pattern", ["missing", "complete"])
def test_solve_is_numpys(kind: str, pattern: str) -> None:
    for T in (2, 3):
        one, where = cohort(T, pattern), form(T, kind, pattern)
        r = np.random.default_rng(5).standard_normal((4, one.n))
        unit = 10.0**one.trait_index  # type: ignore[operator]
        for seed in range(3):
            G, R = covariances(T, seed)
            V = written_out(one, own_kernel(one, kind), G, R) / np.outer(unit, unit)
            expected = np.linalg.solve(V, (r / unit).T).T / unit
            found = solve_alone(where, G, R, r)
            np.testing.assert_allclose(found * unit, expected * unit, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("pattern", ["missing", "complete"])
def test_solve_each_is_solve(kind: str, pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together by conjugate gradients, also where (G, R) have nothing in common; or one by one."""
    one, where = cohort(3, pattern), form(3, kind, pattern)
    unit = 10.0**one.trait_index  # type: ignore[operator]
    r = np.random.default_rng(5).standard_normal((12, one.n))
    G, R = (np.stack(part) for part in zip(*(covariances(3, k) for k in range(12)), strict=True))
    near = 0.05 * np.random.default_rng(6).uniform(size=(12, 1, 1))
    for A, B in ((G, R), (G[:1] * (1 + near), R[:1] * (1 - near))):
        single = np.vstack([solve_alone(where, A[k], B[k], r[k : k + 1]) for k in range(12)])
        for steps in (60, 1):
            monkeypatch.setattr(incomplete, "STEPS", steps)
            found = incomplete.solve_each(where, A, B, r)
            scale = np.abs(single * unit).max()
            np.testing.assert_allclose(found * unit, single * unit, rtol=0, atol=1e-10 * scale)
    with pytest.raises(np.linalg.LinAlgError):
        incomplete.solve_each(where, -G, R, r)


def test_draws_have_the_covariance() -> None:
    """4000 draws, every entry within 5 of its standard errors (1000 of them)."""
    one, K, where = cohort(2), own_kernel(cohort(2), "centred"), form(2, "centred")
    G, R = covariances(2, 4)
    rng = np.random.default_rng(6)
    beta = np.linalg.lstsq(one.X, one.y)[0]
    drawn = marginal(one, "centred", where)
    y = np.array([drawn.simulate(beta, [triangles(G, R)], rng)[0] for _ in range(4000)])
    V = written_out(one, K, G, R)
    spread = np.sqrt((np.outer(np.diag(V), np.diag(V)) + V**2) / 4000)
    r = y - one.X @ beta
    assert np.abs((r.T @ r / 4000 - V) / spread).max() < 5
    assert "stack" not in vars(drawn.form)  # nothing dense was made


def test_when_it_pays() -> None:
    """Not for one trait, nor for two that hardly anybody has both."""
    one = cohort(2)
    genetic = trait_term(one, Relationship(own_kernel(one, "centred"), one.people))
    assert fast_traits(one, genetic) is not None
    assert fast_traits(one, replace(genetic, kernel=None)) is None
    y = np.random.default_rng(1).standard_normal(Q)
    halves = [
        Cohort(y[part], np.ones((15, 1)), people()[part], ("intercept",), name)
        for part, name in ((slice(0, 15), "a"), (slice(15, Q), "b"))
    ]
    apart = stack_traits(halves)
    genetic = trait_term(apart, Relationship(own_kernel(apart, "centred"), apart.people))
    assert fast_traits(apart, genetic) is None
    assert fast_traits(halves[0], genetic) is None
    with pytest.raises(ValueError, match="at most one record"):
        incomplete_traits(halves[0], np.eye(15), np.ones((15, 1)))


# The model: its two forms have the same variables


@cache
def models_of_both(q: int = 60) -> tuple[Cohort, Relationship, pm.Model, pm.Model]:
    one = cohort(2, q=q)
    K = own_kernel(one, "centred")
    relationship = Relationship(K, one.people, name="additive")
    root = scipy.linalg.sqrtm(K + 1e-9 * np.eye(q)).real
    rng = np.random.default_rng(8)
    g = (np.linalg.cholesky([[0.6, 0.3], [0.3, 0.5]]) @ rng.standard_normal((2, q))) @ root
    e = np.linalg.cholesky([[0.4, 0.1], [0.1, 0.5]]) @ rng.standard_normal((2, q))
    assert one.trait_index is not None
    y = 7.0 + (g + e)[one.trait_index, one.levels] * 10.0**one.trait_index
    build = models.load("bivariate").function()
    fast = build(one, relationship)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(build.__globals__, "fast_traits", lambda *_: None)
        dense = build(one, relationship)
    for model in (fast, dense):
        set_phenotype(model, y)
    return one, relationship, fast, dense


def test_both_forms_give_the_same_density_of_any_phenotype() -> None:
    """1e-8 at ten points, also after the phenotype is exchanged; no dense matrices are made."""
    one, _, fast, dense = models_of_both()
    before = np.asarray(fast["phenotype_observed"].get_value())
    rng = np.random.default_rng(9)
    try:
        for y in (before, np.exp(one.y / one.y.std() / 10)):
            found = []
            for model in (fast, dense):
                set_phenotype(model, y)
                split = hyper(model)
                target = laplace.target_of(split, split.effects_prior(*split.data))
                points = target.start + np.random.default_rng(1).standard_normal((10, 6))
                found.append(np.array([target.log_density(u) for u in points]))
            np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-8)
    finally:
        for model in (fast, dense):
            set_phenotype(model, before)
    own, other = require_marginal(fast), require_marginal(dense)
    assert isinstance(own, IncompleteMarginal)
    assert not isinstance(other, IncompleteMarginal)
    assert own.gradient(before) is None
    assert other.gradient(before) is not None
    op, c = fast["phenotype"].owner.op, np.array([1.0, 0, 1, 1, 0, 1])
    assert op.rng_fn(rng, np.zeros((3, one.p)), c, None).shape == (3, one.n)
    assert "stack" not in vars(own.form)


def test_both_forms_have_the_same_posterior() -> None:
    """Means of 2000 draws within 4 standard errors, the evidence within 4 of its own."""
    _, _, fast, dense = models_of_both()
    fits = [
        laplace.fit_one(model, 2000, 4, np.random.default_rng(11), workers=1)
        for model in (fast, dense)
    ]
    assert all(one.weighted.ok for one in fits)
    errors = np.hypot(fits[0].weighted.mcse, fits[1].weighted.mcse)
    gap = fits[0].weighted.log_evidence - fits[1].weighted.log_evidence
    assert abs(gap) < 4 * errors
    for name in ("h2", "total_sd", "r_g_place", "r_e_place", "beta"):
        means, spread = [], []
        for one in fits:
            draws = np.asarray(one.values[name])
            means.append(draws.mean(axis=0))
            spread.append(np.sqrt(draws.var(axis=0) * (1 / one.weighted.ess + 1 / len(draws))))
        assert np.all(np.abs(means[0] - means[1]) < 4 * np.hypot(*spread)), name
    own = require_marginal(fast)
    assert isinstance(own, IncompleteMarginal)
    assert "stack" not in vars(own.form)


def test_both_forms_draw_the_same_effects_of_everybody() -> None:
    """From the same random numbers: those of the records, and three who have none."""
    one, relationship, fast, dense = models_of_both()
    found = laplace.fit_one(fast, 20, 1, np.random.default_rng(12), workers=1)
    variables: Any = {
        name: (("chain", "draw"), np.asarray(value)[None]) for name, value in found.values.items()
    }
    drawn = []
    for model in (fast, dense):
        blocks = list(random_effects(model, variables, np.random.default_rng(13), 8))
        drawn.append({k: np.concatenate([b[1][k] for b in blocks]) for k in blocks[0][1]})
    for name, value in drawn[0].items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(value, drawn[1][name], rtol=0, atol=1e-8 * scale)
    values, vectors = np.linalg.eigh(relationship.matrix)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    half = np.vstack([half, np.random.default_rng(15).standard_normal((3, 60)) / 8])
    wide, rows = half @ half.T, np.r_[people(63).get_indexer(one.people), 60:63]
    known = {"additive": Relationship(wide, people(63)[rows], name="additive")}
    parts = [
        list(extend_effects(model, one, known).draws(variables, np.random.default_rng(14)))
        for model in (fast, dense)
    ]
    for a, b in zip(*parts, strict=True):
        for first, second in ((a.mean, b.mean), (a.deviation, b.deviation)):
            for name, value in first.items():
                assert value.shape == (20, 63)
                scale = np.abs(value).max()
                np.testing.assert_allclose(value, second[name], rtol=0, atol=1e-8 * scale)
