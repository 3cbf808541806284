"""Simulation-based calibration of the exact engine: a smoke test of 100 simulations.

Parameters from the prior, y from the model by dense matrices, the rank of the truth among the
draws. Ranks of h² alone cannot see a sampler that ignores the data, so log p(y | θ) is ranked too.
"""

from __future__ import annotations

import numpy as np
from engine_oracles import Data, gram, simulated
from scipy import stats

from bayeslmm.distributions.phenotype import set_phenotype
from bayeslmm.inference.exact import exact
from bayeslmm.priors.units import residual_sd

SIMULATIONS, DRAWS = 100, 199


def test_ranks_are_uniform() -> None:
    rng = np.random.default_rng(20)
    n = 60
    base = simulated(n, 2, 0.5, seed=60, K=gram(n, 15, rng))  # few variants: h² is well informed
    # the priors count in sd(y | X): fix unit and centre by the model of one data set
    model = Data(base.y, base.X, base.K).model()
    unit, centre = residual_sd(base.y, base.X), base.y.mean()
    split = exact.marginal(model)
    x = base.X[:, 1]
    ranks: dict[str, list[float]] = {name: [] for name in ("h2", "tau", "slope", "log_lik")}
    for _ in range(SIMULATIONS):
        h2, tau = rng.uniform(), unit * 2.5 * abs(rng.standard_t(3))
        gamma = 10 * rng.standard_normal(2)
        slope = gamma[1] * unit / x.std(ddof=1)
        beta = np.array([centre + gamma[0] * unit - slope * x.mean(), slope])
        V = tau**2 * (h2 * base.K + (1 - h2) * np.eye(n))
        y = base.X @ beta + np.linalg.cholesky(V) @ rng.standard_normal(n)
        data = tuple(np.asarray(v) for v in (centre, unit))
        assert tuple(split.data) == ("phenotype_centre", "phenotype_unit")
        found = exact.solve(split, split.spectrum.rotate(y), data, DRAWS, rng, at_zero=False)
        truth = stats.multivariate_normal(base.X @ beta, V).logpdf(y)
        drawn = found.draws
        for name, value, draws in (
            ("h2", np.log(h2 / (1 - h2)), drawn.z),
            ("tau", np.log(tau), drawn.t),
            ("slope", slope, drawn.beta[:, 1]),
            ("log_lik", truth, drawn.log_likelihood),
        ):
            ranks[name].append((np.sum(draws < value) + rng.uniform()) / (DRAWS + 1))
    for name, values in ranks.items():
        assert stats.kstest(values, "uniform").pvalue > 1e-3, name
        counts = np.histogram(values, bins=10, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3, name
    set_phenotype(model, base.y)
