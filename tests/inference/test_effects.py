"""Draws of the random effects given y, against the conditional normal distribution written out.

    Cov(u, y) = Σ[j, l] A W_lᵀ        u | y ~ N(C V⁻¹(y - Xβ), Cov(u) - C V⁻¹ Cᵀ)

V is the covariance of `model_cases`; Σ is read off the model's named variables here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytensor
import pytest
import scipy.linalg
from compiled_models import PYTHON, Compiled, compiled
from model_cases import Case, case, cases
from numpy.typing import NDArray

from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.errors import ModelError
from bayeslmm.inference.effects import random_effects
from bayeslmm.inference.pve import add_genetic
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.dense_marginal import DenseMarginal
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.terms import Term, residual_trait_term, trait_term

type Floats = NDArray[np.float64]

# PyTensor looks for a BLAS of its own, once, when it meets the LKJ prior of three traits
pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")

DRAWS = 4000


@cache
def evaluator(one: Case) -> Callable[..., dict[str, Any]]:
    """Every free and derived variable of a case's model at a point."""
    model = compiled(one).model
    named = [*model.free_RVs, *model.deterministics]
    graphs = model.replace_rvs_by_values(named)
    function = pytensor.function(model.value_vars, graphs, mode=PYTHON)
    return lambda point: {rv.name: value for rv, value in zip(named, function(*point), strict=True)}


