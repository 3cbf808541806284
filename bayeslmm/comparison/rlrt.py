"""Restricted likelihood ratio test of components of a model with several kernels.

    RLRT = 2 [max l(θ) - max l(θ; σ²_S = 0)]        l: restricted log likelihood

Without any other kernel under the null hypothesis (h² = 0 where all kernels are genetic) its
distribution depends on nothing unknown. l is maximised over h² along fixed directions, one kernel
alone or all of them in equal parts; the largest of these is the statistic, of the data and of every
simulated data set alike, so that the p-value is exact at this sample size (up to simulation).

With other kernels in it the null distribution depends on their variances. They are estimated (REML
without the components tested): V₀. Given V₀ the ratio along ``V₀ + λ K_S`` is one of a single
variance among the whitened contrasts ``V₀^-½ (y - Xβ)``, whose distribution at this sample size is
simulated from a spectrum; the RLRT, from REML fits of both models, is referred to it. This is the
fast finite-sample approximation of Greven et al., in the metric of V₀: a parametric bootstrap in
which the other variances stay at their estimates.

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
    """p-value of the test that the kernels at positions `tested` have no variance.

    Parameters
    ----------
    model
        A model whose phenotype is a `dense_normal` with kernels of one variance each and a
        residual.
    tested
        Positions of the kernels.
    seed
        Of the simulation.

    Returns
    -------
    float
        nan for a covariance of another form.
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
    if observed <= 1e-4:  # the optimum is known to that
        return 1.0
    L = np.linalg.cholesky(covariance(null, start))
    total = np.sum([K / np.trace(K) for K in chosen], axis=0)
    half = scipy.linalg.solve_triangular(L, total, lower=True)
    K = _symmetric(scipy.linalg.solve_triangular(L, half.T, lower=True))
    return tail([_decomposed(K * (m / np.trace(K)))], observed, seed=seed)


def covariance(kernels: Sequence[Floats], u: Floats) -> Floats:
    """``Σ s_k K_k + s_e I`` (m, m), the K_k of mean diagonal one, from log-ratios of shares u."""
    m = len(kernels[0])
    ratios = np.exp(np.append(np.clip(u, -14.0, 14.0), 0.0))
    shares = ratios / ratios.sum()
    V = np.zeros((m, m))
    for s, K in zip(shares, kernels, strict=False):
        V += (s * m / np.trace(K)) * K
    V[np.diag_indices(m)] += shares[-1]
    return V


def maximise(kernels: Sequence[Floats], e: Floats, start: Floats) -> tuple[float, Floats]:
    """Largest restricted log likelihood of contrasts e (m,), the scale profiled, and where."""
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
    """p-value of h² = 0 against kernels (m, m) among contrasts e (m,), alone or in equal parts."""
    m = e.size
    scaled = [K * (m / np.trace(K)) for K in kernels]
    if len(scaled) > 1:
        scaled.append(np.mean(scaled, axis=0))
    pairs = [_decomposed(K) for K in scaled]
    observed = max(float(gain.max()) for gain in gains(pairs, e[None]))
    return 1.0 if observed <= 1e-9 else tail(pairs, observed, seed=seed)


def gains(pairs: Sequence[Pair], data: Floats) -> list[Floats]:
    """l(h²) - l(0) of contrasts (N, m) at the nodes of h², along kernels given by their spectra."""
    out, m = [], data.shape[1]
    for s, U in pairs:
        d = _spread(s)
        profile = -0.5 * (m * np.log((data @ U) ** 2 @ (1.0 / d).T) + np.log(d).sum(axis=1))
        out.append(profile - profile[:, :1])
    return out


def tail(pairs: Sequence[Pair], observed: float, *, seed: int = 1, count: int = COUNT) -> float:
    """P(largest gain of N(0, I) contrasts ≥ `observed`), over all directions and nodes.

    Data sets are drawn in turn from N(0, I) and, along every direction, from N(0, D) with the h²
    whose gain is about `observed`; weighted by p₀ over the mean of these densities, so that a small
    probability has a small relative error.
    """
    m = len(pairs[0][0])
    spreads = [_spread(s) for s, _ in pairs]
    best = []
    for d in spreads:
        usual = 0.5 * (m * np.log(d.mean(axis=1)) - np.log(d).sum(axis=1))  # the gain to expect
        best.append(int(np.argmin(np.abs(usual - observed))))
    rng = np.random.default_rng(seed)
    total, done, kinds = 0.0, 0, len(pairs) + 1
    block = max(kinds, int(2e6 // m) // kinds * kinds)
    while done < count:
        z = rng.standard_normal((block, m))
        for k, (_, U) in enumerate(pairs):
            z[k::kinds] = (z[k::kinds] * np.sqrt(spreads[k][best[k]])) @ U.T
        of = gains(pairs, z)
        statistic = np.max([one.max(axis=1) for one in of], axis=0)
        logs = np.stack([np.zeros(block), *(one[:, b] for one, b in zip(of, best, strict=True))])
        weight = kinds * np.exp(-logsumexp(logs, axis=0))  # a gain may be beyond exp's range
        total += float(weight[statistic >= observed - 1e-9].sum())
        done += block
    return min(total / done, 1.0)


def _spread(s: Floats) -> Floats:
    """d = h² s + 1 - h² (nodes, m)."""
    return np.asarray(NODES[:, None] * np.maximum(s, 0.0) + 1.0 - NODES[:, None])


def _symmetric(lower: Floats) -> Floats:
    """The matrix whose lower triangle counts."""
    full = np.tril(lower)
    return np.asarray(full + np.tril(lower, -1).T)


def _decomposed(K: Floats) -> Pair:
    s, U = np.linalg.eigh(K)
    return s, U
