"""The exact engine's draws: distribution, independence, density, reproducibility."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from engine_oracles import (
    SCALE_PRIORS,
    Data,
    beta_logit,
    brute,
    effects_prior,
    log_marginal,
    sibships,
    simulated,
    small,
)
from scipy import stats
from scipy.special import expit, logit

from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.inference.exact import exact
from bayeslmm.likelihood.one_kernel import spectral_logp

DRAWS = 20_000
KS = 1.95 / np.sqrt(DRAWS)  # exceeded once in a thousand


@cache
def small_fit() -> tuple[exact.Exact, dict[str, Any], Any]:
    model = small().model()
    found, variables = exact.fit_one(model, DRAWS, np.random.default_rng(4))
    return found, variables, model


def brute_weights() -> np.ndarray:
    """Posterior weights of the dense grid under the default priors."""
    table = brute()
    tau = SCALE_PRIORS["half_t(3, 2.5)"](np.exp(table.t) / table.unit) + table.t
    log_p = table.log_like + beta_logit(1, 1)(table.z)[:, None] + tau
    weights = np.exp(log_p - log_p.max())
    return weights / weights.sum()


def test_h2_and_tau_are_drawn_from_the_dense_posterior() -> None:
    found, _, _ = small_fit()
    weights, table = brute_weights(), brute()
    for drawn, axis, nodes in ((found.draws.z, 1, table.z), (found.draws.t, 0, table.t)):
        cdf = np.cumsum(weights.sum(axis=axis))
        middle = nodes + 0.5 * (nodes[1] - nodes[0])
        u = np.interp(drawn, middle, cdf)
        assert stats.kstest(u, "uniform").statistic < KS + 2e-3


def test_tau_given_h2_is_drawn_from_its_conditional() -> None:
    """PIT of t given z, with the dense conditional at the very z of each draw.

    A kernel of average semivariance 8: the larger h², the smaller τ.
    """
    data = Data(small().y, small().X, 8.0 * small().K)
    found = exact.fit_one(data.model(), 400, np.random.default_rng(4))[0].draws
    assert stats.spearmanr(found.t, found.z).statistic < -0.5
    t = np.log(data.unit) + np.linspace(-4.5, 4.5, 300)
    prior = SCALE_PRIORS["half_t(3, 2.5)"](np.exp(t) / data.unit) + t
    pit = []
    for one_z, one_t in zip(found.z, found.t, strict=True):
        log_p = log_marginal(data, np.full(t.size, one_z), t) + prior
        cdf = np.cumsum(np.exp(log_p - log_p.max()))
        pit.append(np.interp(one_t, t + 0.5 * (t[1] - t[0]), cdf / cdf[-1]))
    assert stats.kstest(pit, "uniform").pvalue > 1e-3
    assert abs(stats.spearmanr(pit, found.z).statistic) < 4 / np.sqrt(400)


@pytest.mark.parametrize("beta", ["normal(0, 10)", "normal(0.5, 0.3)", "flat()"])
def test_effects_given_the_variances_have_the_dense_mean_and_covariance(beta: str) -> None:
    """Whitened by the dense conditional, β is standard normal."""
    data = simulated(30, 3, 0.5, seed=31)
    found, _ = exact.fit_one(data.model(beta=beta), 4000, np.random.default_rng(2))
    if beta == "flat()":
        precision, pull = np.zeros((3, 3)), np.zeros(3)
    else:
        mean, sd = (0.0, 10.0) if beta == "normal(0, 10)" else (0.5, 0.3)
        b0, B = effects_prior(data, sd)
        b0 = b0 + effects_root(data) @ np.full(3, mean)
        precision = np.linalg.inv(B)
        pull = precision @ b0
    white = np.empty((4000, 3))
    for i in range(4000):
        h, tau2 = expit(found.draws.z[i]), np.exp(2 * found.draws.t[i])
        W = np.linalg.solve(h * data.K + expit(-found.draws.z[i]) * np.eye(30), data.X) / tau2
        P = data.X.T @ W + precision
        centre = np.linalg.solve(P, W.T @ data.y + pull)
        white[i] = np.linalg.cholesky(P).T @ (found.draws.beta[i] - centre)
    assert np.abs(white.mean(axis=0)).max() < 4.5 / np.sqrt(4000)
    assert np.abs(np.cov(white.T) - np.eye(3)).max() < 4.5 * np.sqrt(2 / 4000)
    for column in white.T:
        assert stats.kstest(column, "norm").pvalue > 1e-4
        assert abs(stats.spearmanr(column, found.draws.z).statistic) < 4 / np.sqrt(4000)


def effects_root(data: Data) -> np.ndarray:
    """J of β = b₀ + J γ, γ the standardised effects."""
    x, p = data.X[:, 1:], data.X.shape[1]
    J = np.zeros((p, p))
    J[0, 0] = 1.0
    J[0, 1:] = -x.mean(axis=0) / x.std(axis=0, ddof=1)
    J[np.arange(1, p), np.arange(1, p)] = 1 / x.std(axis=0, ddof=1)
    return data.unit * J


def test_draws_are_independent() -> None:
    found, _, _ = small_fit()
    for drawn in (found.draws.z, found.draws.t, *found.draws.beta.T):
        lag = np.corrcoef(drawn[1:], drawn[:-1])[0, 1]
        assert abs(lag) < 4 / np.sqrt(DRAWS)


@pytest.mark.parametrize(
    ("n", "h2", "beta", "bound"),
    [
        (12, 0.6, "normal(0, 10)", 2e-5),
        (300, 1.0, "flat()", 1e-6),
        (900, 0.5, "normal(0, 10)", 1e-8),
    ],
)
def test_log_likelihood_of_the_draws(n: int, h2: float, beta: str, bound: float) -> None:
    """Interpolated between the rows of the grid, which are the wider apart the less is known.

    The bounds are what was measured (8e-6 where h² is all but unknown), times about two.
    """
    data = small() if n == 12 else simulated(n, 2, h2, seed=6, K=sibships(n, 3))
    model = data.model(beta=beta)
    found, variables = exact.fit_one(model, 2000, np.random.default_rng(3))
    spectrum = require_marginal(model).spectrum
    assert spectrum is not None
    rotated, pairs = spectrum.rotate(data.y), (variables["beta"], variables["variance"])
    direct = np.array(
        [spectral_logp(rotated, b, v, *spectrum.arrays)[0] for b, v in zip(*pairs, strict=True)]
    )
    assert np.abs(found.draws.log_likelihood - direct).max() < bound
    for i in range(0, 2000, 2 * n):
        u, e = variables["variance"][i]
        normal = stats.multivariate_normal(
            data.X @ variables["beta"][i], u * data.K + e * np.eye(n), allow_singular=True
        )
        assert direct[i] == pytest.approx(normal.logpdf(data.y), rel=1e-8)


def test_every_variable_belongs_to_the_same_draw() -> None:
    found, variables, _ = small_fit()
    h2, tau = variables["h2"], variables["total_sd"]
    assert logit(h2) == pytest.approx(found.draws.z, rel=1e-6, abs=1e-6)
    assert tau == pytest.approx(np.exp(found.draws.t), rel=1e-12)
    assert variables["sigma2_u"] == pytest.approx(h2 * tau**2, rel=1e-12)
    assert variables["sigma2_e"] == pytest.approx((1 - h2) * tau**2, rel=1e-9)
    data = small()
    gamma = np.linalg.solve(effects_root(data), (variables["beta"] - [data.y.mean(), 0.0]).T).T
    assert variables["beta_std"] == pytest.approx(gamma, abs=1e-9)
    log_prior = variables["log_prior"]
    wanted = SCALE_PRIORS["half_t(3, 2.5)"](tau / data.unit) - np.log(data.unit)
    assert log_prior["total_sd"] == pytest.approx(wanted, abs=1e-8)
    assert log_prior["h2"] == pytest.approx(np.zeros(DRAWS), abs=1e-12)
    wanted = stats.norm.logpdf(gamma, 0, 10)
    assert log_prior["beta_std"] == pytest.approx(wanted.sum(axis=1), abs=1e-8)


def test_the_same_seed_gives_the_same_bits() -> None:
    _, _, model = small_fit()
    first, second, other = (
        exact.fit_one(model, 100, np.random.default_rng(seed))[0].draws for seed in (7, 7, 8)
    )
    for name in ("z", "t", "beta", "log_likelihood"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_the_number_of_threads_does_not_matter() -> None:
    _, _, model = small_fit()
    traits = np.random.default_rng(5).standard_normal((12, 5))
    one = exact.fit_many(model, traits, 50, seed=3, threads=1)
    four = exact.fit_many(model, traits, 50, seed=3, threads=4)
    for a, b in zip(one, four, strict=True):
        assert np.array_equal(a.draws.z, b.draws.z)
        assert np.array_equal(a.draws.beta, b.draws.beta)
        assert a.log_evidence == b.log_evidence
