"""Restricted likelihood ratio test of components of a model with several kernels.

    RLRT = 2 [max l(θ) - max l(θ; σ²_S = 0)]        l: restricted log likelihood

If no kernel remains under the null hypothesis (h² = 0 where all kernels are genetic), the null
distribution has no unknown parameter. l is maximised over h² along fixed directions, each kernel
alone and all of them in equal parts. The statistic is the largest maximum, for the data and for
every simulated data set alike, so the p-value is exact at this sample size (up to simulation).

If other kernels remain, the null distribution depends on their variances. They are estimated by
REML without the components tested, which gives V₀. Along ``V₀ + λ K_S`` the ratio tests one
variance among the whitened contrasts ``V₀^-½ (y - Xβ)``; its distribution at this sample size is
simulated from a spectrum. The RLRT from REML fits of both models is compared with it. This is the
fast finite-sample approximation of Greven et al., in the metric of V₀: a parametric bootstrap with
the other variances fixed at their estimates.

References
----------
Crainiceanu & Ruppert (2004) J R Stat Soc B 66:165; Greven, Crainiceanu, Küchenhoff & Peters (2008)
J Comput Graph Stat 17:870.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pymc as pm
import scipy.linalg
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread

type Pair = tuple[Floats, Floats]  # eigenvalues (m,) and eigenvectors (m, m)

NODES = np.concatenate([[0.0], expit(np.linspace(-9.0, 9.0, 49))])  # h² of the profile
COUNT = 10_000


@one_thread()
def component_lrt(model: pm.Model, tested: Collection[int], *, seed: int = 1) -> float:
    """Compute the p-value of the test that the kernels at positions `tested` have zero variance.

    Parameters
    ----------
    model
        Model with a `dense_normal` phenotype, kernels with one variance each, and a residual.
    tested
        Positions of the kernels.
    seed
        Seed of the simulation.

    Returns
    -------
    float
        nan for other covariance structures.
    """
    marginal, y = marginal_of(model), observed_phenotype(model)
    contrasts = None if marginal is None else marginal.contrasts(y)
    form = None if contrasts is None else contrasts.form
    if form is None or not form.identity:
        return float("nan")
    if any(term.k != 1 for term in form.covariance.terms):
        return float("nan")
    m = form.n - form.p
    e = form.rotate(y)[:m]
    kernels = [_symmetric(matrix[:m, :m]) for matrix in form.stack]
    others = [k for k in range(len(kernels)) if k not in set(tested)]
    chosen = [kernels[k] for k in sorted(tested)]
    if not others:
        return joint_lrt(chosen, e, seed=seed)
    null = [kernels[k] for k in others]
    below, start = maximise(null, e, np.zeros(len(null)))
    started = np.append(start, np.full(len(chosen), -3.0))
    above, _ = maximise([*null, *chosen], e, started)
    observed = above - below
    if observed <= 1e-4:  # the tolerance of the optimum
        return 1.0
    L = np.linalg.cholesky(covariance(null, start))
    total = np.sum([K / np.trace(K) for K in chosen], axis=0)
    half = scipy.linalg.solve_triangular(L, total, lower=True)
    K = _symmetric(scipy.linalg.solve_triangular(L, half.T, lower=True))
    return tail_probability([_eigen(K * (m / np.trace(K)))], observed, seed=seed)


def covariance(kernels: Sequence[Floats], u: Floats) -> Floats:
    """Compute ``Σ s_k K_k + s_e I`` (m, m) from log-ratios u of shares; K_k has mean diagonal 1."""
    m = len(kernels[0])
    ratios = np.exp(np.append(np.clip(u, -14.0, 14.0), 0.0))
    shares = ratios / ratios.sum()
    V = np.zeros((m, m))
    for s, K in zip(shares, kernels, strict=False):
        V += (s * m / np.trace(K)) * K
    V[np.diag_indices(m)] += shares[-1]
    return V


def maximise(kernels: Sequence[Floats], e: Floats, start: Floats) -> tuple[float, Floats]:
    """Maximise the profile restricted log likelihood of contrasts e (m,); return value and u."""
    m = e.size

    def loss(u: Floats) -> float:
        try:
            L = np.linalg.cholesky(covariance(kernels, u))
        except np.linalg.LinAlgError:
            return np.inf
        z = scipy.linalg.solve_triangular(L, e, lower=True)
        outside = float(np.maximum(np.abs(u) - 14.0, 0.0).sum())
        return float(0.5 * m * np.log(z @ z) + np.log(np.diagonal(L)).sum()) + outside

    simplex = np.vstack([start, start + 1.5 * np.eye(start.size)])
    found = minimize(
        loss, start, method="Nelder-Mead",
        options={"xatol": 0.02, "fatol": 1e-5, "initial_simplex": simplex, "maxfev": 200 * m},
    )  # fmt: skip
    return -float(found.fun), np.asarray(found.x)


def joint_lrt(kernels: Sequence[Floats], e: Floats, *, seed: int = 1) -> float:
    """Compute the p-value of h² = 0 for contrasts e (m,) and kernels (m, m).

    The alternatives are each kernel alone and all in equal parts.
    """
    m = e.size
    scaled = [K * (m / np.trace(K)) for K in kernels]
    if len(scaled) > 1:
        scaled.append(np.mean(scaled, axis=0))
    pairs = [_eigen(K) for K in scaled]
    observed = max(float(gain.max()) for gain in log_likelihood_ratios(pairs, e[None]))
    return 1.0 if observed <= 1e-9 else tail_probability(pairs, observed, seed=seed)


def log_likelihood_ratios(pairs: Sequence[Pair], data: Floats) -> list[Floats]:
    """Compute l(h²) - l(0) of contrasts (N, m) at the nodes of h², for each kernel's spectrum."""
    out, m = [], data.shape[1]
    for s, U in pairs:
        d = _variances(s)
        profile = -0.5 * (m * np.log((data @ U) ** 2 @ (1.0 / d).T) + np.log(d).sum(axis=1))
        out.append(profile - profile[:, :1])
    return out


