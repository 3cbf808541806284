"""The ratio of posterior to prior density at zero, by evaluating the model (Chen 1994).

With rest the remaining parameters and any density q(x | rest)::

    BF₀ = E_posterior [ q(x | rest) / p(x) · p(y | x = 0, rest) / p(y | x, rest) ]

It takes two density evaluations per draw, needs no draws near zero, and has a known Monte Carlo
error.

References
----------
Chen (1994) J Am Stat Assoc 89:818.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_ndtr
from scipy.stats import beta as beta_law

from bayeslmm.comparison.savage_dickey import FEW, UNAVAILABLE, Ratio
from bayeslmm.comparison.share_coordinate import SharesPrior, coordinate, regressors, zero_shares
from bayeslmm.inference.laplace.share_likelihood import ShareLikelihood
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.numerics.pareto import LOWEST, smooth_tail

KHAT = 0.5  # largest k̂ of the terms of Chen's mean; above it their variance is infinite
NARROW = 0.9  # sd of q relative to the fitted sd: a narrower q keeps q/p bounded


def ratio_with_model(
    shares: ShareLikelihood,
    draws: Floats,
    tested: Collection[int],
    *,
    log_density: Floats | None = None,
    effective: float | None = None,
    fitted: Floats | None = None,
    workers: int = 1,
) -> Ratio:
    """Estimate BF₀ by Chen's identity; nan if k̂ of its terms exceeds 0.5 (zero is too far away).

    Parameters
    ----------
    shares
        The full model.
    draws
        Posterior draws of the shares (N, K + 1) at which the density is evaluated.
    tested
        Positions of the kernels whose shares are zero under the null hypothesis.
    log_density
        log p(y | shares) (N,) at `draws`, if already computed.
    effective
        Effective sample size of the draws; default N.
    fitted
        Draws to which q is fitted; default `draws`. More draws give a better q.
    workers
        Number of concurrent evaluations.
    """
    count = len(shares.components)
    prior = SharesPrior(*shares.explained, shares.concentration)
    x = coordinate(draws, tested)
    distinct, where = np.unique(draws, axis=0, return_inverse=True)
    where = where.ravel()
    first = np.array([np.flatnonzero(where == k)[0] for k in range(len(distinct))])
    if log_density is None:
        log_p_full = run(lambda k: shares.log_density(distinct[k]), range(len(distinct)), workers)
    else:
        log_p_full = list(log_density[first])
    null_shares = zero_shares(distinct, tested)
    if len(tested) == count:
        log_p_null = [shares.log_density(null_shares[0])] * len(distinct)
    else:
        log_p_null = run(
            lambda k: shares.log_density(null_shares[k]), range(len(distinct)), workers
        )
    table = draws if fitted is None else fitted
    log_q = conditional_density(
        coordinate(table, tested), regressors(table, tested), x[first], regressors(distinct, tested)
    )
    log_p = beta_law.logpdf(x[first], *prior.of_coordinate(len(tested), count))
    log_terms = (log_q - log_p + np.array(log_p_null) - np.array(log_p_full))[where]
    return mean_of_terms(log_terms, where, effective)


def mean_of_terms(log_terms: Floats, cluster: NDArray[np.intp], effective: float | None) -> Ratio:
    """Return log₁₀ of a mean, with its error by clusters of equal draws; nan if k̂ > 0.5."""
    finite = np.isfinite(log_terms)
    if finite.sum() < FEW:
        return UNAVAILABLE
    top = float(log_terms[finite].max())
    terms = np.where(finite, np.exp(np.maximum(log_terms - top, LOWEST)), 0.0)
    if not smooth_tail(log_terms)[1] < KHAT:
        return UNAVAILABLE
    n, mean = terms.size, float(terms.mean())
    sums = np.bincount(cluster, weights=terms - mean)
    variance = float(np.sum(sums**2)) / n**2
    if effective is not None:
        variance = max(variance, float(terms.var(ddof=1)) / effective)
    return Ratio((np.log(mean) + top) / np.log(10), np.sqrt(variance) / mean / np.log(10))


def conditional_density(x: Floats, table: Floats, at: Floats, given: Floats) -> Floats:
    """Compute log q(at | given) (m,), a normal truncated to [0, 1] with mean linear in `given`.

    q is fitted by maximum likelihood to x (N,) and the regressors `table` (N, r).
    """
    scale = np.maximum(table.std(axis=0), 1e-12)
    scale[0] = 1.0
    centre = np.append(0.0, table[:, 1:].mean(axis=0))
    Z, given = (table - centre) / scale, (given - centre) / scale
    start = np.linalg.lstsq(Z, x, rcond=None)[0]
    spread = max(float(np.std(x - Z @ start)), 1e-6)

    def loss(parameters: Floats) -> float:
        return -float(np.mean(_truncated_normal(x, Z @ parameters[:-1], np.exp(parameters[-1]))))

    found = minimize(
        loss, np.append(start, np.log(spread)), method="Nelder-Mead",
        options={"maxiter": 400 * len(start), "xatol": 1e-4, "fatol": 1e-6, "adaptive": True},
    ).x  # fmt: skip
    return _truncated_normal(at, given @ found[:-1], NARROW * np.exp(found[-1]))


def _truncated_normal(x: Floats, mean: Floats, sd: float) -> Floats:
    """Compute the log density of N(mean, sd²) truncated to [0, 1]."""
    low, high = (0.0 - mean) / sd, (1.0 - mean) / sd
    # log[Φ(high) - Φ(low)], from the tail without cancellation
    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    log_b, log_a = log_ndtr(b), log_ndtr(a)
    mass = log_b + np.log1p(-np.exp(np.minimum(log_a - log_b, -1e-15)))
    z = (x - mean) / sd
    return np.asarray(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - np.log(sd) - mass)
