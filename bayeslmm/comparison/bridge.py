"""Bridge sampling: the evidence from posterior draws and a fitted proposal.

With N₁ posterior draws, N₂ draws from a normalised density g fitted to other posterior draws, and
ratios l = p(u, y)/g(u), the optimal bridge solves::

    Z = mean_g [ l / (s₁ l + s₂ Z) ]  /  mean_p [ 1 / (s₁ l + s₂ Z) ]     s_i = N_i / (N₁ + N₂)

by iteration. It needs overlap of g with the posterior, not that g covers its tails, so that it is
a check of importance sampling, which does.

References
----------
Meng & Wong (1996) Stat Sinica 6:831; Gronau et al. (2017) J Math Psychol 81:80; Frühwirth-Schnatter
(2004) Econom J 7:143 (its standard error).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace import margins
from bayeslmm.inference.laplace import proposal as family
from bayeslmm.inference.laplace.proposal import Proposal
from bayeslmm.inference.laplace.target import Target, evaluate
from bayeslmm.numerics.arrays import Floats

TURNS = 1000


@dataclass(frozen=True, slots=True)
class Bridge:
    """An evidence by bridge sampling.

    Parameters
    ----------
    log_evidence, mcse
        log Z and its Monte Carlo standard error.
    draws
        N₁, the posterior draws at which the density was evaluated; N₂ is as large.
    evaluations
        Density evaluations.
    """

    log_evidence: float
    mcse: float
    draws: int
    evaluations: int


def sample_bridge(
    target: Target,
    draws: Floats,
    *,
    ess: float | None = None,
    most: int = 500,
    seed: int = 1,
    workers: int = 1,
) -> Bridge:
    """log ∫ p(u, y) du from posterior draws.

    Parameters
    ----------
    target
        log p(u, y).
    draws
        u (N, d) from the posterior, in an order in which the first half tells nothing of the
        second. g is fitted to the first half; of the second at most `most`, evenly spaced, count.
    ess
        Effective number of the N draws. Default: N.
    most
        Most posterior draws evaluated, and as many of g.
    seed, workers
        Of g's draws; evaluations at a time.

    Raises
    ------
    ModelError
        If there are fewer than 100 draws, or the iteration finds no fixed point.
    """
    if len(draws) < 100:
        raise ModelError(f"bridge sampling from {len(draws)} draws; it needs at least 100")
    half = len(draws) // 2
    fitted, rest = draws[:half], draws[half:]
    count = min(most, len(rest))
    chosen = rest[np.linspace(0, len(rest) - 1, count).astype(np.intp)]
    independent = count if ess is None else min(count, ess * len(rest) / len(draws))
    rng = np.random.default_rng(seed)
    g = fit_proposal(fitted, rng)
    proposed = g.draw(count, rng)
    distinct, inverse = np.unique(chosen, axis=0, return_inverse=True)
    log_p = evaluate(target, distinct, workers)
    of_posterior = (log_p - g.log_density(distinct))[inverse.ravel()]
    of_proposal = evaluate(target, proposed, workers) - g.log_density(proposed)
    log_z = solve_bridge(of_posterior, of_proposal)
    error = relative_error(of_posterior - log_z, of_proposal - log_z, independent)
    return Bridge(log_z, error, count, len(distinct) + count)


def fit_proposal(points: Floats, rng: np.random.Generator) -> Proposal:
    """The proposal family of `bayeslmm.inference.laplace.proposal`, fitted to draws (N, d)."""
    mean, sd = points.mean(axis=0), np.maximum(points.std(axis=0, ddof=1), 1e-8)
    levels = np.broadcast_to(margins.LEVELS, (points.shape[1], margins.LEVELS.size)).copy()
    straight = margins.through(mean[:, None] + sd[:, None] * levels, levels)
    start = family.first(straight, np.atleast_2d(np.cov(points, rowvar=False)))
    return family.refit(start, points, np.full(len(points), 1.0 / len(points)), rng)


def solve_bridge(of_posterior: Floats, of_proposal: Floats) -> float:
    """log Z from log l at posterior draws (N₁,) and at those of the proposal (N₂,)."""
    n1, n2 = of_posterior.size, of_proposal.size
    log_s1, log_s2 = np.log(n1 / (n1 + n2)), np.log(n2 / (n1 + n2))
    log_z = float(np.median(of_posterior))
    for _ in range(TURNS):
        above = logsumexp(of_proposal - np.logaddexp(log_s1 + of_proposal, log_s2 + log_z))
        below = logsumexp(-np.logaddexp(log_s1 + of_posterior, log_s2 + log_z))
        new = float(above - np.log(n2) - below + np.log(n1))
        if abs(new - log_z) < 1e-10 * max(1.0, abs(new)):
            return new
        log_z = new
    raise ModelError("bridge sampling found no fixed point: the proposal misses the posterior")


def relative_error(of_posterior: Floats, of_proposal: Floats, independent: float) -> float:
    """Standard error of log Z, from log l/Z; `independent` draws of the posterior."""
    n1, n2 = of_posterior.size, of_proposal.size
    s1, s2 = n1 / (n1 + n2), n2 / (n1 + n2)
    log_s1, log_s2 = np.log(s1), np.log(s2)
    f1 = np.exp(-np.logaddexp(log_s1, log_s2 - of_proposal))  # p / (s₁ p + s₂ g) under g
    f2 = np.exp(-np.logaddexp(log_s1 + of_posterior, log_s2))  # g / (s₁ p + s₂ g) under p
    square = f1.var(ddof=1) / f1.mean() ** 2 / n2 + f2.var(ddof=1) / f2.mean() ** 2 / independent
    return float(np.sqrt(square))
