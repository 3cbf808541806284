"""The restricted likelihood ratio test of h² = 0 and the expected standard error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from engine_oracles import Data, contrasts, gram, reml, sibships, simulated
from scipy import stats
from scipy.optimize import minimize_scalar
from threadpoolctl import threadpool_limits

import bayeslmm.estimates.boundary
from bayeslmm.estimates.boundary import WEAK, expected_se, restricted_lrt, spectrum_problem
from bayeslmm.numerics.threads import blas_threads


def log_reml(xi: np.ndarray, eta: np.ndarray, h: float) -> float:
    """Profile restricted log likelihood (reliability A1)."""
    d = h * xi + 1 - h
    return float(-0.5 * (xi.size * np.log((eta**2 / d).sum()) + np.log(d).sum()))


def test_expected_se_is_the_simulated_curvature() -> None:
    """Mean observed information over simulated data, by second differences of the log REML."""
    data = simulated(500, 1, 0.4, seed=1, K=sibships(500, 5))
    xi, _ = contrasts(data)
    rng = np.random.default_rng(2)
    for h2 in (0.1, 0.4, 0.8):
        root, step, found = np.sqrt(h2 * xi + 1 - h2), 1e-3, []
        for _ in range(400):
            eta = root * rng.standard_normal(xi.size)
            low, middle, high = (log_reml(xi, eta, h2 + k * step) for k in (-1, 0, 1))
            found.append((2 * middle - low - high) / step**2)
        information = np.mean(found)
        error = 3 * np.std(found) / np.sqrt(400) / information + 0.01
        assert expected_se(xi, h2) == pytest.approx(information**-0.5, rel=error)


def test_expected_se_at_zero_is_the_formula_and_the_spread_of_the_estimates() -> None:
    data = simulated(400, 2, 0.0, seed=3, K=sibships(400, 8))
    xi, _ = contrasts(data)
    assert expected_se(xi) == pytest.approx(np.sqrt(2 / (xi.size * xi.var())), rel=1e-12)
    rng = np.random.default_rng(4)
    root, estimates = np.sqrt(0.5 * xi + 0.5), []
    for _ in range(300):
        eta = root * rng.standard_normal(xi.size)
        best = minimize_scalar(
            lambda h, e=eta: -log_reml(xi, e, h), bounds=(0, 1), method="bounded"
        )
        estimates.append(best.x)
    assert expected_se(xi, 0.5) == pytest.approx(np.std(estimates), rel=0.15)


def test_nobody_related_says_nothing() -> None:
    assert expected_se(np.ones(50)) == float("inf")
    assert WEAK == 0.15


def test_statistic_is_the_dense_reml_ratio() -> None:
    for seed, h2 in ((1, 0.0), (2, 0.3), (3, 0.9), (4, 0.5)):
        data = simulated(60, 2, h2, seed=seed, K=gram(60, 40, np.random.default_rng(seed)))
        h = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-9, 9, 400)))])
        logs, rss = reml(data, h)
        dense = -0.5 * (58 * np.log(rss) + logs)
        wanted = 2 * (dense.max() - dense[0])
        found = restricted_lrt(*contrasts(data), simulations=100)
        assert found.statistic == pytest.approx(wanted, rel=0.003, abs=0.003)


def test_p_values_are_uniform_under_the_null() -> None:
    """Above the point mass at 1 (statistic 0), whose size the null itself gives."""
    data = simulated(80, 1, 0.0, seed=5, K=sibships(80, 4))
    xi, _ = contrasts(data)
    rng = np.random.default_rng(6)
    found = [
        restricted_lrt(xi, rng.standard_normal(xi.size), simulations=1500, seed=i)
        for i in range(400)
    ]
    at_zero = np.array([one.statistic < 1e-9 for one in found])
    # Crainiceanu & Ruppert: P(h = 0) = P(Σ (ξ - mean ξ) w² <= 0)
    w = rng.standard_normal((20_000, xi.size))
    mass = float(((w**2) @ (xi - xi.mean()) <= 0).mean())
    assert 0.45 < mass < 0.65
    assert at_zero.mean() == pytest.approx(mass, abs=4 * np.sqrt(0.25 / 400))
    p = np.array([one.p_value for one in found])
    assert (p[at_zero] == 1.0).all()
    positive = p[~at_zero] / (1 - mass)
    assert stats.kstest(positive, "uniform").pvalue > 1e-3
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.05 / 400))


def test_large_samples_come_near_the_chi_bar_square() -> None:
    """50:50 mixture; reliability A5 measured a 95 % critical value of 2.6 to 2.8, not 2.71."""
    data = simulated(900, 1, 0.0, seed=7, K=sibships(900, 3))
    xi, _ = contrasts(data)
    rng = np.random.default_rng(8)
    for _ in range(6):
        eta = rng.standard_normal(xi.size) * np.sqrt(0.12 * xi + 0.88)
        found = restricted_lrt(xi, eta, simulations=6000)
        if found.statistic > 0.1:
            mixture = 0.5 * stats.chi2.sf(found.statistic, 1)
            assert found.p_value == pytest.approx(mixture, abs=0.25 * mixture + 0.005)


@pytest.mark.parametrize("target", [0.3, 0.05, 0.004])
def test_p_value_is_the_share_of_plain_simulations(target: float) -> None:
    """Weighted simulation against counting: 100 000 data sets under h² = 0, dense nodes in h²."""
    data = simulated(60, 2, 0.0, seed=9, K=sibships(60, 6))
    xi, _ = contrasts(data)
    rng = np.random.default_rng(10)
    h = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-9, 9, 73)))])
    d = h[:, None] * xi + 1 - h[:, None]
    log_d = np.log(d).sum(axis=1)
    null = np.concatenate(
        [
            np.max(-0.5 * (xi.size * np.log((e**2) @ (1 / d).T) + log_d), axis=1)
            + 0.5 * xi.size * np.log((e**2).sum(axis=1))
            for e in (rng.standard_normal((10_000, xi.size)) for _ in range(10))
        ]
    )
    wanted = float(np.quantile(2 * null, 1 - target))
    e = rng.standard_normal(xi.size)
    low, high = 0.0, 10.0  # stretch the top eigenvectors until the statistic is as wanted
    for _ in range(60):
        stretch = 0.5 * (low + high)
        eta = np.where(xi > xi.mean(), e * stretch, e)
        above = restricted_lrt(xi, eta, simulations=10).statistic > wanted
        low, high = (low, stretch) if above else (stretch, high)
    found = restricted_lrt(xi, eta, simulations=20_000)
    share = float((2 * null >= found.statistic).mean())
    error = np.hypot(found.standard_error, np.sqrt(share * (1 - share) / 1e5))
    assert 0.001 < share < 0.6
    assert found.p_value == pytest.approx(share, abs=4 * error)
    assert found.standard_error < 0.05 * found.p_value


@pytest.mark.parametrize("m", [1000, 1999])  # 1 999: an odd number of data sets in a block
def test_drawing_in_pieces_weighs_the_data_sets_of_whole_blocks(m: int) -> None:
    """By the formula, from one plain pass over the same random numbers."""
    rng = np.random.default_rng(3)
    s = rng.gamma(2.0, 0.5, m)
    e = np.sqrt(0.15 * s + 0.85) * rng.standard_normal(m)
    count, block = 2500, int(4e6 // m)
    found = restricted_lrt(s, e, simulations=count, seed=5)
    h = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-9.0, 9.0, 73)))])
    d = h[:, None] * s + 1 - h[:, None]

    def gain(squares: np.ndarray) -> np.ndarray:
        values = -0.5 * (m * np.log(squares @ (1 / d).T) + np.log(d).sum(axis=1))
        return np.asarray(values - values[:, :1])

    observed = gain(e[None] ** 2)[0]
    squares = np.random.default_rng(5).standard_normal((count, m)) ** 2
    estimate = np.arange(count) % block % 2 == 0
    squares[estimate] *= d[observed.argmax()]
    gains = gain(squares)
    weights = 2 / (1 + np.exp(gains[:, observed.argmax()]))
    p = np.mean(np.where(gains.max(axis=1) >= observed.max() - 1e-9, weights, 0.0))
    assert 1e-6 < p < 0.9
    assert found.p_value == pytest.approx(p, rel=1e-9)  # sums in another order


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_few_variants_give_the_p_value_of_all_contrasts(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One χ² number for 1 800 eigenvalues zero: the same statistic, and p within its error."""
    rng = np.random.default_rng(seed)
    s = np.concatenate([np.zeros(1800), rng.gamma(2.0, 5.0, 200)])
    e = np.sqrt(0.02 * s + 0.98) * rng.standard_normal(s.size)
    found = restricted_lrt(s, e)
    shuffled = rng.permutation(s.size)
    monkeypatch.setattr(bayeslmm.estimates.boundary, "ZEROS", s.size)
    whole = restricted_lrt(s[shuffled], e[shuffled])
    assert found.simulations == whole.simulations == 20_000
    assert found.statistic == pytest.approx(whole.statistic, rel=1e-9)
    error = np.hypot(found.standard_error, whole.standard_error)
    assert found.p_value == pytest.approx(whole.p_value, abs=4 * error)
    assert found.p_value != whole.p_value  # other random numbers
    assert 0 < error < 0.1 * found.p_value


