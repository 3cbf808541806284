"""Bridge sampling: the evidence from posterior draws and a fitted proposal.

With N₁ posterior draws, N₂ draws from a proposal g, a normalised density fitted to other posterior
draws, and ratios l = p(u, y)/g(u), the optimal bridge solves::

    Z = mean_g [ l / (s₁ l + s₂ Z) ]  /  mean_p [ 1 / (s₁ l + s₂ Z) ]     s_i = N_i / (N₁ + N₂)

by fixed-point iteration. The bridge needs overlap of g with the posterior, whereas importance
sampling needs g to cover the posterior's tails. So the one checks the other.

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
    """Evidence (marginal likelihood) by bridge sampling.

    Parameters
    ----------
    log_evidence, mcse
        log Z and its Monte Carlo standard error.
    draws
        N₁, the number of posterior draws at which the density was evaluated; N₂ = N₁.
    evaluations
        Number of density evaluations.
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
    """Estimate log ∫ p(u, y) du from posterior draws.

    Parameters
    ----------
    target
        log p(u, y).
    draws
        u (N, d) from the posterior, ordered so that the two halves are independent. g is fitted to
        the first half; at most `most` of the second, evenly spaced, are evaluated.
    ess
        Effective sample size of the N draws. Default: N.
    most
        Largest number of posterior draws evaluated; as many are drawn from g.
    seed, workers
        Seed of the draws from g; number of concurrent evaluations.

    Raises
    ------
    ModelError
        If there are fewer than 100 draws, or the iteration does not converge.
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
    """Fit the proposal family of `bayeslmm.inference.laplace.proposal` to draws (N, d)."""
    mean, sd = points.mean(axis=0), np.maximum(points.std(axis=0, ddof=1), 1e-8)
    levels = np.broadcast_to(margins.LEVELS, (points.shape[1], margins.LEVELS.size)).copy()
    straight = margins.from_knots(mean[:, None] + sd[:, None] * levels, levels)
    start = family.initial(straight, np.atleast_2d(np.cov(points, rowvar=False)))
    return family.refit(start, points, np.full(len(points), 1.0 / len(points)), rng)


def solve_bridge(of_posterior: Floats, of_proposal: Floats) -> float:
    """Solve for log Z, given log l at posterior draws (N₁,) and at proposal draws (N₂,)."""
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
    raise ModelError("bridge sampling did not converge: the proposal misses the posterior")


def relative_error(of_posterior: Floats, of_proposal: Floats, independent: float) -> float:
    """Return the standard error of log Z.

    Takes log(l/Z) at the draws and the effective number, `independent`, of the posterior draws.
    """
    n1, n2 = of_posterior.size, of_proposal.size
    s1, s2 = n1 / (n1 + n2), n2 / (n1 + n2)
    log_s1, log_s2 = np.log(s1), np.log(s2)
    f1 = np.exp(-np.logaddexp(log_s1, log_s2 - of_proposal))  # p / (s₁ p + s₂ g) under g
    f2 = np.exp(-np.logaddexp(log_s1 + of_posterior, log_s2))  # g / (s₁ p + s₂ g) under p
    square = f1.var(ddof=1) / f1.mean() ** 2 / n2 + f2.var(ddof=1) / f2.mean() ** 2 / independent
    return float(np.sqrt(square))
