"""Simultaneous confidence bands of the empirical distribution function of uniform values.

    R_i = #{u ≤ z_i} ~ Binomial(N, z_i),   z_i = i/K,   i = 1, ..., K - 1
    γ = 2 min_i min{P(X ≤ R_i), P(X ≥ R_i)},   X ~ Binomial(N, z_i)

γ is the level of the narrowest pointwise band that holds the entire curve. The counts are a Markov
chain, ``R_i - R_{i-1} | R_{i-1} ~ Binomial(N - R_{i-1}, (z_i - z_{i-1})/(1 - z_{i-1}))``. Hence the
probability to stay within given limits, the p-value of γ and the level of a 95 % band are computed
exactly, without simulation.

Reference: Säilynoja, Bürkner & Vehtari (2022) Stat Comput 32:32, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln
from scipy.stats import binom

from bayeslmm.numerics.arrays import Counts, Floats

POINTS = 100  # K
ROUNDING = 1e-9  # levels that differ by less are equal
LEAST = 1e-15  # smallest p-value returned: 1 - P(inside) is not accurate below it


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """A simultaneous band.

    Parameters
    ----------
    z
        (K - 1,) evaluation points.
    lower, upper
        (K - 1,) limits of the proportion of values up to z; both are inside the band.
    gamma
        Pointwise level: a single point is outside with probability at most γ.
    prob
        Probability that the entire curve of uniform values is inside, at least the nominal one.
    """

    z: Floats
    lower: Floats
    upper: Floats
    gamma: float
    prob: float


def evaluation_points(points: int = POINTS) -> Floats:
    """Return z_i = i/K (K - 1,)."""
    return np.arange(1, points) / points


def proportions(values: ArrayLike, points: int = POINTS) -> Floats:
    """Compute the proportion of the values in (0, 1) that are at most z_i (K - 1,)."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    return np.searchsorted(ordered, evaluation_points(points), side="right") / ordered.size


def statistic(values: ArrayLike, points: int = POINTS) -> float:
    """Compute γ of values in (0, 1), which is small if they are not uniform.

    Examples
    --------
    >>> statistic([0.5] * 10) < 0.01
    True
    """
    u = np.asarray(values, dtype=np.float64)
    z = evaluation_points(points)
    R = np.rint(proportions(u, points) * u.size)
    below, above = np.asarray(binom.cdf(R, u.size, z)), np.asarray(binom.sf(R - 1, u.size, z))
    return float(min(1.0, 2 * below.min(), 2 * above.min()))


def p_value(values: ArrayLike, points: int = POINTS) -> float:
    """Compute the exact p-value of γ: P(γ of as many uniform values ≤ γ of these), ≥ 1e-15."""
    size = np.size(values)
    level = statistic(values, points) * (1 + ROUNDING)
    return float(min(1.0, max(LEAST, 1.0 - inside_probability(size, *limits(size, level, points)))))


@lru_cache(maxsize=32)
def simultaneous_band(n: int, prob: float = 0.95, points: int = POINTS) -> Band:
    """Compute the band that holds the curve of N uniform values with probability `prob`.

    Parameters
    ----------
    n
        N, the number of values.
    prob
        Probability that the entire curve is inside.
    points
        K.
    """
    low, high = 0.0, 1.0
    while high - low > 1e-4 * high:  # P(inside) falls with γ
        middle = 0.5 * (low + high)
        if inside_probability(n, *limits(n, middle, points)) >= prob:
            low = middle
        else:
            high = middle
    lower, upper = limits(n, low, points)
    inside = inside_probability(n, lower, upper)
    return Band(evaluation_points(points), lower / n, upper / n, low, inside)


def limits(n: int, gamma: float, points: int = POINTS) -> tuple[Counts, Counts]:
    """Return the smallest and the largest count (K - 1,) with a pointwise level of at least γ."""
    z = evaluation_points(points)
    half = 0.5 * gamma
    lower = np.asarray(binom.ppf(half, n, z))  # smallest r with P(X ≤ r) ≥ γ/2
    upper = np.asarray(binom.isf(half, n, z))  # smallest r with P(X > r) ≤ γ/2, one less or equal
    upper = upper + (np.asarray(binom.sf(upper, n, z)) >= half)
    return np.maximum(lower, 0).astype(np.int64), np.minimum(upper, n).astype(np.int64)


def inside_probability(n: int, lower: Counts, upper: Counts) -> float:
    """Compute P(lower_i ≤ R_i ≤ upper_i for all i) for N uniform values, by recursion over i.

    Parameters
    ----------
    n
        N.
    lower, upper
        (K - 1,) limits of the counts at z_i = i/K.
    """
    points = lower.size + 1
    counts, mass = np.zeros(1, dtype=np.int64), np.ones(1)
    for i in range(points - 1):
        if upper[i] < lower[i]:
            return 0.0
        target = np.arange(lower[i], upper[i] + 1)
        step = 1.0 / (points - i)  # (z_i - z_{i-1})/(1 - z_{i-1})
        mass = mass @ _binomial(n - counts[:, None], target - counts[:, None], step)
        counts = target
    return float(mass.sum())


def _binomial(size: Counts, count: Counts, chance: float) -> Floats:
    """Compute P(X = count), X ~ Binomial(size, chance); 0 for impossible counts."""
    rest = size - count
    possible = (count >= 0) & (rest >= 0)
    k, m = np.where(possible, count, 0), np.where(possible, rest, 0)
    log = gammaln(k + m + 1.0) - gammaln(k + 1.0) - gammaln(m + 1.0)
    log += k * np.log(chance) + m * np.log1p(-chance)
    return np.where(possible, np.exp(log), 0.0)