def test_a_strong_signal_has_a_tiny_p_value_with_a_small_error() -> None:
    data = simulated(200, 1, 0.95, seed=9, K=sibships(200, 10, 0.9))
    found = restricted_lrt(*contrasts(data), simulations=2000)
    assert 0 < found.p_value < 1e-20
    assert found.standard_error < found.p_value
    assert found.simulations == 2000
    assert restricted_lrt(*contrasts(data)).simulations == 50_000


def test_the_scale_of_y_does_not_matter_and_the_seed_does() -> None:
    data = simulated(60, 1, 0.2, seed=11, K=sibships(60, 4))
    xi, eta = contrasts(data)
    first = restricted_lrt(xi, eta, simulations=2000)
    scaled = restricted_lrt(xi, 1e6 * eta, simulations=2000)
    assert scaled.statistic == pytest.approx(first.statistic, abs=1e-9)
    assert scaled.p_value == first.p_value
    assert restricted_lrt(xi, eta, simulations=2000, seed=2).p_value != first.p_value


def test_spectrum_problems_in_words() -> None:
    assert spectrum_problem(np.linspace(0.5, 2, 20), 21) is None
    assert "not identified" in str(spectrum_problem(np.ones(20), 21))
    few = np.concatenate([np.zeros(5), np.linspace(0.5, 2, 15)])
    assert "GRM rank 15 of 20" in str(spectrum_problem(few, 21))
    K = sibships(20, 4)
    assert spectrum_problem(contrasts(Data(np.zeros(20), np.ones((20, 1)), K))[0], 20) is None


