"""The posterior of h² under other priors, by reweighting an existing fit.

Weights ``w ∝ q/p`` turn a posterior under the prior p into one under the prior q. Only the prior of
x, the share that all kernels explain together, is replaced. The split of x among the kernels, the
total standard deviation τ and the effects keep their priors (half-t standard deviations replace
the prior of τ, too).

- One kernel and the exact engine: the marginal density of h² on its quadrature grid is multiplied
  by q/p, without Monte Carlo error. If q depends on τ, it is multiplied by ``E[q/p | h², y]``. This
  expectation is smooth in h², because τ given h² has a narrow posterior, and a polynomial is
  fitted to it at the draws.
- Otherwise: Pareto-smoothed importance weights of the draws, with their k̂.

References
----------
Vehtari et al. (2024) J Mach Learn Res 25:72 (PSIS); Dickey (1971) Ann Math Stat 42:204.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.special import expit, log_expit, logsumexp

from bayeslmm.checks.model_prior import FittedPrior, recover_prior
from bayeslmm.checks.share_priors import ALTERNATIVES, SharePrior, log_half_t_shares
from bayeslmm.inference.exact.share_marginal import ShareMarginal, cumulate, node_masses
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.pareto import TIES, smooth_tail
from bayeslmm.posterior.summary import exact_share, savage_dickey, shortest_interval

KHAT = 0.7  # largest k̂ of reliable importance weights
BEYOND = 1e-3  # largest posterior mass allowed beyond the ends of the grid
DEGREE = 4  # of the polynomial log E[q/p | h²]
EVEN = 4000  # number of equally weighted draws that replace weighted ones


@dataclass(frozen=True, slots=True, eq=False)
class Alternative:
    """The posterior of one h² under one prior.

    Parameters
    ----------
    quantity
        "h2", or "h2[TRAIT]".
    prior
        The prior of x; None if the prior of the fit could not be recovered.
    own
        Is it the prior of the fit?
    share
        The exact marginal of h², or None.
    draws
        Sorted, equally weighted draws of h² (any number); empty with an exact marginal.
    pareto_k
        k̂ of the weights; nan without weights.
    log10_bf
        log10 Bayes factor in favour of h² = 0; nan if unknown.
    trusted
        Are the weights (k̂), or the range of the grid, good enough for this prior?
    direct
        Is x this h² itself?
    """

    quantity: str
    prior: SharePrior | None
    own: bool
    share: ShareMarginal | None
    draws: Floats
    pareto_k: float
    log10_bf: float
    trusted: bool
    direct: bool = True

    @property
    def name(self) -> str:
        """Name of the prior; "own" if it is unknown."""
        return "own" if self.prior is None else self.prior.name

    def moments(self) -> tuple[float, float]:
        """Return posterior mean and sd."""
        if self.share is not None:
            return self.share.moments()
        return float(self.draws.mean()), float(self.draws.std(ddof=1))

    def interval(self, prob: float) -> tuple[float, float]:
        """Return the shortest interval of probability `prob`."""
        if self.share is not None:
            return self.share.hdi(prob)
        return shortest_interval(self.draws, prob)

    def below(self, limit: float) -> float:
        """Return P(h² < limit | y)."""
        if self.share is not None:
            return self.share.below(limit)
        return float(np.mean(self.draws < limit))


def reweighted_posteriors(
    tree: xr.DataTree, priors: tuple[SharePrior, ...] = ALTERNATIVES
) -> list[Alternative]:
    """Compute the posterior of h² (of each trait) under the prior of the fit and under others.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit` for one model, also when read from a file.
    priors
        The other priors; by default flat, Beta(½, ½), Beta(2, 2), half-t standard deviations, and
        a penalised-complexity prior.

    Returns
    -------
    list
        The prior of the fit first, for every h². Nothing else if that prior is unknown (a user's
        model file) and the fit has no quadrature.
    """
    own = recover_prior(tree)
    if (share := exact_share(tree)) is not None:
        return _exact(tree, share, own, priors)
    h2 = tree["posterior"]["h2"].transpose("chain", "draw", ...)
    values = h2.to_numpy().reshape(h2.sizes["chain"] * h2.sizes["draw"], -1).astype(np.float64)
    names = ["h2"]
    if "trait" in h2.dims:
        names = [f"h2[{trait}]" for trait in h2["trait"].to_numpy()]
    base = savage_dickey(tree) if len(names) == 1 else math.nan
    prior = None if own is None else own.prior
    direct = own is not None and np.allclose(own.explained, values, rtol=0.0, atol=1e-9)
    out = [
        Alternative(name, prior, True, None, np.sort(values[:, t]), math.nan, base, True, direct)
        for t, name in enumerate(names)
    ]
    for other in priors if own is not None else ():
        assert own is not None
        if other.name == own.prior.name:
            continue
        log_weight, total = _log_ratio(tree, own, other)
        if log_weight is None:
            continue
        smoothed, khat = _smoothed(log_weight)
        known = direct and not other.by_sds  # then h² = 0 is one model under both priors
        bf = base - total / math.log(10) if known else math.nan
        out += [
            Alternative(
                *(name, other, False, None, even_draws(values[:, t], smoothed), khat, bf),
                *(khat < KHAT, direct),
            )
            for t, name in enumerate(names)
        ]
    return out


def _log_ratio(
    tree: xr.DataTree, own: FittedPrior, other: SharePrior
) -> tuple[Floats | None, float]:
    """Return log q/p at the draws (draws,), None if q needs a missing τ; and log E[q/p | y]."""
    if other.by_sds:
        if own.total_sd is None or own.log_total_sd is None:
            return None, math.nan
        q = log_half_t_shares(own.shares, own.total_sd, _unit(tree)).sum(axis=-1)
        ratio = q - own.log_shares(own.prior) - own.log_total_sd
    else:
        ratio = (
            other.log_density(own.explained, own.rest)
            - own.prior.log_density(own.explained, own.rest)
        ).sum(axis=-1)
    return ratio, float(logsumexp(ratio) - math.log(ratio.size))


def _unit(tree: xr.DataTree) -> Floats:
    """Return sd(y | X), the unit of scales: (), or (T,) for several traits."""
    data = tree["constant_data"].to_dataset()
    return np.asarray(data["phenotype_unit"].to_numpy() if "phenotype_unit" in data else 1.0)


def _smoothed(log_weight: Floats) -> tuple[Floats, float]:
    """Return Pareto-smoothed weights (draws,), normalised, and k̂; -inf for equal weights."""
    smoothed, khat = smooth_tail(log_weight)
    weight = np.exp(smoothed - np.max(smoothed))
    return weight / weight.sum(), khat if np.ptp(log_weight) > TIES else -math.inf


def even_draws(values: Floats, weight: Floats, count: int = EVEN) -> Floats:
    """Resample weighted draws (draws,) at evenly spaced quantiles; sorted, equally weighted."""
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    place = np.searchsorted(reached, (np.arange(count) + 0.5) / count * reached[-1])
    return np.asarray(values[order][np.minimum(place, values.size - 1)])


def _exact(
    tree: xr.DataTree, share: ShareMarginal, own: FittedPrior | None, priors: tuple[SharePrior, ...]
) -> list[Alternative]:
    """Compute `reweighted_posteriors` of one kernel on the grid of the quadrature."""
    x, rest = expit(share.z), expit(-share.z)
    base, no_draws = savage_dickey(tree), np.empty(0)
    limit = bool(tree["quadrature"].attrs.get("limit_at_zero"))  # of h² → 0: the model without g
    if own is not None:
        log_p = own.prior.log_density(x, rest)
    else:
        density = tree["quadrature"]["prior_density"].to_numpy()
        log_p = np.log(np.maximum(density, 1e-300))
    prior = None if own is None else own.prior
    out = [Alternative("h2", prior, True, share, no_draws, math.nan, base, True)]
    if not np.isfinite(log_p).all():
        return out
    for other in priors:
        if own is not None and other.name == own.prior.name:
            continue
        khat, at_zero = math.nan, 0.0
        if not other.by_sds:
            log_ratio = other.log_density(x, rest) - log_p
        elif own is None or own.total_sd is None or own.log_total_sd is None:
            continue
        else:
            smooth, khat = _given_share(tree, own)
            half = 0.5 * (log_expit(share.z) + log_expit(-share.z))
            log_ratio = smooth(x) - half - log_p
            at_zero = float(_null_ratio(tree, own)(np.zeros(1))[0])
        found, log_mean, beyond = reweighted(share, log_ratio)
        bf = base + (at_zero - log_mean) / math.log(10) if limit else math.nan
        trusted = beyond < BEYOND and not khat > KHAT
        out.append(Alternative("h2", other, False, found, no_draws, khat, bf, trusted))
    return out


def reweighted(share: ShareMarginal, log_ratio: Floats) -> tuple[ShareMarginal, float, float]:
    """Multiply a marginal by ``exp(log_ratio)`` (f,), which may be unbounded at the ends.

    Returns
    -------
    ShareMarginal, float, float
        The new marginal; log E[ratio]; a bound of the mass beyond the grid, if the density of
        logit h² falls there by at least half a nat per unit.
    """
    top = float(np.max(log_ratio))
    ratio = np.exp(log_ratio - top)
    mass = node_masses(share.z, share.density)
    cdf = cumulate(mass * ratio)
    total = float(cdf[-1] / cumulate(mass)[-1])
    density = share.density * ratio / total
    slope = density * np.exp(log_expit(share.z) + log_expit(-share.z))  # of logit h²
    beyond = 2.0 * max(float(slope[0]), float(slope[-1]))
    return ShareMarginal(share.z, cdf / cdf[-1], density), math.log(total) + top, beyond


def _polynomial(h2: Floats, log_ratio: Floats) -> Callable[[Floats], Floats]:
    """Fit ``h² → log E[ratio | h²]``: a polynomial in h² plus half the residual variance."""
    degree = min(DEGREE, max(h2.size // 50, 0))
    fitted = np.polynomial.Polynomial.fit(h2, log_ratio, degree, domain=[0.0, 1.0])
    spread = 0.5 * float(np.var(log_ratio - fitted(h2)))
    return lambda x: np.asarray(fitted(x) + spread)


def _given_share(tree: xr.DataTree, own: FittedPrior) -> tuple[Callable[[Floats], Floats], float]:
    """Fit ``h² → log E[q(h², τ) √(h² (1-h²)) / p(τ) | h², y]`` for half-t sds; also its k̂."""
    assert own.total_sd is not None
    assert own.log_total_sd is not None
    tau, h2 = own.total_sd[:, 0], own.explained[:, 0]
    shares = own.shares[:, 0]
    q = log_half_t_shares(shares, tau, _unit(tree)) + 0.5 * np.log(shares).sum(axis=-1)
    log_ratio = q - own.log_total_sd
    _, khat = _smoothed(log_ratio)
    return _polynomial(h2, log_ratio), khat


def _null_ratio(tree: xr.DataTree, own: FittedPrior) -> Callable[[Floats], Floats]:
    """Fit ``h² → log E[p_t(τ) / p(τ) | h², y]``; at 0, the null model under a half-t sd."""
    assert own.total_sd is not None
    assert own.log_total_sd is not None
    tau, h2 = own.total_sd[:, 0], own.explained[:, 0]
    only = np.stack([np.ones_like(tau)], axis=-1)
    ratio = log_half_t_shares(only, tau, _unit(tree)) - own.log_total_sd
    return _polynomial(h2, ratio)
