"""Posterior predictive checks of the variance and normality of error contrasts.

In the eigenbasis of one kernel the error contrasts e are independent given the variances,
``e_i ~ N(0, σ²_u s_i + σ²_e)``. The data inform h² only by the growth of this variance with the
eigenvalue s, so the check compares it with the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import beta, norm

from bayeslmm.numerics.arrays import Counts, Floats

REPLICATES = 1000


@dataclass(frozen=True, slots=True, eq=False)
class VarianceCheck:
    """Mean squared contrast by bins of the eigenvalue, observed and replicated.

    Parameters
    ----------
    eigenvalue
        (b,) mean eigenvalue of each bin, ascending.
    size
        (b,) number of contrasts in each bin.
    observed
        (b,) mean of e².
    replicated
        (replicates, b) the same for data drawn from the posterior predictive.
    """

    eigenvalue: Floats
    size: Counts
    observed: Floats
    replicated: Floats

    def band(self, prob: float) -> Floats:
        """Return the equal-tailed predictive band (2, b)."""
        tail = (1 - prob) / 2
        return np.asarray(np.quantile(self.replicated, [tail, 1 - tail], axis=0))

    def outside(self, prob: float = 0.95) -> int:
        """Count the bins outside the band."""
        low, high = self.band(prob)
        return int(np.count_nonzero((self.observed < low) | (self.observed > high)))


def eigenvalue_bins(eigenvalues: Floats, first: int = 8, growth: float = 1.6) -> list[slice]:
    """Bin ascending eigenvalues (m,), finest at the top, where they inform h² most.

    From the largest eigenvalue down the bins hold 8, 13, 20, ... contrasts; the remainder joins
    the last one. Fewer than `first` contrasts make one bin.
    """
    m = eigenvalues.size
    stops, size, stop = [m], float(first), m
    while stop - size * growth > 0 and stop - size >= first:
        stop -= round(size)
        stops.append(stop)
        size *= growth
    if stops[-1] != 0:
        stops.append(0)
    return [slice(low, high) for high, low in pairwise(stops)][::-1]


def variance_check(
    eigenvalues: Floats, contrasts: Floats, sigma2_u: Floats, sigma2_e: Floats, seed: int
) -> VarianceCheck:
    """Draw replicated contrasts and bin the squares of observed and replicated ones.

    Parameters
    ----------
    eigenvalues, contrasts
        s (m,), ascending, and e (m,).
    sigma2_u, sigma2_e
        Posterior draws (draws,); `REPLICATES` of them, evenly spaced, are used.
    seed
        Seed of the replicates.
    """
    order = np.argsort(eigenvalues, kind="stable")
    s, e = eigenvalues[order], contrasts[order]
    bins = eigenvalue_bins(s)
    starts = [b.start for b in bins]
    sizes = np.array([b.stop - b.start for b in bins])
    picked = np.linspace(0, sigma2_u.size - 1, min(REPLICATES, sigma2_u.size)).astype(int)
    rng = np.random.default_rng(seed)
    replicated = np.empty((picked.size, len(bins)))
    for row, i in enumerate(picked):
        squares = (sigma2_u[i] * s + sigma2_e[i]) * rng.standard_normal(s.size) ** 2
        replicated[row] = np.add.reduceat(squares, starts) / sizes
    return VarianceCheck(
        np.add.reduceat(s, starts) / sizes,
        sizes,
        np.add.reduceat(e * e, starts) / sizes,
        replicated,
    )


@dataclass(frozen=True, slots=True, eq=False)
class NormalCheck:
    """Normal Q-Q comparison: ordered standardised values and expected normal quantiles.

    Parameters
    ----------
    expected, observed
        (k,) quantiles: all of both tails, and a selection of the others, at most `most` in all.
    low, high
        Pointwise 95 % band (k,) of the order statistics of a normal sample.
    skewness, kurtosis
        Skewness and excess kurtosis of all values.
    largest
        Largest absolute value.
    """

    expected: Floats
    observed: Floats
    low: Floats
    high: Floats
    skewness: float
    kurtosis: float
    largest: float

    @property
    def share_outside(self) -> float:
        """Fraction of the selected points outside the band."""
        return float(np.mean((self.observed < self.low) | (self.observed > self.high)))


def normal_check(values: Floats, most: int = 240) -> NormalCheck:
    """Compare values (m,), standardised by the model, with the normal distribution."""
    z = np.sort(values)
    m = z.size
    tail = most // 4
    if m > most:
        middle = np.linspace(tail, m - tail - 1, most - 2 * tail).astype(int)
        picked = np.concatenate([np.arange(tail), middle, np.arange(m - tail, m)])
    else:
        picked = np.arange(m)
    rank = picked + 1.0
    low, high = (norm.ppf(beta.ppf(q, rank, m + 1 - rank)) for q in (0.025, 0.975))
    centred = (values - values.mean()) / (values.std() or 1.0)
    return NormalCheck(
        np.asarray(norm.ppf((rank - 0.375) / (m + 0.25))),
        z[picked],
        np.asarray(low),
        np.asarray(high),
        float(np.mean(centred**3)),
        float(np.mean(centred**4) - 3.0),
        float(np.abs(values).max()),
    )


def whitened(eigenvalues: Floats, contrasts: Floats, sigma2_u: float, sigma2_e: float) -> Floats:
    """Compute ``e_i / √(σ²_u s_i + σ²_e)`` (m,), standard normal if the model holds."""
    return np.asarray(contrasts / np.sqrt(sigma2_u * eigenvalues + sigma2_e))
