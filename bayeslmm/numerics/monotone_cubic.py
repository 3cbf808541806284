"""Inverse and shortest interval of a distribution function known at nodes.

Between its nodes x the distribution function F is a monotone cubic with the values and slopes
(densities p) of the nodes. Everything is read off it by root finding::

    quantile            F(x) = u
    shortest interval   p(a) = p(b),   F(b) - F(a) = prob

References
----------
Fritsch & Carlson (1980) SIAM J Numer Anal 17:238 (monotone cubics); Dowell & Jarratt (1971) BIT
11:168 (the Illinois form of the regula falsi).
"""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numba
import numpy as np

from bayeslmm.numerics.arrays import Floats

ROUNDING = 1e-10  # rise of F over a cell that rounding may have spoilt
TIE = 1e-12  # difference of widths that is rounding
TINY = 1e-300


@numba.njit(cache=True, nogil=True)
def cell(cdf: Floats, u: float) -> int:
    """The last cell that begins at or below F = u."""
    low, high = 0, cdf.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if cdf[middle] <= u:
            low = middle
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def _slopes(x: Floats, cdf: Floats, density: Floats, i: int) -> tuple[float, float, float]:
    """Rise of F over cell i, and its slopes at both ends times the width, kept monotone."""
    width, rise = x[i + 1] - x[i], cdf[i + 1] - cdf[i]
    return rise, min(density[i] * width, 3.0 * rise), min(density[i + 1] * width, 3.0 * rise)


@numba.njit(cache=True, nogil=True)
def _part(x: Floats, cdf: Floats, density: Floats, i: int, u: float) -> float:
    """How far into cell i, 0 to 1, F reaches u."""
    rise, m0, m1 = _slopes(x, cdf, density, i)
    wanted = u - cdf[i]
    if rise <= 0.0:
        return 0.5
    if wanted <= 0.0 or wanted >= rise:
        return 0.0 if wanted <= 0.0 else 1.0
    bend, twist = 3.0 * rise - 2.0 * m0 - m1, m0 + m1 - 2.0 * rise
    low, high, part = 0.0, 1.0, wanted / rise
    for _ in range(60):
        miss = part * (m0 + part * (bend + part * twist)) - wanted
        if miss > 0.0:
            high = part
        else:
            low = part
        slope = m0 + part * (2.0 * bend + part * 3.0 * twist)
        new = part - miss / slope if slope > 0.0 else low
        if not low < new < high:
            new = 0.5 * (low + high)
        if abs(new - part) < 1e-14:
            return float(new)
        part = new
    return float(part)


@numba.njit(cache=True, nogil=True)
def quantile(x: Floats, cdf: Floats, density: Floats, u: float) -> float:
    """x at which a distribution function (f,) reaches u; beyond the nodes, the outermost ones."""
    i = cell(cdf, u)
    return float(x[i] + _part(x, cdf, density, i, u) * (x[i + 1] - x[i]))


@numba.njit(cache=True, nogil=True)
def quantiles(x: Floats, cdf: Floats, density: Floats, u: Floats) -> Floats:
    """`quantile` of every u (k,)."""
    out = np.empty(u.shape[0])
    for k in range(u.shape[0]):
        out[k] = quantile(x, cdf, density, u[k])
    return out


@numba.njit(cache=True, nogil=True)
def probability(x: Floats, cdf: Floats, density: Floats, at: float) -> float:
    """F at a place between the first and the last node."""
    i = min(max(int(np.searchsorted(x, at)) - 1, 0), x.shape[0] - 2)
    rise, m0, m1 = _slopes(x, cdf, density, i)
    width = x[i + 1] - x[i]
    part = min(max((at - x[i]) / width, 0.0), 1.0) if width > 0.0 else 1.0
    bend, twist = 3.0 * rise - 2.0 * m0 - m1, m0 + m1 - 2.0 * rise
    return float(cdf[i] + part * (m0 + part * (bend + part * twist)))


