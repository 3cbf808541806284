"""Simulation-based calibration and recovery of truth for every model, from one set of fits.

100 data sets of every model of the gallery that the exact or the Laplace engine serves, parameters
from the prior, y from the model (`sbc_models`). From the same fits:

- ranks of the truth among the draws are uniform (Talts et al. 2018), of every parameter and of
  log p(y | θ), without which a sampler that ignores the data would pass;
- the mean over data sets of (posterior mean - truth) is zero within three standard errors. It is
  zero in expectation when truths come from the prior, for whatever has a mean: total sds, with
  their heavy tail, are taken as logarithms;
- k̂ is below 0.7, or the engine said otherwise and went on.

The 150 draws of a Laplace fit are resampled from points of importance ESS 150: one in twenty is a
repeat, and they are worth at least 75 independent ones (the variance of the weights and that of
resampling). That widens the outermost percentile of the ranks from 1 % to 1.5 %, and no decile by
as much as 0.2 %: nothing that 100 data sets can see.

All tests together are about 80 quantities, each judged by two tests of uniformity. A threshold of
p = 10⁻⁴ gives one false alarm in 60 seeds; the seed is fixed.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from sbc_models import Study, served, study
from scipy import stats

from bayeslmm import models

NAMES = models.names()  # by glob
FAST = [name for name in NAMES if name != "additive_cholesky"]


@cache
def studied(name: str) -> Study:
    return study(name)


def judge_uniform(found: Study) -> None:
    p = {q: uniformity(r) for q, r in zip(found.names, ranks(found).T, strict=True)}
    assert min(p.values()) > 1e-4, p


def judge_recovery(found: Study) -> None:
    """Shares, correlations, total sd: effects and the density are for the ranks."""
    z = {q: v for q, v in errors(found).items() if not q.startswith(("beta", "log_likelihood"))}
    assert max(abs(v) for v in z.values()) < 3.0, z


def judge_weights(found: Study) -> None:
    assert np.all((found.pareto_k < 0.7) | found.fallen_back)
    assert found.fallen_back.mean() <= 0.05


def ranks(found: Study) -> NDArray[np.float64]:
    """Ranks of the truths in (0, 1), (simulations, q), ties broken at random."""
    rng = np.random.default_rng(5)
    draws = found.draws.shape[1]
    below = np.sum(found.draws < found.truth[:, None], axis=1)
    return np.asarray((below + rng.uniform(size=below.shape)) / (draws + 1))


def uniformity(values: NDArray[np.float64]) -> float:
    """The smaller p-value of the ECDF's band (Kolmogorov) and of the deciles (χ²)."""
    counts = np.histogram(values, bins=10, range=(0, 1))[0]
    return float(min(stats.kstest(values, "uniform").pvalue, stats.chisquare(counts).pvalue))


def errors(found: Study) -> dict[str, float]:
    """(posterior mean - truth) over data sets: its mean in standard errors, by quantity."""
    miss = found.draws.mean(axis=1) - found.truth
    z = miss.mean(axis=0) / (miss.std(axis=0, ddof=1) / np.sqrt(len(miss)))
    return dict(zip(found.names, z.tolist(), strict=True))


def test_only_the_latent_model_needs_nuts() -> None:
    assert [name for name in NAMES if served(name) is None] == ["additive_cholesky"]


@pytest.mark.parametrize("name", FAST)
def test_ranks_are_uniform(name: str) -> None:
    judge_uniform(studied(name))


@pytest.mark.parametrize("name", FAST)
def test_truth_is_recovered(name: str) -> None:
    judge_recovery(studied(name))


@pytest.mark.parametrize("name", FAST)
def test_draws_follow_the_data(name: str) -> None:
    """Posteriors are narrower than the prior, or nothing above could fail."""
    found = studied(name)
    inside = {
        q: float(np.mean(draws.std(axis=1)) / truth.std())
        for q, draws, truth in zip(
            found.names, np.moveaxis(found.draws, 2, 0), found.truth.T, strict=True
        )
    }
    assert min(v for q, v in inside.items() if "sd" in q) < 0.3, inside
    assert min(v for q, v in inside.items() if q.startswith(("share", "h2"))) < 0.9, inside


@pytest.mark.parametrize("name", FAST)
def test_no_weights_are_trusted_that_cannot_be(name: str) -> None:
    judge_weights(studied(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FAST, "bivariate, some missing"])
def test_a_thousand_simulations(name: str) -> None:
    """The same with ten times the data sets; table in tests/benchmarks/sbc.md."""
    found = study(name, 1000, seed=2)
    judge_uniform(found)
    judge_recovery(found)
    judge_weights(found)