def draws_at(one: Case, points: list[Any], chains: int = 1) -> Variables:
    """Variables as the engines hold them, (chain, draw, ...), at given points."""
    found = [evaluator(one)(point) for point in points]
    out: Variables = {}
    for name in found[0]:
        stacked = np.stack([np.asarray(one[name]) for one in found])
        shape = (chains, len(points) // chains, *stacked.shape[1:])
        out[name] = (("chain", "draw"), stacked.reshape(shape))
    return out


def inner_point(model: Compiled) -> list[Any]:
    """A point away from the edges, with β near least squares."""
    rng = np.random.default_rng(7)
    start = model.model.initial_point(1)
    return [np.asarray(start[v.name] + 0.4 * rng.standard_normal(np.shape(start[v.name])))
            for v in model.values]  # fmt: skip


def sigmas(one: Case, v: dict[str, Any]) -> list[Floats]:
    """Σ_t of every term by the docstrings of the models."""
    variance = v["variance"]
    if one.model == "maternal":
        a, m, am, c, _ = variance
        return [np.array([[a, am], [am, m]]), np.array([[c]])]
    if one.model == "gxe":
        cross = v["r_intercept_slope"] * np.sqrt(variance[0] * variance[1])
        return [np.array([[variance[0], cross], [cross, variance[1]]])]
    if one.model == "bivariate":
        k = len(variance) // 2
        sd = np.sqrt(variance)
        G = v["r_g"] * np.outer(sd[:k], sd[:k])
        return [G, v["r_e"] * np.outer(sd[k:], sd[k:])]
    return [np.array([[x]]) for x in variance[:-1]]


def terms_of(one: Case) -> tuple[Term, ...]:
    """The terms of a dense model; those of several traits with a common eigenbasis, too."""
    marginal = require_marginal(compiled(one).model)
    if isinstance(marginal, DenseMarginal):
        return marginal.covariance.terms
    return trait_term(one.cohort, *one.matrices), residual_trait_term(one.cohort)


def conditional(one: Case, v: dict[str, Any], count: int) -> tuple[Floats, Floats, list[int]]:
    """Mean and covariance of the effects of the first `count` terms given y; levels of each."""
    y, X = one.cohort.y, one.cohort.X
    V = np.zeros((y.size, y.size))
    c = [float(x) for x in one.coefficients(v)]
    for x, M in zip(c, [*one.parts, np.eye(y.size)], strict=True):
        V += x * np.asarray(M, dtype=np.float64)
    priors, crosses, sizes = [], [], []
    for term, S in zip(terms_of(one)[:count], sigmas(one, v), strict=False):
        A = np.eye(term.q) if term.kernel is None else term.kernel
        W = [term.incidence(j).toarray() for j in range(term.k)]
        priors.append(np.kron(S, A))
        crosses += [sum(S[j, i] * A @ W[i].T for i in range(term.k)) for j in range(term.k)]
        sizes += [term.q] * term.k
    C, P = np.vstack(crosses), scipy.linalg.block_diag(*priors)
    half = np.linalg.solve(V, C.T)
    return half.T @ (y - X @ v["beta"]), P - C @ half, sizes


MOMENTS = [
    case("dominance"),
    case("dominance", "rank 3, uncentred, 3 covariates"),
    case("repeated"),
    case("maternal"),
    case("gxe", "records and groups"),
    case("bivariate", "2 traits"),
    case("bivariate", "2 traits, some missing"),
]


@pytest.mark.parametrize("one", MOMENTS, ids=str)
def test_mean_and_covariance_of_the_effects(one: Case) -> None:
    """4000 draws at one point: 5 standard errors of every entry, over about 4000 comparisons."""
    model = compiled(one)
    point = inner_point(model)
    v = evaluator(one)(point)
    variables = draws_at(one, [point])
    many = {
        name: (dims, np.broadcast_to(value, (2, DRAWS // 2, *value.shape[2:])))
        for name, (dims, value) in variables.items()
    }
    names = require_marginal(model.model).effect_names
    found: dict[str, list[Floats]] = {name: [] for name in names}
    seen = []
    for where, effects in random_effects(model.model, many, np.random.default_rng(1), 1500):
        seen.append(where)
        for name in names:
            found[name].append(effects[name])
    assert sorted(np.concatenate(seen)) == list(range(DRAWS))
    u = np.hstack([np.concatenate(found[name]) for name in names])
    mean, cov, sizes = conditional(one, v, 1 if one.spectral else 9)
    assert [found[name][0].shape[1] for name in names] == sizes
    sd = np.sqrt(np.maximum(np.diag(cov), 0.0))
    floor = 1e-6 * sd.max()  # a kernel's null space: no variance, rounding only
    assert np.abs((u.mean(axis=0) - mean) / (sd + floor)).max() < 5 / np.sqrt(DRAWS)
    z = u - mean
    spread = np.sqrt((np.outer(sd, sd) ** 2 + cov**2) / DRAWS) + floor**2
    assert np.abs((z.T @ z / DRAWS - cov) / spread).max() < 5


# (records of one individual differ, and only a residual can do that: not `repeated`)
@pytest.mark.parametrize(
    "one", [c for c in MOMENTS if not c.spectral and c.model != "repeated"], ids=str
)
def test_every_draw_goes_with_its_own_parameters(one: Case) -> None:
    """Next to no residual: Xβ + Σ Wu is y in every draw, whatever its β and its variances.

    Where a term stands for the residual, it is exactly so.
    """
    model = compiled(one)
    where_share = [v.name for v in model.values]
    points = []
    for k in range(12):
        point = [np.array(x) for x in inner_point(model)]
        for i, name in enumerate(where_share):
            if name == "share_logratio__":
                point[i] = point[i] + np.log(1e8)
            else:
                point[i] = point[i] + 0.1 * (k % 5)  # some draws share their parameters
        points.append(point)
    variables = draws_at(one, points, chains=2)
    beta = np.asarray(variables["beta"][1]).reshape(12, -1)
    terms = terms_of(one)
    seen = []
    for where, effects in random_effects(model.model, variables, np.random.default_rng(2), 5):
        seen += list(where)
        for i, draw in enumerate(where):
            fitted = one.cohort.X @ beta[draw]
            for term in terms:
                for j, name in enumerate(term.columns):
                    fitted = fitted + term.incidence(j) @ effects[name][i]
            rest = np.abs(fitted - one.cohort.y).max() / one.cohort.y.std()
            assert rest < (1e-8 if one.model == "bivariate" else 5e-2)
    assert sorted(seen) == list(range(12))


def test_a_second_call_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = case("gxe")
    model = compiled(one)
    variables = draws_at(one, [inner_point(model)] * 4)
    first = list(random_effects(model.model, variables, np.random.default_rng(3)))

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a function was compiled")

    monkeypatch.setattr(pytensor, "function", refuse)
    again = list(random_effects(model.model, variables, np.random.default_rng(3)))
    for name, value in first[0][1].items():
        np.testing.assert_array_equal(again[0][1][name], value)


def test_a_latent_model_has_nothing_to_draw() -> None:
    one = case("additive_cholesky")
    model = compiled(one)
    variables = draws_at(one, [inner_point(model)] * 4)
    with pytest.raises(ModelError, match="not a marginal normal distribution: g is a parameter"):
        list(random_effects(model.model, variables, np.random.default_rng(3)))


def test_a_covariance_that_is_not_definite_is_an_error_not_a_draw() -> None:
    """One bad draw among good ones; the good ones alone are solved as by a dense V."""
    one = case("dominance")
    marginal = require_marginal(compiled(one).model)
    c = np.array([[0.4, 0.3, 0.5], [0.4, 0.3, -9.0]])
    r = np.random.default_rng(11).standard_normal((3, one.cohort.n))
    V = sum(c[0, k] * np.asarray(M, dtype=float) for k, M in enumerate(one.parts))
    V = V + c[0, 2] * np.eye(one.cohort.n)
    which = np.zeros(3, dtype=np.intp)
    np.testing.assert_allclose(
        marginal.solve([c[which]], r), np.linalg.solve(V, r.T).T, rtol=1e-9, atol=1e-12
    )
    which[1] = 1
    with pytest.raises(np.linalg.LinAlgError, match="covariance of a posterior draw is not def"):
        marginal.solve([c[which]], r)


# The realised PVE of every model

EACH = [
    next(one for one in cases() if one.model == name)
    for name in sorted({one.model for one in cases()})
] + [case("bivariate", "3 traits, some missing"), case("additive", "pedigree")]


@pytest.mark.parametrize("one", EACH, ids=str)
@pytest.mark.parametrize("keep", [False, True])
def test_the_parts_add_to_one_in_every_draw(one: Case, keep: bool) -> None:
    """`pve_share` sums to one to 1e-12 in every draw, of every trait; the contract's names."""
    model = compiled(one)
    points = model.points(seed=8, count=20)[8:]
    variables = draws_at(one, points, chains=2)
    parts = add_genetic(model.model, variables, np.random.default_rng(4), keep=keep)
    assert (parts[0], parts[-2:]) == ("fixed", ["covariance", "residual"])
    dims, share = variables["pve_share"]
    several = one.cohort.trait_index is not None
    T = len(one.cohort.trait_names)
    assert dims == ("chain", "draw", *(["trait"] if several else []), "pve_part")
    assert share.shape == (2, 6, *([T] if several else []), len(parts))
    np.testing.assert_allclose(share.sum(axis=-1), 1.0, atol=1e-12)
    assert (np.delete(share, len(parts) - 2, axis=-1) >= 0).all()
    for name in ("pve_fixed", "pve_random", "pve_total"):
        assert variables[name][1].shape == share.shape[:-1]
        assert np.isfinite(variables[name][1]).all()
    assert ("g" in variables) == keep
    assert keep or "g_z" not in variables
    if keep:
        assert variables["g"][1].shape == (2, 6, one.cohort.n)


def expected_parts(one: Case, effects: dict[str, Floats], beta: Floats) -> list[Floats]:
    """Xβ and every part of the records, (draws, n) each."""
    out = [beta @ one.cohort.X.T]
    for term in terms_of(one):
        for j, name in enumerate(term.columns):
            out.append(effects[name] @ term.incidence(j).toarray().T)
    return out


@pytest.mark.parametrize("name", ["partitioned", "household", "maternal", "gxe", "repeated"])
def test_the_parts_are_the_covariances_of_the_draws(name: str) -> None:
    """With the same random numbers: var and cov of np.cov, g the genetic parts' sum."""
    one = case(name)
    model = compiled(one)
    variables = draws_at(one, model.points(seed=9, count=12)[6:])
    drawn = list(random_effects(model.model, variables, np.random.default_rng(5)))
    assert len(drawn) == 1
    where, effects = drawn[0]
    beta = np.asarray(variables["beta"][1]).reshape(6, -1)[where]
    add_genetic(model.model, variables, np.random.default_rng(5), keep=True)
    parts = expected_parts(one, effects, beta)
    genetic = [n for term in terms_of(one) if term.genetic for n in term.columns]
    columns = [n for term in terms_of(one) for n in term.columns]
    g = sum(part for part, n in zip(parts[1:], columns, strict=True) if n in genetic)
    np.testing.assert_allclose(variables["g"][1].reshape(6, -1)[where], g, rtol=1e-9, atol=1e-9)
    share = variables["pve_share"][1].reshape(6, -1)[where]
    for i in range(6):
        rows = [part[i] for part in parts]
        cov = np.cov(np.stack([*rows, one.cohort.y - sum(rows)]))
        within = cov[:-1, :-1]
        expected = [*np.diag(within), within.sum() - np.trace(within), cov[-1, -1]]
        np.testing.assert_allclose(share[i], np.array(expected) / np.sum(expected), atol=1e-9)


def test_one_kernel_is_drawn_in_its_eigenbasis() -> None:
    one = require_marginal(compiled(case("additive")).model)
    assert isinstance(one, KernelMarginal)
    assert one.effect_names == ("additive",)
    two = require_marginal(compiled(case("bivariate", "2 traits")).model)
    assert isinstance(two, KernelMarginal)
    assert two.effect_names == ("additive:a", "additive:b")
    several = require_marginal(compiled(case("bivariate", "2 traits, some missing")).model)
    assert several.effect_names[2:] == ("residual:a", "residual:b")