def tail_probability(
    pairs: Sequence[Pair], observed: float, *, seed: int = 1, count: int = COUNT
) -> float:
    """Simulate the null probability that the largest l(h²) - l(0) is at least `observed`.

    The maximum is over all directions and nodes. Data sets are drawn in turn from N(0, I) and, for
    every direction, from N(0, D) with the h² at which l(h²) - l(0) is about `observed`. They have
    importance weights p₀ over the mean of these densities, so a small probability has a small
    relative error.
    """
    m = len(pairs[0][0])
    variances = [_variances(s) for s, _ in pairs]
    best = []
    for d in variances:
        expected = 0.5 * (m * np.log(d.mean(axis=1)) - np.log(d).sum(axis=1))  # l(h²) - l(0)
        best.append(int(np.argmin(np.abs(expected - observed))))
    rng = np.random.default_rng(seed)
    total, done, kinds = 0.0, 0, len(pairs) + 1
    block = max(kinds, int(2e6 // m) // kinds * kinds)
    while done < count:
        z = rng.standard_normal((block, m))
        for k, (_, U) in enumerate(pairs):
            z[k::kinds] = (z[k::kinds] * np.sqrt(variances[k][best[k]])) @ U.T
        of = log_likelihood_ratios(pairs, z)
        statistic = np.max([one.max(axis=1) for one in of], axis=0)
        logs = np.stack([np.zeros(block), *(one[:, b] for one, b in zip(of, best, strict=True))])
        weight = kinds * np.exp(-logsumexp(logs, axis=0))  # exp of one term may overflow
        total += float(weight[statistic >= observed - 1e-9].sum())
        done += block
    return min(total / done, 1.0)


def _variances(s: Floats) -> Floats:
    """Compute the variances d = h² s + 1 - h² (nodes, m)."""
    return np.asarray(NODES[:, None] * np.maximum(s, 0.0) + 1.0 - NODES[:, None])


def _symmetric(lower: Floats) -> Floats:
    """Fill the upper triangle of a matrix from its lower triangle."""
    full = np.tril(lower)
    return np.asarray(full + np.tril(lower, -1).T)


def _eigen(K: Floats) -> Pair:
    s, U = np.linalg.eigh(K)
    return s, U
