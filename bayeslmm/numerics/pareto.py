"""Pareto smoothing of importance weights: their tail is replaced by a fitted generalised Pareto.

References
----------
Vehtari, Simpson, Gelman, Yao & Gabry (2024) Pareto smoothed importance sampling. J Mach Learn Res
25:72.
"""

from __future__ import annotations

import math

import numpy as np
from arviz_stats.base import array_stats

from bayeslmm.numerics.arrays import Floats

LOWEST = -700.0  # log of the smallest weight beside the greatest
TIES = 1e-9  # logs of weights nearer than this are one
FEW = 25  # below, a tail of a fifth has fewer than five


def smooth_tail(log_weights: Floats) -> tuple[Floats, float]:
    """Log weights (N,) with a smoothed tail, up to a constant, and k̂, the shape of the tail.

    Where all of the tail is one number the weights are bounded by it: they stay as they are, with
    k̂ = 0. Too few weights above zero, or fewer than 25 in all, have k̂ = inf.
    """
    n = log_weights.size
    shifted = np.maximum(log_weights - log_weights.max(), LOWEST)
    if n < FEW:
        return shifted, math.inf
    tail = math.floor(min(0.2 * n, 3.0 * math.sqrt(n)))
    if np.count_nonzero(shifted > -TIES) >= tail:
        return shifted, 0.0
    smoothed, k = array_stats.psislw(-shifted)  # which takes minus the log weights
    return np.asarray(smoothed), float(k) if np.isfinite(k) else math.inf
