"""The posterior over the prior density at zero with the model at hand (Chen 1994).

For any density q(x | rest)::

    BF₀ = E_posterior [ q(x | rest) / p(x) · p(y | x = 0, rest) / p(y | x, rest) ]

which needs two evaluations a draw, no draws near zero, and knows its Monte Carlo error.

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

from bayeslmm.comparison.savage_dickey import FEW, NOTHING, Ratio
from bayeslmm.comparison.share_coordinate import SharesPrior, coordinate, rest, without
from bayeslmm.inference.laplace.share_likelihood import ShareLikelihood
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run
from bayeslmm.numerics.pareto import LOWEST, smooth_tail

KHAT = 0.5  # of the terms of Chen's mean: above, their variance is infinite
NARROW = 0.9  # q is narrower than what is fitted, so that q/p is bounded


def ratio_with_model(
    shares: ShareLikelihood,
    draws: Floats,
    left_out: Collection[int],
    *,
    known: Floats | None = None,
    effective: float | None = None,
    fitted: Floats | None = None,
    workers: int = 1,
) -> Ratio:
    """BF₀ by Chen's identity; nan where k̂ of its terms is above 0.5: zero is too far away.

    Parameters
    ----------
    shares
        The model.
    draws
        Shares (N, K + 1) of the posterior at which the density is evaluated.
    left_out
        Positions of the kernels whose shares are zero under the null hypothesis.
    known
        log p(y | shares) (N,) at `draws`, where computed before.
    effective
        What the draws are worth; default N.
    fitted
        Draws to which q is fitted; default `draws`. More of them make a better q.
    workers
        Evaluations at a time.
    """
    count = len(shares.components)
    prior = SharesPrior(*shares.explained, shares.concentration)
    x = coordinate(draws, left_out)
    distinct, where = np.unique(draws, axis=0, return_inverse=True)
    where = where.ravel()
    first = np.array([np.flatnonzero(where == k)[0] for k in range(len(distinct))])
    if known is None:
        at = run(lambda k: shares.log_density(distinct[k]), range(len(distinct)), workers)
    else:
        at = list(known[first])
    nothing = without(distinct, left_out)
    if len(left_out) == count:
        below = [shares.log_density(nothing[0])] * len(distinct)
    else:
        below = run(lambda k: shares.log_density(nothing[k]), range(len(distinct)), workers)
    table = draws if fitted is None else fitted
    log_q = conditional_density(
        coordinate(table, left_out), rest(table, left_out), x[first], rest(distinct, left_out)
    )
    log_p = beta_law.logpdf(x[first], *prior.of_coordinate(len(left_out), count))
    log_terms = (log_q - log_p + np.array(below) - np.array(at))[where]
    return mean_of_terms(log_terms, where, effective)


def mean_of_terms(log_terms: Floats, cluster: NDArray[np.intp], effective: float | None) -> Ratio:
    """log₁₀ of a mean, its error by clusters of equal draws; nan where its k̂ is above 0.5."""
    finite = np.isfinite(log_terms)
    if finite.sum() < FEW:
        return NOTHING
    top = float(log_terms[finite].max())
    terms = np.where(finite, np.exp(np.maximum(log_terms - top, LOWEST)), 0.0)
    if not smooth_tail(log_terms)[1] < KHAT:
        return NOTHING
    n, mean = terms.size, float(terms.mean())
    sums = np.bincount(cluster, weights=terms - mean)
    variance = float(np.sum(sums**2)) / n**2
    if effective is not None:
        variance = max(variance, float(terms.var(ddof=1)) / effective)
    return Ratio((np.log(mean) + top) / np.log(10), np.sqrt(variance) / mean / np.log(10))


def conditional_density(x: Floats, table: Floats, at: Floats, given: Floats) -> Floats:
    """log q(at | given) (m,): a normal distribution cut to [0, 1], its mean linear in `given`.

    Fitted by maximum likelihood to x (N,) and the regressors `table` (N, r).
    """
    scale = np.maximum(table.std(axis=0), 1e-12)
    scale[0] = 1.0
    centre = np.append(0.0, table[:, 1:].mean(axis=0))
    Z, given = (table - centre) / scale, (given - centre) / scale
    start = np.linalg.lstsq(Z, x, rcond=None)[0]
    spread = max(float(np.std(x - Z @ start)), 1e-6)

    def loss(parameters: Floats) -> float:
        return -float(np.mean(_cut_normal(x, Z @ parameters[:-1], np.exp(parameters[-1]))))

    found = minimize(
        loss, np.append(start, np.log(spread)), method="Nelder-Mead",
        options={"maxiter": 400 * len(start), "xatol": 1e-4, "fatol": 1e-6, "adaptive": True},
    ).x  # fmt: skip
    return _cut_normal(at, given @ found[:-1], NARROW * np.exp(found[-1]))


def _cut_normal(x: Floats, mean: Floats, sd: float) -> Floats:
    """Log density of N(mean, sd²) cut to [0, 1]."""
    low, high = (0.0 - mean) / sd, (1.0 - mean) / sd
    # log[Φ(high) - Φ(low)], by the tail that does not cancel
    flip = low > 0
    a, b = np.where(flip, -high, low), np.where(flip, -low, high)
    log_b, log_a = log_ndtr(b), log_ndtr(a)
    mass = log_b + np.log1p(-np.exp(np.minimum(log_a - log_b, -1e-15)))
    z = (x - mean) / sd
    return np.asarray(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - np.log(sd) - mass)
