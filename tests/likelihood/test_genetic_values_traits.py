"""Genetic values of several traits given the parameters, against dense formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bayeslmm.likelihood.genetic_values_traits import blup_multi, draw_genetic, draw_phenotypes
from kernel_problems import problems
from multitrait_oracles import correlated, covariance, dense_blup, stacked, traits

from bayeslmm.errors import InputError
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.genetic_values import blup

NAMES = ("centred GRM, X = 1", "uncentred GRM, 4 covariates", "pedigree")


def covariances(T: int, seed: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(seed)
    first = np.zeros((T, T))
    first[0, 0] = 2.0
    genetic = [covariance(rng, T), correlated(T, 1 - 1e-8), first, 1e-9 * covariance(rng, T)]
    return [(G, covariance(rng, T)) for G in genetic]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("T", [1, 2, 3])
def test_blup_equals_the_dense_formula(name: str, T: int) -> None:
    problem = problems()[name]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, T, seed=1)
    where = covariances(T, seed=2) if T > 1 else [(np.eye(1), 0.3 * np.eye(1))]
    G, R = (np.stack(part) for part in zip(*where, strict=True))
    beta = np.tile(stacked(B), (len(where), 1))
    found = blup_multi(S.rotate(Y), beta, G, R, S)
    for i in range(len(where)):
        expected, _ = dense_blup(Y, problem.X, problem.K, B, G[i], R[i])
        mine = stacked(S.unrotate(found[i].T))
        assert mine == pytest.approx(expected, abs=1e-8 * max(1.0, np.abs(expected).max()))


def test_one_trait_is_the_one_trait_blup() -> None:
    problem = problems()["uncentred GRM, 4 covariates"]
    S = decompose(problem.kernel, problem.X)
    Y, B = traits(problem, 1, seed=3)
    one = blup(S, S.rotate(Y[:, 0]), B.T, np.array([[1.3, 0.4]]))
    many = blup_multi(S.rotate(Y), B.T, np.array([[[1.3]]]), np.array([[[0.4]]]), S)
    np.testing.assert_allclose(many[:, 0], one, rtol=1e-10, atol=1e-12)


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
    found = draw_phenotypes(S, stacked(B), zero, zero, np.random.default_rng(1))
    np.testing.assert_allclose(found, stacked(problem.X @ B), rtol=1e-12)
