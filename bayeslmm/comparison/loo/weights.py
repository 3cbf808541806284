"""Importance weights from the posterior to the posterior without a block of records.

    p(θ | y_-F) ∝ p(θ | y) / p(y_F | y_-F, θ)
    log p(y_F | y_-F) = -log mean_s 1 / p(y_F | y_-F, θ_s)

The weights are Pareto-smoothed; the shape k̂ tells whether they are reliable. If there are draws of
p(θ | y_-F) too, bridge sampling uses both sets (`bridge`).

References
----------
Gelfand, Dey & Chang (1992) Bayesian Statistics 4:147; Meng & Wong (1996) Statistica Sinica 6:831;
Vehtari, Gelman & Gabry (2017) Stat Comput 27:1413; Vehtari, Simpson, Gelman, Yao & Gabry (2024)
JMLR 25:72.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp, ndtr

from bayeslmm.inference.laplace.importance import KHAT, smooth
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.blocks import Blocks, Conditionals


BRIDGE_STEPS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Predictive scores of the blocks left out, given the other records.

    Parameters
    ----------
    elpd
        Joint log p(y_F | y_-F) of every block.
    p
        log mean_s p(y_F | y_-F, θ_s) - elpd, the effective number of hyperparameters.
    k
        k̂ of every block.
    mcse
        Monte Carlo standard error of every `elpd`.
    records
        log p(y_i | y_-F) of every record (N,).
    pit, mean, sd
        PIT, mean and sd of the predictive distribution of every record (N,).
    influence
        Influence (S, blocks) of every draw on `elpd`. The sum of the squared row sums is the
        variance of the total elpd, with the covariances between blocks.
    """

    elpd: Floats
    p: Floats
    k: Floats
    mcse: Floats
    records: Floats
    pit: Floats
    mean: Floats
    sd: Floats
    influence: Floats


def good_k(draws: int) -> float:
    """Return the largest k̂ at which weights of `draws` draws are reliable (Vehtari et al. 2024)."""
    return float(min(KHAT, 1.0 - 1.0 / np.log10(max(draws, 11))))


def psis(found: Conditionals, blocks: Blocks, y: Floats) -> tuple[Scores, Floats]:
    """Compute scores from draws of the full posterior by PSIS; also return weights (S, blocks)."""
    draws, count = found.log_density.shape
    weights, k = np.empty((draws, count)), np.empty(count)
    for g in range(count):
        weights[:, g], k[g], _ = smooth(-found.log_density[:, g])
    return scores(found, weights, k, blocks, y), weights


def scores(found: Conditionals, weights: Floats, k: Floats, blocks: Blocks, y: Floats) -> Scores:
    """Compute scores from draws and their weights (S, blocks); each column sums to one."""
    top = found.log_density.max(axis=0)
    density = np.exp(found.log_density - top)
    mean = (weights * density).sum(axis=0)
    elpd = top + np.log(mean)
    influence = weights * (density - mean) / mean
    lengths = np.diff(blocks.starts)
    each = np.repeat(weights, lengths, axis=1) if not blocks.single else weights
    z = (y[blocks.records] - found.mean) / found.sd
    one = -0.5 * z * z - np.log(found.sd) - 0.5 * np.log(2 * np.pi)
    highest = one.max(axis=0)
    centre = (each * found.mean).sum(axis=0)
    spread = (each * (found.sd**2 + (found.mean - centre) ** 2)).sum(axis=0)
    return Scores(
        elpd=elpd,
        p=top + np.log(density.mean(axis=0)) - elpd,
        k=k,
        mcse=np.sqrt((influence**2).sum(axis=0)),
        records=highest + np.log((each * np.exp(one - highest)).sum(axis=0)),
        pit=np.clip((each * ndtr(z)).sum(axis=0), 0.0, 1.0),
        mean=centre,
        sd=np.sqrt(spread),
        influence=influence,
    )


def bridge(within: Floats, without: Floats, weights: Floats) -> tuple[float, float]:
    """Estimate log p(y_F | y_-F) from draws of both posteriors, with Monte Carlo standard error.

    With L = p(y_F | y_-F, θ) the two posteriors are proportional to f L and f, and r = p(y)/p(y_-F)
    is the ratio of their normalising constants. The optimal bridge solves::

        r = mean_without [L / (s₁L + s₂r)] / mean_within [1 / (s₁L + s₂r)]

    Both means are of bounded terms. So an outlier, whose L varies by many orders of magnitude, is
    harmless as long as the two posteriors overlap.

    Parameters
    ----------
    within
        log L at draws of p(θ | y) (S,).
    without, weights
        log L at draws of p(θ | y_-F) (N,), and their normalised weights.
    """
    n1, n2 = within.size, 1.0 / float(np.sum(weights**2))
    s1, s2 = np.log(n1 / (n1 + n2)), np.log(n2 / (n1 + n2))
    log_weights = np.log(np.maximum(weights, 1e-300))
    log_r = -float(logsumexp(-within) - np.log(n1))
    for _ in range(BRIDGE_STEPS):
        above = without - np.logaddexp(s1 + without, s2 + log_r)
        below = -np.logaddexp(s1 + within, s2 + log_r)
        new = float(logsumexp(above + log_weights) - logsumexp(below) + np.log(n1))
        if abs(new - log_r) < 1e-10:
            break
        log_r = new
    g2 = np.exp(above - above.max())
    g1 = np.exp(below - below.max())
    m2, m1 = float(weights @ g2), float(g1.mean())
    variance = float(np.sum((weights * (g2 - m2)) ** 2)) / m2**2 + g1.var() / (n1 * m1**2)
    return log_r, float(np.sqrt(variance))
