"""Restricted likelihood ratio tests of components: against the exact one, and their size."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from engine_oracles import gram, simulated
from model_cases import case
from numpy.typing import NDArray
from scipy.stats import binom
from two_kernels import two

from bayeslmm import models
from bayeslmm.comparison.rlrt import (
    component_lrt,
    covariance,
    joint_lrt,
    maximise,
    tail_probability,
)
from bayeslmm.estimates.boundary import restricted_lrt

type Floats = NDArray[np.float64]

M = 60


@cache
def pair() -> tuple[Floats, Floats]:
    """Kernels among 60 contrasts: families and variants."""
    rng = np.random.default_rng(4)
    family = np.arange(M) // 4
    return (family[:, None] == family).astype(float), gram(M, 50, rng)


def drawn(V: Floats, seed: int) -> Floats:
    return np.linalg.cholesky(V) @ np.random.default_rng(seed).standard_normal(M)


@pytest.mark.parametrize("h2", [0.0, 0.4, 0.8])
def test_one_kernel_is_the_exact_test(h2: float) -> None:
    """Within the error of two simulations of 10 000, and of the grid of h²."""
    K = pair()[1]
    K = K * M / np.trace(K)
    e = drawn(h2 * K + (1 - h2) * np.eye(M), 3)
    s, U = np.linalg.eigh(K)
    exact = restricted_lrt(np.maximum(s, 0), U.T @ e)
    found = joint_lrt([K], e)
    assert found == pytest.approx(exact.p_value, rel=0.1, abs=0.015)


def test_tail_at_many_levels_against_plain_simulation() -> None:
    s, U = np.linalg.eigh(pair()[1])
    rng = np.random.default_rng(5)
    d = np.linspace(0, 0.999, 200)[:, None] * (s - 1) + 1
    e2 = (rng.standard_normal((20_000, M)) @ U) ** 2
    gain = -0.5 * (M * np.log(e2 @ (1 / d).T) + np.log(d).sum(axis=1))
    statistic = (gain - gain[:, :1]).max(axis=1)
    for level in (0.2, 0.05, 0.01):
        at = float(np.quantile(statistic, 1 - level))
        assert tail_probability([(s, U)], at) == pytest.approx(level, rel=0.2)


def test_maximum_is_that_of_a_grid() -> None:
    C, K = pair()
    e = drawn(0.4 * C + 0.3 * K + 0.3 * np.eye(M), 6)
    best, where = maximise([C, K], e, np.zeros(2))

    def value(u: Floats) -> float:
        V = covariance([C, K], u)
        return -0.5 * (M * np.log(e @ np.linalg.solve(V, e)) + np.linalg.slogdet(V)[1])

    assert value(where) == pytest.approx(best, abs=1e-8)
    grid = [value(np.array([a, b])) for a in np.arange(-6, 4, 0.5) for b in np.arange(-6, 4, 0.5)]
    assert best > max(grid) - 1e-4


def test_components_of_a_model() -> None:
    """Where the second kernel has no variance the data do not speak for it, but for the first."""
    model = two((0.6, 0.0))
    assert component_lrt(model, [0]) < 1e-6
    assert component_lrt(model, [0, 1]) < 1e-6
    assert component_lrt(model, [1]) > 0.05
    assert np.isnan(component_lrt(simulated(20, 2, 0.5, seed=1).model(), [0]))


def test_a_kernel_that_is_not_definite_is_kept_where_the_covariance_is() -> None:
    """One eigenvalue is negative; the maximum is that of a fine grid over what is definite."""
    K = pair()[1]
    values, vectors = np.linalg.eigh(K)
    values[0] = -0.4
    indefinite = (vectors * values) @ vectors.T
    e = drawn(0.7 * K + 0.3 * np.eye(M), 7)
    best, where = maximise([indefinite], e, np.zeros(1))
    assert np.linalg.eigvalsh(covariance([indefinite], np.array([8.0])))[0] < 0

    def value(u: float) -> float:
        V = covariance([indefinite], np.array([u]))
        if np.linalg.eigvalsh(V)[0] <= 0:
            return -np.inf
        return -0.5 * (M * np.log(e @ np.linalg.solve(V, e)) + np.linalg.slogdet(V)[1])

    grid = [value(u) for u in np.linspace(-10, 10, 4001)]
    assert value(float(where[0])) == pytest.approx(best, abs=1e-8)
    assert best == pytest.approx(max(grid), abs=1e-3)


def test_effects_with_covariances_have_no_test() -> None:
    """There is no model without the variance of the intercept but with that of the slope."""
    one = case("gxe")
    assert np.isnan(component_lrt(models.load("gxe")(one.cohort, *one.matrices), [0]))


def test_gains_beyond_the_largest_number() -> None:
    """Half of the contrasts without the component: exp(1000) is no number, and p is 0, not nan."""
    s = np.repeat([0.0, 2.0], 300)
    assert tail_probability([(s, np.eye(600))], 1000.0, count=500) == 0.0
    assert 0.0 < tail_probability([(s, np.eye(600))], 300.0, count=500) < 1e-100


@pytest.mark.slow
def test_size() -> None:
    """Of 300 data sets without the component, those below 0.05 and 0.2: not more than chance."""
    C, K = pair()
    for share in (0.0, 0.4):
        V = share * C + (1 - share) * np.eye(M)
        values = []
        for k in range(300):
            e = drawn(V, 1000 + k)
            below, start = maximise([C], e, np.zeros(1))
            above, _ = maximise([C, K], e, np.append(start, -3.0))
            if above - below <= 1e-4:
                values.append(1.0)
                continue
            T = np.linalg.inv(np.linalg.cholesky(covariance([C], start)))
            white = T @ K @ T.T
            s, U = np.linalg.eigh(white * M / np.trace(white))
            values.append(tail_probability([(s, U)], above - below, count=2000))
        for level in (0.05, 0.2):
            assert binom.sf(sum(p < level for p in values) - 1, 300, level) > 1e-3
