"""Importance weights and bridges on normal problems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from bayeslmm.comparison.loo.weights import bridge, good_k, psis
from bayeslmm.likelihood.blocks import Blocks, Conditionals

type Floats = NDArray[np.float64]


def normal_mean(y: Floats, draws: int, seed: int) -> Conditionals:
    """y_i ~ N(θ, 1), flat prior: draws of θ ~ N(mean y, 1/n), and y_i given each."""
    theta = y.mean() + np.random.default_rng(seed).standard_normal(draws) / np.sqrt(len(y))
    mean = np.repeat(theta[:, None], len(y), axis=1)
    return Conditionals(mean, np.ones(mean.shape), stats.norm(mean, 1.0).logpdf(y))


def predictive(y: Floats, i: int) -> stats.distributions.rv_frozen:
    """y_i given the others: N(mean, 1 + 1/(n - 1))."""
    rest = np.delete(y, i)
    return stats.norm(rest.mean(), np.sqrt(1 + 1 / len(rest)))


def test_scores_of_a_normal_mean() -> None:
    y = np.random.default_rng(1).standard_normal(12)
    blocks = Blocks(tuple(np.arange(12)[:, None]))
    found, weights = psis(normal_mean(y, 4000, 2), blocks, y)
    exact = [predictive(y, i) for i in range(12)]
    expected = np.array([one.logpdf(y[i]) for i, one in enumerate(exact)])
    z = (found.elpd - expected) / found.mcse
    assert np.abs(z).max() < 4
    assert np.abs(found.elpd - expected).max() < 0.02
    assert found.pit == pytest.approx([one.cdf(y[i]) for i, one in enumerate(exact)], abs=0.01)
    assert found.mean == pytest.approx([one.mean() for one in exact], abs=0.03)
    assert found.sd == pytest.approx([one.std() for one in exact], abs=0.01)
    assert found.records == pytest.approx(found.elpd, abs=1e-12)
    assert weights.sum(axis=0) == pytest.approx(np.ones(12))
    assert (found.p > 0).all()


def test_errors_shared_by_the_records_add_up_as_they_should() -> None:
    """The sum of elpd over 150 sets of draws varies as its standard error says, not as √Σ mcse²."""
    y = np.random.default_rng(1).standard_normal(10) + 2 * (np.arange(10) == 3)
    blocks = Blocks(tuple(np.arange(10)[:, None]))
    totals, errors, naive = [], [], []
    for seed in range(150):
        found, _ = psis(normal_mean(y, 200, seed), blocks, y)
        totals.append(found.elpd.sum())
        errors.append(np.sqrt((found.influence.sum(axis=1) ** 2).sum()))
        naive.append(np.sqrt((found.mcse**2).sum()))
    ratio = np.std(totals) / np.mean(errors)
    assert 0.8 < ratio < 1.2  # 150 replicates: ± 0.06
    assert abs(np.std(totals) / np.mean(naive) - 1) > 0.3


@pytest.mark.parametrize("shift", [0.5, 4.0])
def test_bridge_between_two_posteriors(shift: float) -> None:
    """log p(y_F | y_-F) of a record far off, where the weights of either side alone are poor."""
    rng = np.random.default_rng(3)
    y = np.array([0.1, -0.4, 0.3, 0.2, shift * 2])
    n = len(y)
    inside = normal_mean(y, 3000, 4).log_density[:, -1]
    theta = y[:-1].mean() + rng.standard_normal(5000) / np.sqrt(n - 1)
    proposal = stats.t(4, y[:-1].mean(), 0.7)  # weighted draws of the posterior without y_n
    theta = proposal.rvs(5000, random_state=rng)
    log_w = stats.norm(y[:-1].mean(), 1 / np.sqrt(n - 1)).logpdf(theta) - proposal.logpdf(theta)
    weights = np.exp(log_w - log_w.max())
    weights /= weights.sum()
    found, error = bridge(inside, stats.norm(theta, 1.0).logpdf(y[-1]), weights)
    assert error < 0.1
    assert found == pytest.approx(predictive(y, n - 1).logpdf(y[-1]), abs=4 * error)


def test_good_k_is_that_of_arviz() -> None:
    assert good_k(4000) == pytest.approx(0.7)
    assert good_k(500) == pytest.approx(1 - 1 / np.log10(500))
