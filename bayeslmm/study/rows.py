"""Fit data sets one after the other from tabulated densities: posterior and REML estimate of h².

Newton steps from the best node give the same REML estimate as
`bayeslmm.estimates.reml.reml_one_kernel`. The standard errors differ: here from the average
information (as in GCTA), there from the observed information (as in GEMMA).
"""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numba
import numpy as np

from bayeslmm.estimates.profile_likelihood import log_profile, maximise_profile
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.monotone_cubic import quantile, shortest
from bayeslmm.study.grid import FINE

STENCIL = 6  # nodes that an interpolated point uses


def interpolation_weights() -> Floats:
    """Return Lagrange weights (STENCIL - 1, FINE, STENCIL): interval, fine point, node."""
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
    """Interpolate values at the nodes (k,) to the fine points."""
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
def _reml(
    values: Floats, h: Floats, s: Floats, count: Floats, squares: Floats
) -> tuple[float, float, float]:
    """Return the REML estimate, the average information there and the statistic of h² = 0."""
    best, last = int(np.argmax(values)), values.shape[0] - 1
    low, high = h[max(best - 1, 0)], h[min(best + 1, last)]
    start = h[best]
    if 0 < best < last:  # start at the vertex of a parabola
        a, b, c = values[best - 1], values[best], values[best + 1]
        offset = 0.5 * (a - c) / min(a - 2.0 * b + c, -1e-12)
        place = start + 0.5 * offset * (high - low + offset * (high - 2.0 * start + low))
        start = min(max(place, low), high)
    top, _, average = maximise_profile(start, low, high, s, count, squares)
    ratio = 2.0 * (log_profile(top, s, count, squares) - log_profile(0.0, s, count, squares))
    return top, average, max(ratio, 0.0)


@numba.njit(cache=True, nogil=True)
def _distribution(log_ratio: Floats, h: Floats, prior: Floats, ratio: Floats, cdf: Floats) -> float:
    """Fill posterior/prior density (f,) and posterior CDF (f,); return the mean of h²."""
    top = log_ratio.max()
    total = moment = 0.0
    for i in range(log_ratio.shape[0]):
        drop = log_ratio[i] - top
        ratio[i] = math.exp(drop) if drop > -700.0 else 0.0
        if i > 0:
            mass = 0.5 * (ratio[i - 1] + ratio[i]) * (prior[i] - prior[i - 1])
            total += mass
            moment += mass * 0.5 * (h[i - 1] + h[i])
        cdf[i] = total
    scale = 1.0 / total
    for i in range(log_ratio.shape[0]):
        ratio[i] *= scale
        cdf[i] *= scale
    cdf[-1] = 1.0
    return moment * scale


@numba.njit(cache=True, nogil=True)
def fit_rows(
    posterior: Floats,
    reml: Floats,
    h: Floats,
    prior: Floats,
    prior_density: Floats,
    weights: Floats,
    squares: Floats,
    s: Floats,
    count: Floats,
    prob: float,
    mean: Floats,
    hdi: Floats,
    eti: Floats,
    estimate: Floats,
    se: Floats,
    statistic: Floats,
) -> None:
    """Fill the `ShareFits` of data sets from log densities at the nodes (r, k).

    `h`, `prior` and `prior_density` are h², its prior CDF and its prior density at the fine points.
    The ends of the equal-tailed interval are returned as values of the prior CDF.
    """
    size, parts = h.shape[0], weights.shape[1]
    nodes = h[::parts].copy()
    fine, ratio, cdf, density = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    for row in range(posterior.shape[0]):
        _refine(posterior[row], weights, fine)
        mean[row] = _distribution(fine, h, prior, ratio, cdf)
        for i in range(size):
            density[i] = ratio[i] * prior_density[i] if ratio[i] > 0.0 else 0.0
        hdi[row, 0], hdi[row, 1] = shortest(h, cdf, density, prob)
        # as values of the prior CDF, because it may rise steeply at 0 and 1
        eti[row, 0] = quantile(prior, cdf, ratio, 0.5 * (1.0 - prob))
        eti[row, 1] = quantile(prior, cdf, ratio, 0.5 * (1.0 + prob))
        top, average, statistic[row] = _reml(reml[row], nodes, s, count, squares[row])
        estimate[row] = top
        se[row] = 1.0 / math.sqrt(average) if average > 0.0 else math.inf
