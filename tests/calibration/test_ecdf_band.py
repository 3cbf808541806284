"""Bands of the ECDF: levels against published ones, probabilities against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayeslmm.calibration.ecdf_band import (
    evaluation_points,
    inside_probability,
    limits,
    p_value,
    proportions,
    simultaneous_band,
    statistic,
)


@pytest.mark.parametrize(("n", "gamma"), [(100, 0.00403), (300, 0.00317), (1000, 0.00272)])
def test_the_pointwise_level_is_the_known_one(n: int, gamma: float) -> None:
    """Known by simulation (a few per cent of error); K = 100 points, 95 %."""
    band = simultaneous_band(n)
    assert band.gamma == pytest.approx(gamma, rel=0.04)
    assert 0.95 <= band.prob < 0.953  # counts are whole: no band of exactly 95 %


def test_the_recursion_is_the_probability_of_two_binomial_steps() -> None:
    """K = 3: R_1 and R_2 - R_1 by brute force over a multinomial."""
    n, lower, upper = 7, np.array([1, 4]), np.array([3, 6])
    brute = sum(
        stats.multinomial.pmf([a, b, n - a - b], n, [1 / 3] * 3)
        for a in range(n + 1)
        for b in range(n + 1 - a)
        if lower[0] <= a <= upper[0] and lower[1] <= a + b <= upper[1]
    )
    assert inside_probability(n, lower, upper) == pytest.approx(brute, rel=1e-12)


def test_limits_are_the_counts_whose_level_is_at_least_gamma() -> None:
    n, gamma, points = 37, 0.01, 10
    lower, upper = limits(n, gamma, points)
    for i, z in enumerate(evaluation_points(points)):
        r = np.arange(n + 1)
        level = 2 * np.minimum(stats.binom.cdf(r, n, z), stats.binom.sf(r - 1, n, z))
        allowed = r[level >= gamma]
        assert (lower[i], upper[i]) == (allowed.min(), allowed.max())


def test_p_values_of_uniform_values_are_uniform() -> None:
    rng = np.random.default_rng(1)
    p = np.array([p_value(rng.uniform(size=50), 20) for _ in range(800)])
    # discrete and never too small: P(p ≤ α) ≤ α, up to the error of 800 replicates, 4 sd
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(p <= alpha) <= alpha + 4 * np.sqrt(alpha * (1 - alpha) / p.size)
    assert np.mean(p <= 0.05) > 0.02


def test_the_p_value_is_the_share_of_smaller_statistics() -> None:
    rng = np.random.default_rng(2)
    values = rng.beta(1.15, 1.0, size=60)
    null = np.array([statistic(rng.uniform(size=60), 20) for _ in range(4000)])
    share = np.mean(null <= statistic(values, 20) * (1 + 1e-9))
    assert 0.02 < share < 0.98  # the example says something
    assert p_value(values, 20) == pytest.approx(share, abs=4 * 0.5 / np.sqrt(null.size))


def test_the_band_and_the_p_value_agree() -> None:
    rng = np.random.default_rng(3)
    band = simultaneous_band(100)
    seen = set()
    for shape in (1.0, 1.2, 1.35, 1.5):
        for _ in range(6):
            u = rng.beta(shape, 1.0, size=100)
            curve = proportions(u)
            within = bool(np.all((curve >= band.lower - 1e-12) & (curve <= band.upper + 1e-12)))
            assert within == (statistic(u) >= band.gamma * (1 - 1e-3))
            seen.add(within)
    assert seen == {True, False}


def test_gross_failures_have_tiny_p_values() -> None:
    assert p_value(np.full(100, 0.5)) < 1e-10
    assert p_value(np.random.default_rng(4).beta(1, 3, 1000)) < 1e-10


def test_the_limits_of_a_level_of_zero_allow_everything() -> None:
    lower, upper = limits(10, 0.0)
    assert inside_probability(10, lower, upper) == pytest.approx(1.0, abs=1e-12)
