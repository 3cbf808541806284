"""Fit many simulated data sets of one kernel at once: posterior and REML estimate of h².

With e the error contrasts and ``d = h² s + 1 - h²`` everything about h² depends on
``rss(h²) = Σ e_i²/d_i`` at the nodes of h². One matrix product gives it for all data sets. Then::

    l(h²)          = -½ [m log rss + Σ log d]                     restricted log likelihood
    log p(h² | e)  = l(h²) + log E[f(½ log(rss/2γ))] + log p(h²)  `bayeslmm.study.priors`

With a flat prior on the fixed effects the exact engine gives the same posterior.
`bayeslmm.study.rows` loops over the data sets.

References
----------
Patterson & Thompson (1971) Biometrika 58:545.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.prior import Prior
from bayeslmm.study.grid import FINE, ShareGrid
from bayeslmm.study.priors import distribution, log_scale_integral, parse_priors
from bayeslmm.study.rows import fit_rows, interpolation_weights


@dataclass(frozen=True, slots=True, eq=False)
class ShareFits:
    """Fits of r data sets.

    Parameters
    ----------
    mean
        Posterior mean (r,).
    hdi, eti
        Highest density and equal-tailed intervals (r, 2). The lower end of the HDI is 0 if and only
        if the shortest interval begins at 0, as in `ShareMarginal.hdi`.
    reml
        REML estimate on [0, 1] (r,).
    se
        Standard error of `reml` by the average information (r,).
    statistic
        Restricted likelihood ratio statistic ``2 [max l(h²) - l(0)]`` (r,).
    """

    mean: Floats
    hdi: Floats
    eti: Floats
    reml: Floats
    se: Floats
    statistic: Floats


def join(parts: list[ShareFits]) -> ShareFits:
    """Join the fits of several blocks of data sets."""
    names = [field.name for field in fields(ShareFits)]
    return ShareFits(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True, eq=False)
class ShareModel:
    """Kernel, priors and probability of the intervals; made by `share_model`.

    Parameters
    ----------
    grid
        Nodes of h².
    prior
        SciPy distribution of h².
    prior_cdf, prior_density
        P(h² <= h) and the density of h² at ``grid.h``.
    scale_integral
        Log factor from the prior of τ (`bayeslmm.study.priors.log_scale_integral`).
    prob
        Probability of the intervals.
    """

    grid: ShareGrid
    prior: Any
    prior_cdf: Floats
    prior_density: Floats
    scale_integral: Callable[[Floats], Floats]
    prob: float


def share_model(
    grid: ShareGrid, priors: Mapping[str, str | Prior] | None = None, prob: float = 0.95
) -> ShareModel:
    """Prepare the priors of ``h2`` and ``total_sd`` for the nodes of a kernel."""
    parsed = parse_priors(priors)
    share = distribution(parsed["h2"])
    integral = log_scale_integral(parsed["total_sd"], grid.m)
    return ShareModel(grid, share, share.cdf(grid.h), share.pdf(grid.h), integral, prob)


def fit_contrasts(model: ShareModel, squares: Floats, window: slice | None = None) -> ShareFits:
    """Compute the posterior and the REML estimate of h² for each data set.

    Parameters
    ----------
    model
        Kernel and priors.
    squares
        e² (r, k), the squared contrasts in any unit, in the order of ``grid.eigenvalues``, summed
        over equal eigenvalues.
    window
        Nodes to use (`ShareGrid.window`). Default: all.
    """
    grid = model.grid
    s, m = grid.eigenvalues, grid.m
    window = slice(0, (grid.h.size - 1) // FINE + 1) if window is None else window
    h = grid.h[::FINE][window]
    d = h[:, None] * s + (1.0 - h)[:, None]
    log_d = np.log(d) @ grid.count
    weights = np.reciprocal(d, out=d)
    squares = squares * (m / squares.sum(axis=1, keepdims=True))  # in units of sd(y | X)
    x = 0.5 * np.log((squares @ weights.T) / m)
    reml = -0.5 * log_d - m * x
    posterior = reml + model.scale_integral(x)
    fine = slice(window.start * FINE, (window.start + h.size - 1) * FINE + 1)
    out = ShareFits(*(np.empty((len(squares), *shape)) for shape in ((), (2,), (2,), (), (), ())))
    fit_rows(
        posterior, reml, grid.h[fine], model.prior_cdf[fine], model.prior_density[fine],
        interpolation_weights(), squares, s, grid.count, model.prob,
        out.mean, out.hdi, out.eti, out.reml, out.se, out.statistic,
    )  # fmt: skip
    out.eti[:] = model.prior.ppf(out.eti)
    np.clip(out.hdi, *model.prior.support(), out=out.hdi)
    return out
