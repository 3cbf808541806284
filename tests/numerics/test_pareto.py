"""Smoothed tails: what the published method leaves open. k̂ itself: test_importance.py."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslmm.inference.laplace.importance import smooth
from bayeslmm.numerics.pareto import smooth_tail


def test_a_tail_of_ties_is_bounded_and_left_alone() -> None:
    """At 1000 weights the tail has 94: until 2026-11-22 as many ties were an error of ArviZ."""
    rng = np.random.default_rng(1)
    for ties in (94, 500, 1000):
        logs = np.r_[np.full(ties, 3.0), 3.0 - rng.exponential(size=1000 - ties)]
        smoothed, k = smooth_tail(logs)
        assert k == 0.0
        np.testing.assert_allclose(smoothed - logs, smoothed[0] - logs[0], atol=1e-12)
        weights, k, log_mean = smooth(logs)
        assert k == 0.0
        np.testing.assert_allclose(weights, np.exp(logs) / np.exp(logs).sum(), rtol=1e-12)
        assert log_mean == pytest.approx(np.log(np.exp(logs).mean()), abs=1e-12)
    fewer = np.r_[np.full(93, 3.0), 3.0 - rng.exponential(size=907)]
    assert smooth_tail(fewer)[1] != 0.0


def test_too_few_weights_cannot_be_judged() -> None:
    logs = np.random.default_rng(2).normal(size=24)
    assert smooth_tail(logs)[1] == np.inf
    assert smooth(logs)[1] == np.inf
    assert np.isfinite(smooth_tail(np.append(logs, logs[:6] + 0.1))[1])


def test_the_tail_alone_is_changed_and_keeps_its_order() -> None:
    logs = np.random.default_rng(3).normal(size=2000)
    smoothed, _ = smooth_tail(logs)
    order = np.argsort(logs)
    below = order[:-134]  # the tail: 3 √2000
    np.testing.assert_allclose(smoothed[below] - logs[below], smoothed[order[0]] - logs[order[0]])
    assert np.all(np.diff(smoothed[order]) >= 0)
    assert np.exp(smoothed).sum() == pytest.approx(1.0)
