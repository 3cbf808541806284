"""Proposal of importance sampling: a mixture of multivariate t in monotonically mapped scores.

    z = T(x) coordinate by coordinate,   q(x) = Σ_k π_k t_ν(z; m_k, S_k) × Π_i T_i'(x_i)

The density is normalised in closed form. A wide, heavy-tailed defensive component keeps the weights
bounded (Hesterberg 1995): its polynomial tails, with T linear there, dominate every tail e^-|x|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp

from bayeslmm.inference.laplace import margins
from bayeslmm.inference.laplace.margins import Margins
from bayeslmm.numerics.arrays import Floats

HEAVY = 4.0  # degrees of freedom of the defensive component
WIDE = 1.6  # scale of the defensive component relative to the core
FREEDOM = (5.0, 8.0, 15.0)  # degrees of freedom tried for the core
SAFE = 1.1  # factor of the fitted scale: a wide proposal is safer than a narrow one


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """Mixture of K multivariate t in normal scores.

    Parameters
    ----------
    margins
        Maps of the coordinates to scores.
    weights, means, factors, freedom
        π (K,), m (K, d), lower Cholesky factors of S (K, d, d) and ν (K,). The last component
        is the defensive one.
    """

    margins: Margins
    weights: Floats
    means: Floats
    factors: Floats
    freedom: Floats

    def draw(self, n: int, rng: np.random.Generator) -> Floats:
        """Draw independent points (n, d)."""
        k = rng.choice(self.weights.size, size=n, p=self.weights)
        normal = rng.standard_normal((n, self.means.shape[1]))
        stretch = np.sqrt(self.freedom[k] / rng.chisquare(self.freedom[k]))
        z = self.means[k] + stretch[:, None] * np.einsum("nij,nj->ni", self.factors[k], normal)
        return self.margins.points(z)

    def log_density(self, points: Floats) -> Floats:
        """Compute the normalised log q (N,) at points (N, d)."""
        z, log_slope = self.margins.scores(points)
        parts = [
            np.log(w) + log_t(z, m, f, nu)
            for w, m, f, nu in zip(
                self.weights, self.means, self.factors, self.freedom, strict=True
            )
        ]
        return np.asarray(logsumexp(parts, axis=0)) + log_slope


def log_t(z: Floats, mean: Floats, factor: Floats, freedom: float) -> Floats:
    """Compute the log density (N,) of the multivariate t with scale matrix FFᵀ, F = `factor`."""
    d = mean.size
    distance = np.sum(solve_triangular(factor, (z - mean).T, lower=True) ** 2, axis=0)
    constant = gammaln((freedom + d) / 2) - gammaln(freedom / 2) - d / 2 * np.log(freedom * np.pi)
    constant -= np.log(np.diag(factor)).sum()
    return np.asarray(constant - (freedom + d) / 2 * np.log1p(distance / freedom))


def initial(shape: Margins, covariance: Floats, defensive: float = 0.1) -> Proposal:
    """Build the initial proposal from margins and the correlations of the inverse Hessian."""
    sd = np.sqrt(np.diag(covariance))
    factor = np.linalg.cholesky(covariance / np.outer(sd, sd))
    zero = np.zeros(sd.size)
    return _add_defensive(shape, np.ones(1), zero[None], SAFE * factor[None], 7.0, defensive)


def refit(
    proposal: Proposal,
    points: Floats,
    weights: Floats,
    rng: np.random.Generator,
    *,
    components: int = 4,
    defensive: float = 0.1,
) -> Proposal:
    """Fit the family to weighted points: margins, then components, then ν.

    Parameters
    ----------
    proposal
        Current proposal; scale matrices are shrunk towards its core.
    points, weights
        Points (N, d) and normalised weights (N,).
    rng
        Source of randomness for the initial values of the mixture.
    components
        Largest number of components. More components must improve the Bayesian information
        criterion at the ESS of the weights.
    defensive
        Weight of the defensive component.
    """
    ess = 1.0 / float(np.sum(weights**2))
    points, weights = points[weights > 0], weights[weights > 0]
    z, _ = proposal.margins.scores(points)
    shape = proposal.margins.then(margins.from_weighted(z, weights, ess))
    z, _ = shape.scores(points)
    core = proposal.factors[-1] / WIDE
    prior = core @ core.T
    prior /= np.sqrt(np.outer(np.diag(prior), np.diag(prior)))
    d = z.shape[1]
    each = 0.5 * np.log(ess) / ess * (d + d * (d + 1) / 2 + 1)
    best: tuple[float, tuple[Floats, Floats, Floats], float] | None = None
    pull = _prior_weight(z, weights, prior, rng)
    for count in range(1, components + 1):
        for freedom in FREEDOM if best is None else (best[2],):
            fitted = _mixture(z, weights, count, freedom, pull * prior, rng)
            score = float(weights @ _mixture_log_density(z, *fitted, freedom)) - each * (count - 1)
            if best is None or score > best[0]:
                best = (score, fitted, freedom)
    assert best is not None
    mixing, means, factors = best[1]
    return _add_defensive(shape, mixing, means, SAFE * factors, best[2], defensive)


def _add_defensive(
    shape: Margins, mixing: Floats, means: Floats, factors: Floats, freedom: float, share: float
) -> Proposal:
    """Add to the core the wide defensive component, which has the core's overall covariance."""
    scale = np.einsum("k,kij,klj->il", mixing, factors, factors)
    centre = mixing @ means
    scale += np.einsum("k,ki,kj->ij", mixing, means - centre, means - centre)
    return Proposal(
        shape,
        np.append((1 - share) * mixing, share),
        np.concatenate([means, centre[None]]),
        np.concatenate([factors, WIDE * np.linalg.cholesky(scale)[None]]),
        np.append(np.full(mixing.size, freedom), HEAVY),
    )