@pytest.mark.parametrize("n", [300, 2001])
def test_the_restricted_lrt_is_the_same_with_any_number_of_threads(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulated data sets are those of one stream of normal numbers, whoever draws them."""
    rng = np.random.default_rng(6)
    xi = np.sort(rng.gamma(0.5, 2.0, n))
    eta = np.sqrt(0.1 * xi + 0.9) * rng.standard_normal(n)
    found, used = [], []

    def ahead(*work: Any, threads: int) -> Iterator[np.ndarray]:
        used.append(threads)
        return bayeslmm.numerics.threads.ahead(*work, threads=threads)

    monkeypatch.setattr(bayeslmm.estimates.boundary, "ahead", ahead)
    for threads in (1, 2):
        with threadpool_limits(threads):
            allowed = blas_threads()
            found.append(restricted_lrt(xi, eta))
    assert found[0] == found[1]
    assert used[0] == 1
    assert used[1] == allowed
    h = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-9.0, 9.0, 73)))])
    observed = [log_reml(xi, eta, one) - log_reml(xi, eta, 0.0) for one in h]
    best = h[int(np.argmax(observed))]
    stream = np.random.default_rng(1)
    total, count = 0.0, 400
    for k in range(count):  # the first of them, one by one
        e = stream.standard_normal(n) * (1.0 if k % 2 else np.sqrt(best * xi + 1 - best))
        gains = [log_reml(xi, e, one) - log_reml(xi, e, 0.0) for one in h]
        if max(gains) >= max(observed):
            total += 2 / (1 + np.exp(gains[int(np.argmax(observed))]))
    assert restricted_lrt(xi, eta, simulations=count).p_value == pytest.approx(total / count)
