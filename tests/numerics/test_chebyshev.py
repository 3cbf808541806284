"""Chebyshev interpolation of what leave-one-out needs at every draw."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslmm.numerics.chebyshev import HIGHEST, Nodes, chebyshev


@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.01), (-2.0, 1.0), (-14.0, 7.9)])
def test_functions_with_poles_at_pi(low: float, high: float) -> None:
    """1/(1 + s e^z) has poles at -log s ± iπ: none may be nearer than what the points reckon with.

    1e-12 of a function of size one; smallest at z = 7.9, s = 100: 4e-6.
    """
    z = np.random.default_rng(1).uniform(low, high, 4000)
    z[:2] = low, high
    nodes = chebyshev(np.exp(z)[:, None], np.ones((4000, 1)))
    assert nodes is not None
    assert nodes.z.size < 4000 / 3
    assert (nodes.z.min(), nodes.z.max()) == pytest.approx((low, high))
    for s in (0.0, 0.01, 1.0, 3.7, 100.0):
        found = nodes.weights(z) @ (1 / (1 + s * np.exp(nodes.z)))
        assert found == pytest.approx(1 / (1 + s * np.exp(z)), abs=1e-12)


def test_points_themselves_are_exact() -> None:
    nodes = Nodes(np.cos(np.pi * np.arange(6) / 5))
    assert nodes.weights(nodes.z) == pytest.approx(np.eye(6), abs=0)


def test_draws_that_are_not_interpolated() -> None:
    one = np.ones((4000, 1))
    a = np.exp(np.linspace(-3, 3, 4000))[:, None]
    assert chebyshev(a, one) is not None
    assert chebyshev(a[::80], one[::80]) is None  # too few
    assert chebyshev(a, 0.0 * one) is None  # h² = 1
    assert chebyshev(0.0 * a, one) is None  # h² = 0
    assert chebyshev(a * np.exp(HIGHEST), one) is None  # h² near 1
