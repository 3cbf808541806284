"""Posterior of h² in closed form (reliability.md A1) by SciPy's `quad` and `brentq` alone.

With a flat prior on β, p(σ²) ∝ 1/σ² and h² ~ Beta(a, b), from eigenvalues and contrasts::

    log p(h² | y) = log p(h²) - ½ [m log Σ e_i²/d_i + Σ log d_i],   d = h² s + 1 - h²
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import expit

from bayeslmm.inference.exact.coordinates import Coordinates
from bayeslmm.inference.exact.draws import share_marginal
from bayeslmm.inference.exact.quadrature import posterior_grid
from bayeslmm.inference.exact.share_marginal import ShareMarginal
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.likelihood.basis import Basis
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.study.eigenvalues import marchenko_pastur

type Floats = NDArray[np.float64]

PANELS = 48
HALF = 0.5 * np.pi
EPS = 1e-6  # θ at which the density of an end is told


class Oracle:
    """The closed form over θ, h² = sin²θ, in which Beta(½, ½) is flat and both ends are regular."""

    def __init__(self, s: Floats, e: Floats, a: float, b: float) -> None:
        self.s = np.unique(s)
        order = np.argsort(s, kind="stable")
        start = np.searchsorted(s[order], self.s)
        self.e2 = np.add.reduceat(e[order] ** 2, start)
        self.count = np.diff(np.append(start, s.size)).astype(float)
        self.m, self.a, self.b = s.size, a, b
        grid = np.linspace(0.0, HALF, 4001)
        values = np.array([self.log_kernel(x) for x in grid])
        self.top = float(values.max())
        inside = np.flatnonzero(values > self.top - 45.0)
        low, high = grid[max(inside[0] - 1, 0)], grid[min(inside[-1] + 1, grid.size - 1)]
        best = grid[int(np.argmax(values))]
        edges = [np.linspace(low, best, PANELS // 2 + 1), np.linspace(best, high, PANELS // 2 + 1)]
        self.edges = np.unique(np.concatenate(edges))
        parts = [self.part(x, y) for x, y in zip(self.edges[:-1], self.edges[1:], strict=True)]
        self.sums = np.concatenate([[0.0], np.cumsum(parts)])

    def log_kernel(self, x: float) -> float:
        """Log density of θ, up to a constant; the Jacobian is 2 sin θ cos θ."""
        h, rest = np.sin(x) ** 2, np.cos(x) ** 2
        d = h * self.s + rest
        with np.errstate(divide="ignore"):
            prior = (2 * self.a - 1) * np.log(np.sin(x)) if self.a != 0.5 else 0.0
            prior += (2 * self.b - 1) * np.log(np.cos(x)) if self.b != 0.5 else 0.0
        rss = float((self.e2 / d).sum())
        return float(prior - 0.5 * (self.m * np.log(rss) + float(self.count @ np.log(d))))

    def part(self, x: float, y: float) -> float:
        found, _ = quad(
            lambda t: np.exp(self.log_kernel(t) - self.top), x, y, epsabs=1e-13, epsrel=1e-12
        )
        return float(found)

    def cdf(self, x: float) -> float:
        """P(θ <= x)."""
        if x <= self.edges[0]:
            return 0.0
        if x >= self.edges[-1]:
            return 1.0
        k = int(np.searchsorted(self.edges, x, side="right")) - 1
        return float((self.sums[k] + self.part(self.edges[k], x)) / self.sums[-1])

    def below(self, h: float) -> float:
        return self.cdf(float(np.arcsin(np.sqrt(h))))

    def inverse(self, u: float) -> float:
        """θ that a probability u lies below."""
        if u <= 0.0:
            return 0.0
        if u >= 1.0:
            return HALF
        k = int(np.clip(np.searchsorted(self.sums, u * self.sums[-1]) - 1, 0, self.edges.size - 2))
        low, high = self.edges[k], self.edges[k + 1]
        return float(brentq(lambda x: self.cdf(x) - u, low, high, xtol=1e-13))

    def quantile(self, u: float) -> float:
        return float(np.sin(self.inverse(u)) ** 2)

    def log_density(self, x: float) -> float:
        """Log density of h² at θ, up to a constant."""
        with np.errstate(divide="ignore"):
            return self.log_kernel(x) - float(np.log(np.sin(x)) + np.log(np.cos(x)))

    def slope(self, h: float) -> float:
        """Derivative of log p(h² | y)."""
        d, t = h * self.s + 1 - h, self.s - 1
        score = self.m * (self.e2 @ (t / d**2)) / (self.e2 @ (1 / d)) - self.count @ (t / d)
        return float(0.5 * score + (self.a - 1) / h - (self.b - 1) / (1 - h))

    def mode(self) -> float:
        """Where the density of h² is highest; an end is judged at |logit h²| = 20."""
        end = float(np.exp(-10.0))  # θ there
        x = np.concatenate([[end], np.linspace(1e-3, HALF - 1e-3, 4001), [HALF - end]])
        best = int(np.argmax([self.log_density(t) for t in x]))
        if best in (0, x.size - 1):
            return 0.0 if best == 0 else 1.0
        low, high = np.sin(x[best - 1]) ** 2, np.sin(x[best + 1]) ** 2
        return float(brentq(self.slope, low, high, xtol=1e-14))

    def hdi(self, prob: float) -> tuple[float, float]:
        """The shortest of all intervals: a coarse table says where, Brent's method the rest."""
        x = np.unique(np.concatenate([np.linspace(0.0, HALF, 2001), *(
            np.linspace(*pair, 40) for pair in zip(self.edges[:-1], self.edges[1:], strict=True)
        )]))  # fmt: skip
        density = np.exp([self.log_kernel(t) - self.top for t in x])
        cdf = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(x) * (density[1:] + density[:-1]))])
        cdf /= cdf[-1]
        start = np.unique(np.concatenate([cdf[cdf < 1 - prob], cdf[cdf > prob] - prob, [0.0]]))
        start = np.append(start, 1.0 - prob)
        width = np.sin(np.interp(start + prob, cdf, x)) ** 2 - np.sin(np.interp(start, cdf, x)) ** 2
        best = int(np.argmin(width))

        def gap(below: float) -> float:
            lower, upper = self.inverse(below), self.inverse(below + prob)
            return self.log_density(max(lower, EPS)) - self.log_density(min(upper, HALF - EPS))

        low, high = start[max(best - 4, 0)], start[min(best + 4, start.size - 1)]
        if low == 0.0 and gap(0.0) >= 0.0:
            return 0.0, self.quantile(prob)
        if high == start[-1] and gap(high) <= 0.0:
            return self.quantile(1.0 - prob), 1.0
        below = float(brentq(gap, low, high, xtol=1e-13))
        return self.quantile(below), self.quantile(below + prob)


