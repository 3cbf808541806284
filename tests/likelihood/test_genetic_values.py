"""Genetic values given the parameters, of one trait and of several, against dense formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engine_oracles import Data, exact_tree, family_data, sibships, simulated, small
from engine_oracles import dense_blup as dense_blup_of_one
from kernel_problems import problems
from multitrait_oracles import correlated, covariance, dense_blup, stacked, traits
from oracles import blup
from scipy import stats

from bayeslmm.errors import InputError
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.genetic_values import draw_genetic, genetic_mean, root
from bayeslmm.likelihood.kernel_marginal import KernelMarginal

NAMES = ("centred GRM, X = 1", "uncentred GRM, 4 covariates", "pedigree")


def covariances(T: int, seed: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    first = np.zeros((T, T))
    first[0, 0] = 2.0
    genetic = [covariance(rng, T), correlated(T, 1 - 1e-8), first, 1e-9 * covariance(rng, T)]
    return [(G, covariance(rng, T)) for G in genetic]


# One trait

VARIANCES = [(3.0, 2.0), (1e-9, 4.0), (5.0, 1e-7), (0.02, 6.0)]


def cases() -> list[Data]:
    """A singular centred GRM with a covariate; a regular kernel coupled to X."""
    return [small(), simulated(15, 3, 0.5, seed=2, K=sibships(15, 3))]


def of_one(u: Any, e: Any) -> tuple[Any, Any]:
    """G and R (draws, 1, 1) of variances."""
    return tuple(np.reshape(x, (-1, 1, 1)).astype(float) for x in (u, e))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("u", "e"), VARIANCES)
def test_the_mean_of_one_trait_is_the_dense_formula(which: int, u: float, e: float) -> None:
    data = cases()[which]
    S = decompose(data.K, data.X)
    beta = np.linspace(6.0, 0.4, data.X.shape[1])
    rotated = S.rotate(data.y[:, None])
    found = S.unrotate(genetic_mean(rotated, beta[None], *of_one(u, e), S)[0, 0])
    wanted, _ = dense_blup_of_one(data, beta, u, e)
    assert found == pytest.approx(wanted, abs=1e-8 * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("u", "e"), VARIANCES)
def test_genetic_values_of_one_trait_have_the_dense_mean_and_covariance(
    which: int, u: float, e: float
) -> None:
    data = cases()[which]
    S = decompose(data.K, data.X)
    beta = np.linspace(6.0, 0.4, data.X.shape[1])
    draws = 20_000
    many = (np.tile(beta, (draws, 1)), *of_one([u] * draws, [e] * draws))
    rng = np.random.default_rng(which)
    blocks = list(draw_genetic(S.rotate(data.y[:, None]), *many, S, rng, block=7001))
    assert [part.start for part, _ in blocks] == [0, 7001, 14002]
    g = S.unrotate(np.concatenate([block[:, 0] for _, block in blocks]).T).T
    mean, cov = dense_blup_of_one(data, beta, u, e)
    sd = np.sqrt(np.maximum(np.diag(cov), 1e-300))
    assert np.abs((g.mean(axis=0) - mean) / (sd + 1e-9)).max() < 4.5 / np.sqrt(draws)
    scale = np.outer(sd, sd) + 1e-12
    assert np.abs((np.cov(g.T) - cov) / scale).max() < 5 * np.sqrt(2 / draws)
    white = (g[:, 0] - mean[0]) / sd[0]
    assert stats.kstest(white[:4000], "norm").pvalue > 1e-4


def test_kept_genetic_values_of_a_fit_average_to_the_averaged_mean() -> None:
    tree = exact_tree()
    posterior = tree["posterior"]
    data = family_data()
    g = posterior["g"].to_numpy().reshape(4000, -1)
    beta = posterior["beta"].to_numpy().reshape(4000, -1)
    variance = posterior["variance"].to_numpy().reshape(4000, 2)
    S = decompose(data.K, data.X)
    GR = of_one(variance[:, 0], variance[:, 1])
    expected = S.unrotate(genetic_mean(S.rotate(data.y[:, None]), beta, *GR, S)[:, 0].T).T
    error = g - expected  # mean zero in every draw
    z = error.mean(axis=0) / (error.std(axis=0) / np.sqrt(4000))
    assert np.abs(z).max() < 4.5
    assert list(posterior["g"].coords["individual"].to_numpy()) == list(data.cohort().labels)
    pve = g.var(axis=1, ddof=1) / data.y.var(ddof=1)
    assert posterior["pve_random"].to_numpy().ravel() == pytest.approx(pve, rel=1e-9)
    fixed = beta @ data.X.T
    total = (fixed + g).var(axis=1, ddof=1) / data.y.var(ddof=1)
    assert posterior["pve_total"].to_numpy().ravel() == pytest.approx(total, rel=1e-9)
    pve = fixed.var(axis=1, ddof=1) / data.y.var(ddof=1)
    assert posterior["pve_fixed"].to_numpy().ravel() == pytest.approx(pve, rel=1e-9)


# Several traits


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", [1, 2, 3])
def test_the_mean_is_the_dense_formula(name: str, T: int) -> None:
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, T, seed=1)
    where = covariances(T, seed=2) if T > 1 else [(np.eye(1), 0.3 * np.eye(1))]
    G, R = (np.stack(part) for part in zip(*where, strict=True))
    beta = np.tile(stacked(B), (len(where), 1))
    found = genetic_mean(S.rotate(Y), beta, G, R, S)
    for i in range(len(where)):
        expected, _ = dense_blup(Y, problem.X, problem.K, B, G[i], R[i])
        mine = stacked(S.unrotate(found[i].T))
        assert mine == pytest.approx(expected, abs=1e-8 * max(1.0, np.abs(expected).max()))


def test_one_trait_is_the_one_trait_blup() -> None:
    """``a K V⁻¹ (y - Xβ)`` written out in extended precision, to its rounding."""
    problem = problems()["uncentred GRM, 4 covariates"]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, 1, seed=3)
    one = blup(Y[:, 0], problem.X, problem.K, B[:, 0], 1.3, 0.4)
    many = genetic_mean(S.rotate(Y), B.T, *of_one(1.3, 0.4), S)
    np.testing.assert_allclose(S.unrotate(many[0, 0]), one, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ["tutorial", "pedigree"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_genetic_values_have_the_dense_conditional_mean_and_covariance(
    name: str, which: int
) -> None:
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, 2, seed=4)
    G, R = covariances(2, seed=5)[which]
    draws = 20_000
    many = (np.tile(value, (draws, *[1] * value.ndim)) for value in (stacked(B), G, R))
    rng = np.random.default_rng(6)
    blocks = list(draw_genetic(S.rotate(Y), *many, S, rng, block=7001))
    assert [part.start for part, _ in blocks] == [0, 7001, 14002]
    values = np.concatenate([block for _, block in blocks])
    assert values.shape == (draws, 2, S.n)
    u = (values @ S.basis.columns.T).reshape(draws, -1)
    mean, cov = dense_blup(Y, problem.X, problem.K, B, G, R)
    sd = np.sqrt(np.maximum(np.diag(cov), 0.0)) + 1e-7  # of a trait without variance: zero
    assert np.abs((u.mean(axis=0) - mean) / sd).max() < 4.5 / np.sqrt(draws)
    assert np.abs((np.cov(u.T) - cov) / np.outer(sd, sd)).max() < 5.5 * np.sqrt(2 / draws)


def test_every_draw_has_its_own_parameters() -> None:
    """With R → 0 and a regular kernel u is y - Xβ, whichever β and G a draw has."""
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, 2, seed=7)
    rng = np.random.default_rng(8)
    beta = stacked(B) + rng.standard_normal((6, B.size))
    G = np.stack([covariance(rng, 2) for _ in range(6)])
    R = np.tile(1e-20 * np.eye(2), (6, 1, 1))
    ((part, values),) = draw_genetic(S.rotate(Y), beta, G, R, S, rng)
    assert part == slice(0, 6)
    expected = Y.T - beta.reshape(6, 2, -1) @ problem.X.T
    np.testing.assert_allclose(values @ S.basis.columns.T, expected, atol=1e-7)


def test_a_draw_that_is_no_covariance_is_named() -> None:
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, 2, seed=9)
    G = np.tile(np.eye(2), (5, 1, 1))
    R = G.copy()
    G[3, 0, 1] = G[3, 1, 0] = 2.0
    beta = np.tile(stacked(B), (5, 1))
    with pytest.raises(InputError, match="draw 3"):
        list(draw_genetic(S.rotate(Y), beta, G, R, S, np.random.default_rng(1), block=2))


def test_phenotypes_without_variance_are_the_fixed_part() -> None:
    problem = problems()["pedigree"]
    S = decompose(problem.kernel, problem.X)
    _, B = traits(problem, 3, seed=10)
    zero = np.zeros((3, 3))
    marginal = KernelMarginal(S, 3, ("a", "b", "c"), matrices=True)
    found, parts = marginal.simulate(stacked(B), [zero, zero], np.random.default_rng(1))
    np.testing.assert_allclose(found, stacked(problem.X @ B), rtol=1e-12)
    assert all(not part.parts[0].any() for part in parts)


@pytest.mark.parametrize("r", [-1.0, 1.0, 1 - 1e-12, 0.3])
def test_roots_of_covariances_that_may_be_singular(r: float) -> None:
    A = np.stack([correlated(3, r), 1e-30 * correlated(3, -r), np.zeros((3, 3))])
    F = root(A)
    np.testing.assert_allclose(F @ np.swapaxes(F, 1, 2), A, rtol=0, atol=1e-15)
    np.testing.assert_allclose(F[1] @ F[1].T, A[1], rtol=0, atol=1e-45)
    np.testing.assert_array_equal(root(A[0]), F[0])


@pytest.mark.parametrize("bad", [[[-1e-9]], [[np.nan]], correlated(2, 1.0001), -np.eye(2)])
def test_what_is_no_covariance_has_no_root(bad: Any) -> None:
    bad = np.asarray(bad, dtype=float)
    with pytest.raises(np.linalg.LinAlgError, match=r"not positive semidefinite|converge"):
        root(np.stack([np.eye(len(bad)), bad]))
