"""The Laplace engine against exact answers: a grid for two kernels, quadrature for one.

Two kernels: (e, w, log τ) with shares s = (e w, e (1 - w), 1 - e); e and w are uniform a priori,
so the integral over the shares is one over the unit square. Gauss-Legendre there, with panels
that end where a share is 0.01; the trapezoid rule over log τ. β is integrated by the formula of
Woodbury. No spectrum, no code of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from engine_oracles import SCALE_PRIORS, Data, effects_prior, gram, simulated
from numpy.typing import NDArray
from scipy.special import logsumexp
from two_kernels import TRUTHS, two_kernels

from bayeslmm import models
from bayeslmm.inference.exact import exact
from bayeslmm.inference.laplace import laplace
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.relationship.relationship import Relationship

type Floats = NDArray[np.float64]

DRAWS = 4000
SMALL = 0.01
INSIDE = (0.08, 0.25, 0.5, 0.75, 0.92)  # further ends of panels of w


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Nodes of the posterior with their weights (m,)."""

    shares: Floats  # (m, 3)
    log_tau: Floats
    weights: Floats
    log_evidence: float

    def mean(self, f: Callable[[Floats, Floats], Floats]) -> float:
        return float(self.weights @ f(self.shares, self.log_tau))


QUANTITIES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "first": lambda s, t: s[:, 0],
    "second": lambda s, t: s[:, 1],
    "residual": lambda s, t: s[:, 2],
    "log tau": lambda s, t: t,
    "P(first < 0.01)": lambda s, t: (s[:, 0] < SMALL).astype(float),
    "P(second < 0.01)": lambda s, t: (s[:, 1] < SMALL).astype(float),
}