@cache
def eigenvalues(kernel: str, n: int) -> Floats:
    """Of sibships of four among n - 1 contrasts, or of unrelated people (n/200 segments each)."""
    m = n - 1
    if kernel == "unrelated":
        return marchenko_pastur(n, 5.0 * n)
    return np.sort(np.where(np.arange(m) % 4 == 0, 2.5, 0.5))


@cache
def contrasts(kernel: str, n: int, h2: float, seed: int) -> Floats:
    s = eigenvalues(kernel, n)
    normal = np.random.default_rng(seed).standard_normal(s.size)
    return np.asarray(normal * np.sqrt(h2 * s + 1 - h2))


@cache
def oracle(kernel: str, n: int, h2: float, seed: int, a: float, b: float) -> Oracle:
    return Oracle(eigenvalues(kernel, n), contrasts(kernel, n, h2, seed), a, b)


def engine(kernel: str, n: int, h2: float, seed: int, a: float, b: float) -> ShareMarginal:
    """The same posterior by the engine's own grid; p(τ) ∝ 1/τ is flat in log τ."""
    s, e = eigenvalues(kernel, n), contrasts(kernel, n, h2, seed)
    one, nothing = np.ones((1, 1)), np.zeros((1, s.size))
    basis = Basis(np.empty((n, 0)), 1)  # the contrasts are given: no record is rotated
    spectrum = Spectrum(s, np.ones(s.size), nothing, one, one, basis, "")
    unit = float(np.sqrt(np.mean(e * e)))
    effects = EffectsPrior(np.zeros(1), None, np.zeros(1), np.eye(1))

    def log_prior(w: Floats, v: Floats) -> Floats:
        value = a * np.log(expit(w)) + b * np.log(expit(-w))
        return np.broadcast_to(value, np.broadcast_shapes(w.shape, v.shape))

    rotated = np.concatenate([[0.0], e / unit])
    return share_marginal(posterior_grid(spectrum, rotated, log_prior, effects, Coordinates()))
