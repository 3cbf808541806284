"""Posterior and REML estimate of h² of many simulated data sets of one kernel, at once.

With e the error contrasts and ``d = h² s + 1 - h²`` everything about h² depends on
``rss(h²) = Σ e_i²/d_i`` at the nodes of h²: one matrix product for all data sets. Then::

    l(h²)          = -½ [m log rss + Σ log d]                     restricted log likelihood
    log p(h² | e)  = l(h²) + log E[f(½ log(rss/2γ))] + log p(h²)  `bayeslmm.coverage.priors`

It is the posterior of the exact engine for a flat prior on the fixed effects.

References
----------
Patterson & Thompson (1971) Biometrika 58:545; Gilmour, Thompson & Cullis (1995) Biometrics
51:1440 (average information).
"""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.coverage.grid import FINE, ShareGrid
from bayeslmm.coverage.priors import distribution, log_scale_integral, parse_priors
from bayeslmm.priors import Prior

type Floats = NDArray[np.float64]

STENCIL = 6


@dataclass(frozen=True, slots=True, eq=False)
class ShareFits:
    """What r data sets say about h².

    Parameters
    ----------
    mean
        Posterior mean (r,).
    hdi, eti
        Highest density and equal-tailed interval (r, 2). The lower end of the HDI is 0 if and only
        if the shortest interval begins there, as in `ShareMarginal.hdi`.
    reml
        REML estimate on [0, 1] (r,).
    se
        Its standard error by the average information (r,).
    statistic
        ``2 [max l(h²) - l(0)]`` (r,).
    """

    mean: Floats
    hdi: Floats
    eti: Floats
    reml: Floats
    se: Floats
    statistic: Floats