@numba.njit(cache=True, nogil=True)
def _log_density(x: Floats, cdf: Floats, density: Floats, u: float) -> float:
    """log p where F reaches u."""
    i = cell(cdf, u)
    part = _part(x, cdf, density, i, u)
    rise, m0, m1 = _slopes(x, cdf, density, i)
    bend, twist = 3.0 * rise - 2.0 * m0 - m1, m0 + m1 - 2.0 * rise
    slope = m0 + part * (2.0 * bend + part * 3.0 * twist)
    width = x[i + 1] - x[i]
    if rise > ROUNDING and slope > 0.0 and width > 0.0:
        return math.log(slope / width)
    left, right = min(density[i], 1e300), min(density[i + 1], 1e300)
    return math.log(max(left + part * (right - left), TINY))


@numba.njit(cache=True, nogil=True)
def _gap(x: Floats, cdf: Floats, density: Floats, below: float, prob: float) -> float:
    """log p(a)/p(b) of the interval [a, b] that has the probability `below` below it."""
    lower = _log_density(x, cdf, density, below)
    return float(lower - _log_density(x, cdf, density, below + prob))


@numba.njit(cache=True, nogil=True)
def _best_start(x: Floats, cdf: Floats, prob: float) -> float:
    """Probability below the shortest interval of those that begin at a node or end at the last."""
    end = cdf[-1] - prob
    best, found, i = np.inf, end, 0
    for j in range(x.shape[0]):
        below = min(cdf[j], end)
        u = below + prob
        while i < x.shape[0] - 2 and cdf[i + 1] < u:
            i += 1
        if below == end:  # from inside of a cell to the last node
            rise = cdf[j] - cdf[j - 1] if j > 0 else 0.0
            part = (cdf[j] - end) / rise if rise > 0.0 else 0.0
            width = x[-1] - x[j] + (part * (x[j] - x[j - 1]) if part > 0.0 else 0.0)
        else:
            rise = cdf[i + 1] - cdf[i]
            width = x[i] - x[j] + ((u - cdf[i]) / rise if rise > 0.0 else 0.0) * (x[i + 1] - x[i])
        if width < best:
            best, found = width, below
        if below == end:
            break
    return float(found)


@numba.njit(cache=True, nogil=True)
def shortest(x: Floats, cdf: Floats, density: Floats, prob: float) -> tuple[float, float]:
    """Shortest single interval with a probability.

    Its ends have the same density, or one of them is the first or the last node.

    Parameters
    ----------
    x, cdf, density
        Nodes, distribution function from 0 to 1, and density there (f,).
    prob
        Its probability.
    """
    below = _best_start(x, cdf, prob)
    end = cdf[-1] - prob
    i, j, last = cell(cdf, below), cell(cdf, below + prob), x.shape[0] - 1
    low = max(min(cdf[max(i - 2, 0)], cdf[max(j - 2, 0)] - prob), 0.0)
    high = min(max(cdf[min(i + 3, last)], cdf[min(j + 3, last)] - prob), end)
    left, right = _gap(x, cdf, density, low, prob), _gap(x, cdf, density, high, prob)
    if left < 0.0 < right:
        below = _root(x, cdf, density, prob, low, high, left, right)
    lower, upper = quantile(x, cdf, density, below), quantile(x, cdf, density, below + prob)
    if left >= 0.0 and low == 0.0:  # from the first node on
        reach = quantile(x, cdf, density, prob)
        if reach - x[0] <= upper - lower + TIE:
            lower, upper = x[0], reach
    if right <= 0.0 and high == end:  # up to the last one
        reach = quantile(x, cdf, density, end)
        if x[last] - reach < upper - lower + TIE and lower > x[0]:
            lower, upper = reach, x[last]
    return float(lower), float(upper)


@numba.njit(cache=True, nogil=True)
def _root(
    x: Floats,
    cdf: Floats,
    density: Floats,
    prob: float,
    low: float,
    high: float,
    left: float,
    right: float,
) -> float:
    """Where `_gap` is zero, between `low` (`left` < 0 there) and `high` (`right` > 0 there)."""
    side = 0
    for _ in range(100):
        middle = low + (high - low) * left / (left - right)
        if not low < middle < high:
            middle = 0.5 * (low + high)
        gap = _gap(x, cdf, density, middle, prob)
        if gap == 0.0 or high - low < 1e-15 or abs(gap) < 1e-13:
            return middle
        if gap < 0.0:
            low, left = middle, gap
            right = 0.5 * right if side == -1 else right
            side = -1
        else:
            high, right = middle, gap
            left = 0.5 * left if side == 1 else left
            side = 1
    return 0.5 * (low + high)