def _mixture_log_density(
    z: Floats, mixing: Floats, means: Floats, factors: Floats, freedom: float
) -> Floats:
    parts = [
        np.log(w) + log_t(z, m, f, freedom) for w, m, f in zip(mixing, means, factors, strict=True)
    ]
    return np.asarray(logsumexp(parts, axis=0))


def _prior_weight(z: Floats, weights: Floats, prior: Floats, rng: np.random.Generator) -> float:
    """Choose the weight of the prior scale matrix, 2 d, 8 d or 32 d points, by cross-validation.

    It compares log densities of held-out halves. The weight is a fraction of the total.
    """
    ess = 1.0 / float(np.sum(weights**2))
    d = z.shape[1]
    half = rng.permutation(len(z)) % 2 == 0
    scores: dict[float, float] = {}
    for count in (2.0 * d, 8.0 * d, 32.0 * d):
        scores[count] = 0.0
        for part in (half, ~half):
            inside = weights[part] / weights[part].sum()
            fitted = _mixture(z[part], inside, 1, FREEDOM[-1], 2 * count / ess * prior, rng)
            scores[count] += float(
                weights[~part] @ _mixture_log_density(z[~part], *fitted, FREEDOM[-1])
            )
    best = max(scores, key=lambda count: scores[count])
    return best / ess


def _mixture(
    z: Floats, weights: Floats, count: int, freedom: float, prior: Floats, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Fit a mixture of t by weighted EM (Peel and McLachlan 2000; Cappé et al. 2008).

    `prior` (d, d) has its weight on its diagonal; it acts as additional data of that weight.
    Returns mixing weights (K,), means (K, d) and Cholesky factors (K, d, d).
    """
    n, d = z.shape
    pull = prior[0, 0]  # weight of the prior in the scale matrix of a component
    mixing = np.full(count, 1.0 / count)
    starts = rng.choice(n, size=count, p=weights / weights.sum()) if count > 1 else None
    means = np.zeros((1, d)) if starts is None else z[starts]
    factors = np.repeat(np.linalg.cholesky(prior / pull)[None], count, axis=0)
    for _ in range(12 if count == 1 else 40):
        logs = np.array([log_t(z, m, f, freedom) for m, f in zip(means, factors, strict=True)])
        logs += np.log(mixing)[:, None]
        share = np.exp(logs - logsumexp(logs, axis=0)) * weights  # (K, N)
        mixing = np.maximum(share.sum(axis=1), 1e-3)
        mixing /= mixing.sum()
        for k in range(count):
            white = solve_triangular(factors[k], (z - means[k]).T, lower=True)
            u = share[k] * (freedom + d) / (freedom + np.sum(white**2, axis=0))
            means[k] = u @ z / max(u.sum(), 1e-12)
            centred = z - means[k]
            scale = (centred.T * u) @ centred + prior
            factors[k] = np.linalg.cholesky(scale / (share[k].sum() + pull))
    return mixing, means, factors