def join(parts: list[ShareFits]) -> ShareFits:
    """Fits of several blocks of data sets as one."""
    names = [field.name for field in fields(ShareFits)]
    return ShareFits(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class ShareModel:
    """Kernel, priors and the interval that is asked for; made by `share_model`.

    Parameters
    ----------
    grid
        Nodes of h².
    prior
        SciPy distribution of h².
    prior_cdf
        P(h² <= h) at ``grid.h``.
    scale_integral
        What the prior of τ adds (`bayeslmm.coverage.priors.log_scale_integral`).
    prob
        Probability of the intervals.
    """

    grid: ShareGrid
    prior: Any
    prior_cdf: Floats
    scale_integral: Callable[[Floats], Floats]
    prob: float


def share_model(
    grid: ShareGrid, priors: Mapping[str, str | Prior] | None = None, prob: float = 0.95
) -> ShareModel:
    """Prepare the priors of ``h2`` and ``total_sd`` for the nodes of a kernel."""
    parsed = parse_priors(priors)
    share = distribution(parsed["h2"])
    integral = log_scale_integral(parsed["total_sd"], grid.m)
    return ShareModel(grid, share, share.cdf(grid.h), integral, prob)


def fit_contrasts(model: ShareModel, squares: Floats, window: slice | None = None) -> ShareFits:
    """Posterior and REML estimate of h² of each data set.

    Parameters
    ----------
    model
        Kernel and priors.
    squares
        e² (r, k), the squared contrasts in any unit, in the order of ``grid.eigenvalues``; of equal
        eigenvalues their sum.
    window
        The nodes to be used (`ShareGrid.window`). Default: all.
    """
    grid = model.grid
    s, m = grid.eigenvalues, grid.m
    window = slice(0, (grid.h.size - 1) // FINE + 1) if window is None else window
    h = grid.h[::FINE][window]
    d = h[:, None] * s + (1.0 - h)[:, None]
    log_d = np.log(d) @ grid.count
    weights = np.reciprocal(d, out=d)
    squares = squares * (m / squares.sum(axis=1, keepdims=True))  # unit: sd(y | X)
    x = 0.5 * np.log((squares @ weights.T) / m)
    reml = -0.5 * log_d - m * x
    posterior = reml + model.scale_integral(x)
    fine = slice(window.start * FINE, (window.start + h.size - 1) * FINE + 1)
    out = ShareFits(*(np.empty((len(squares), *shape)) for shape in ((), (2,), (2,), (), (), ())))
    _fit_rows(
        posterior, reml, grid.h[fine], model.prior_cdf[fine], _lagrange_weights(), squares, s, m,
        model.prob, out.mean, out.hdi, out.eti, out.reml, out.se, out.statistic,
    )  # fmt: skip
    out.eti[:] = model.prior.ppf(out.eti)
    np.clip(out.hdi, *model.prior.support(), out=out.hdi)
    return out


def _lagrange_weights() -> Floats:
    """Weights of interpolation by `STENCIL` nodes: (interval of the stencil, FINE, STENCIL)."""
    weights = np.empty((STENCIL - 1, FINE, STENCIL))
    nodes = np.arange(STENCIL)
    for interval in range(STENCIL - 1):
        for part in range(FINE):
            x = interval + part / FINE
            for i in nodes:
                others = nodes[nodes != i]
                weights[interval, part, i] = np.prod((x - others) / (i - others))
    return weights


@numba.njit(cache=True, nogil=True)
def _refine(values: Floats, weights: Floats, fine: Floats) -> None:
    """Interpolate values at the nodes (k,) to the fine places."""
    k = values.shape[0]
    parts, size = weights.shape[1], weights.shape[2]
    for cell in range(k - 1):
        start = min(max(cell - size // 2 + 1, 0), k - size)
        for part in range(parts):
            total = 0.0
            for i in range(size):
                total += weights[cell - start, part, i] * values[start + i]
            fine[cell * parts + part] = total
    fine[(k - 1) * parts] = values[k - 1]


@numba.njit(cache=True, nogil=True)
def _quantile(cdf: Floats, h: Floats, u: float) -> float:
    """The h² (or what stands for it) at which a distribution function reaches u."""
    high = int(np.searchsorted(cdf, u))
    if high <= 0:
        return float(h[0])
    if high >= h.shape[0]:
        return float(h[-1])
    rise = cdf[high] - cdf[high - 1]
    return float(h[high - 1] + (h[high] - h[high - 1]) * (u - cdf[high - 1]) / rise)


@numba.njit(cache=True, nogil=True)
def _shortest(cdf: Floats, h: Floats, prob: float) -> tuple[float, float]:
    """Shortest interval with the given probability.

    Its length is linear in the probability below it between places where one of its ends meets a
    knot of the distribution function; so one of its ends is a knot.
    """
    size = h.shape[0]
    lower, upper = h[0], _quantile(cdf, h, cdf[0] + prob)
    for i in range(1, size):
        if cdf[i] + prob > 1.0:
            break
        right = _quantile(cdf, h, cdf[i] + prob)
        if right - h[i] < upper - lower:
            lower, upper = h[i], right
    for i in range(size - 1, -1, -1):
        if cdf[i] < prob:
            break
        left = _quantile(cdf, h, cdf[i] - prob)
        if h[i] - left < upper - lower:
            lower, upper = left, h[i]
    return lower, upper


@numba.njit(cache=True, nogil=True)
def _top(values: Floats, h: Floats) -> tuple[float, float]:
    """Place and height of the maximum of a function tabulated on evenly spaced coordinates."""
    best = int(np.argmax(values))
    if best == 0 or best == values.shape[0] - 1:
        return float(h[best]), float(values[best])
    a, b, c = values[best - 1], values[best], values[best + 1]
    bend = a - 2.0 * b + c
    offset = 0.5 * (a - c) / bend if bend < 0.0 else 0.0
    place = h[best] + 0.5 * offset * (h[best + 1] - h[best - 1])
    place += 0.5 * offset * offset * (h[best + 1] - 2.0 * h[best] + h[best - 1])
    return float(place), float(b - 0.25 * (a - c) * offset)


@numba.njit(cache=True, nogil=True)
def _standard_error(h: float, squares: Floats, s: Floats, m: int) -> float:
    """SE of h² by the average information in (h², log σ²) at σ² = rss/m."""
    rss = 0.0
    first = 0.0
    second = 0.0
    for i in range(s.shape[0]):
        d = h * s[i] + 1.0 - h
        slope = (s[i] - 1.0) / d
        x = squares[i] / d
        rss += x
        first += x * slope
        second += x * slope * slope
    variance = rss / m
    information = 0.5 * (second / variance - first * first / (m * variance * variance))
    return 1.0 / math.sqrt(information) if information > 0.0 else math.inf


@numba.njit(cache=True, nogil=True)
def _fit_rows(
    posterior: Floats,
    reml: Floats,
    h: Floats,
    prior: Floats,
    weights: Floats,
    squares: Floats,
    s: Floats,
    m: int,
    prob: float,
    mean: Floats,
    hdi: Floats,
    eti: Floats,
    estimate: Floats,
    se: Floats,
    statistic: Floats,
) -> None:
    """Fill the `ShareFits` of data sets from log densities at the nodes (r, k).

    `h` and `prior` are h² and its prior distribution function at the fine places; the ends of the
    equal-tailed interval are given as prior probabilities below them.
    """
    count = posterior.shape[0]
    size = h.shape[0]
    fine = np.empty(size)
    cdf = np.empty(size)
    for row in range(count):
        _refine(posterior[row], weights, fine)
        top = fine.max()
        before = math.exp(fine[0] - top)
        cdf[0] = 0.0
        total = 0.0
        moment = 0.0
        for i in range(1, size):
            after = math.exp(fine[i] - top) if fine[i] - top > -700.0 else 0.0
            mass = 0.5 * (before + after) * (prior[i] - prior[i - 1])
            total += mass
            moment += mass * 0.5 * (h[i - 1] + h[i])
            cdf[i] = total
            before = after
        for i in range(size):
            cdf[i] /= total
        mean[row] = moment / total
        hdi[row, 0], hdi[row, 1] = _shortest(cdf, h, prob)
        # in units of the prior's probability, which may rise steeply at 0 and 1
        eti[row, 0] = _quantile(cdf, prior, 0.5 * (1.0 - prob))
        eti[row, 1] = _quantile(cdf, prior, 0.5 * (1.0 + prob))
        _refine(reml[row], weights, fine)
        estimate[row], height = _top(fine, h)
        se[row] = _standard_error(estimate[row], squares[row], s, m)
        statistic[row] = max(2.0 * height, 0.0)  # in these units rss = m at h² = 0, so l(0) = 0
