"""Scans over pairs, against NumPy on the pairs themselves."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslmm.relationship.pair_histogram import pair_histogram, pair_range, pairs_above


@pytest.mark.parametrize("step", [0.0, 1 / 16, 0.1])  # the last two: values on edges
@pytest.mark.parametrize("cells", [1, 7, 60, 4096])
def test_histogram_is_numpys(step: float, cells: int) -> None:
    rng = np.random.default_rng(1)
    K = rng.normal(0.2, 0.4, (90, 90))
    K = np.round(K / step) * step if step else K
    K = np.tril(K) + np.tril(K, -1).T
    levels = rng.integers(0, 90, 150)
    i, j = np.triu_indices(150, 1)
    pairs = levels[i] != levels[j]
    values = K[levels[i[pairs]], levels[j[pairs]]]
    assert pair_range(K, levels) == (values.min(), values.max())
    edges = np.linspace(*pair_range(K, levels), cells + 1)
    assert np.array_equal(pair_histogram(K, levels, edges), np.histogram(values, edges)[0])


def test_values_beyond_the_edges_count_in_the_outer_cells() -> None:
    K = np.array([[1.0, -3.0, 0.1], [-3.0, 1.0, 9.0], [0.1, 9.0, 1.0]])
    assert pair_histogram(K, np.arange(3), np.linspace(0, 1, 5)).tolist() == [2, 0, 0, 1]


def test_one_individual_has_no_pair() -> None:
    assert pair_range(np.ones((1, 1)), np.zeros(4, dtype=int)) == (np.inf, -np.inf)
    assert pair_histogram(np.ones((1, 1)), np.zeros(4, dtype=int), np.arange(4.0)).sum() == 0
    assert pairs_above(np.ones((1, 1)), np.ones(1), 0.5).shape == (0, 2)


def test_pairs_above() -> None:
    rng = np.random.default_rng(2)
    K, weight = rng.normal(size=(40, 40)), rng.uniform(0.5, 2.0, 40)
    K = K + K.T
    found = pairs_above(K, weight, 1.5)
    assert np.array_equal(found, np.argwhere(np.triu(K * np.outer(weight, weight), 1) > 1.5))
    assert 20 < len(found) < 500