def panels(edges: list[float], nodes: int) -> tuple[Floats, Floats]:
    """Gauss-Legendre on every interval between the edges."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    low, high = np.array(edges[:-1])[:, None], np.array(edges[1:])[:, None]
    half = 0.5 * (high - low)
    return (low + half * (x + 1)).ravel(), (half * w).ravel()


def grid(data: Data, K2: Floats, nodes: int = 8) -> Grid:
    """The whole posterior of y ~ N(Xβ, τ² (s₁K₁ + s₂K₂ + s₃I)) under the default priors."""
    n, unit = data.n, data.unit
    e, e_weight = panels([0, SMALL, 2 * SMALL, 0.06, 0.2, 0.5, 0.8, 0.95, 1], nodes)
    pairs = []
    for one, weight in zip(e, e_weight, strict=True):
        edge = min(SMALL / one, 1.0)
        w, w_weight = panels(sorted({0.0, edge, *INSIDE, 1 - edge, 1.0}), nodes)
        pairs.append(np.column_stack([one * w, one * (1 - w), 1 - one + 0 * w, weight * w_weight]))
    table = np.concatenate(pairs)
    shares, area = table[:, :3], table[:, 3]
    b0, B = effects_prior(data)
    F = np.linalg.cholesky(B)
    t = np.log(unit) + np.linspace(-3, 3, 150)
    tau2 = np.exp(2 * t)
    log_prior = SCALE_PRIORS["half_t(3, 2.5)"](np.exp(t) / unit) - np.log(unit) + t
    log_p = np.empty((len(shares), t.size))
    design = np.column_stack([data.X @ F, data.y - data.X @ b0])
    for i, (a, b, c) in enumerate(shares):
        L = np.linalg.cholesky(a * data.K + b * K2 + c * np.eye(n))
        Z = np.linalg.solve(L, design)
        lam, U = np.linalg.eigh(Z[:, :-1].T @ Z[:, :-1])
        q = U.T @ (Z[:, :-1].T @ Z[:, -1])
        log_det = n * np.log(tau2) + 2 * np.log(np.diag(L)).sum()
        log_det += np.log1p(lam / tau2[:, None]).sum(axis=1)
        fitted = (q**2 / (tau2[:, None] * (tau2[:, None] + lam))).sum(axis=1)
        squares = Z[:, -1] @ Z[:, -1] / tau2 - fitted
        log_p[i] = -0.5 * (n * np.log(2 * np.pi) + log_det + squares)
    log_p += log_prior + np.log(t[1] - t[0]) + np.log(area)[:, None]
    evidence = float(logsumexp(log_p))
    weights = np.exp(log_p - evidence).ravel()
    return Grid(np.repeat(shares, t.size, axis=0), np.tile(t, len(shares)), weights, evidence)


@cache
def answer(regime: str, nodes: int = 8) -> Grid:
    return grid(*two_kernels(TRUTHS[regime]), nodes)


@pytest.mark.slow
def test_the_grid_has_converged() -> None:
    """Six nodes a panel give what eight give: right to 10⁻⁵, a hundredth of any MCSE."""
    few, many = answer("one at zero", 6), answer("one at zero")
    assert few.log_evidence == pytest.approx(many.log_evidence, abs=1e-5)
    for name, f in QUANTITIES.items():
        assert few.mean(f) == pytest.approx(many.mean(f), abs=1e-5), name


@pytest.mark.parametrize("regime", TRUTHS)
def test_two_kernels(regime: str) -> None:
    data, K2 = two_kernels(TRUTHS[regime])
    cohort = data.cohort()
    kernels = [
        Relationship(K, cohort.individuals, kernel_scale="none", name=name)
        for K, name in ((data.K, "first"), (K2, "second"))
    ]
    model = models.load("partitioned")(cohort, *kernels)
    found = laplace.fit_one(model, DRAWS, 4, np.random.default_rng(3), workers=1)
    true = answer(regime)
    weighted = found.weighted
    assert weighted.ok
    assert weighted.pareto_k < 0.7
    assert weighted.mcse < 0.05
    assert abs(weighted.log_evidence - true.log_evidence) < 4 * weighted.mcse
    share, log_tau = found.values["share"], np.log(found.values["total_sd"])
    split = hyper(model)
    variance = split.parameters(weighted.points, *split.data)[1][0]
    points = variance / variance.sum(axis=1)[:, None], 0.5 * np.log(variance.sum(axis=1))
    for name, f in QUANTITIES.items():
        mean = true.mean(f)
        sd = np.sqrt(true.mean(lambda s, t: (f(s, t) - mean) ** 2))  # noqa: B023
        squared = lambda s, t: (f(s, t) - mean) ** 2  # noqa: B023, E731
        judge(name, mean, f(share, log_tau), f(*points), weighted)
        if not name.startswith("P("):
            judge(f"sd of {name}", sd**2, squared(share, log_tau), squared(*points), weighted)


def judge(name: str, truth: float, draws: Floats, points: Floats, weighted: Any) -> None:
    """A mean of draws within four standard errors of the truth.

    Its variance is that of the weighted mean and that of resampling it; where few points lie (a
    probability near 0 or 1), at least that of a proportion.
    """
    mean = float(weighted.weights @ points)
    variance = float(np.sum((weighted.weights * (points - mean)) ** 2))
    if name.startswith("P("):
        variance = max(variance, truth * (1 - truth) / weighted.ess)
    error = np.sqrt(variance + np.var(draws) / len(draws)) + 1e-6
    assert abs(mean - truth) < 4 * error, name
    assert abs(draws.mean() - truth) < 4 * error, name


@pytest.mark.parametrize("h2", [0.0, 0.5, 0.95])
def test_one_kernel_by_both_engines(h2: float) -> None:
    """Laplace on a spectral model gives the exact engine's evidence, moments and tail."""
    data = simulated(60, 2, h2, seed=int(100 * h2), K=gram(60, 25, np.random.default_rng(8)))
    model = data.model()
    solved, _ = exact.fit_one(model, 4, np.random.default_rng(1))
    found = laplace.fit_one(model, DRAWS, 4, np.random.default_rng(2), workers=1)
    weighted = found.weighted
    assert weighted.ok
    assert abs(weighted.log_evidence - solved.log_evidence) < 4 * weighted.mcse
    mean, sd = solved.share.moments()
    split = hyper(model)
    variance = split.parameters(weighted.points, *split.data)[1][0]
    points, draws = variance[:, 0] / variance.sum(axis=1), found.values["h2"]
    judge("h2", mean, draws, points, weighted)
    judge("sd", sd**2, (draws - mean) ** 2, (points - mean) ** 2, weighted)
    below = float(np.interp(np.log(SMALL / (1 - SMALL)), solved.share.z, solved.share.cdf))
    judge("P(h2 < 0.01)", below, (draws < SMALL) * 1.0, (points < SMALL) * 1.0, weighted)
