"""Independent draws of (h², τ, β) from a posterior grid, and the exact marginal of h².

z is drawn by inverting its distribution function, t given z by inverting the functions of
the neighbouring rows, β given both from its normal distribution. Between the nodes of z everything
is interpolated by polynomials of degree 7, whose error is far below that of the draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import cumulative_trapezoid
from scipy.interpolate import CubicSpline
from scipy.special import expit, log_expit

from bayeslmm.engines.marginal import EffectsPrior
from bayeslmm.engines.quadrature import Grid
from bayeslmm.likelihood import LOG_2PI, cholesky_in_place, solve_lower, solve_lower_transposed
from bayeslmm.spectrum import Spectrum

type Floats = NDArray[np.float64]

STENCIL = 8


@dataclass(frozen=True, slots=True, eq=False)
class ShareMarginal:
    """Exact marginal posterior of h² on a fine grid, from 0 to 1.

    Parameters
    ----------
    z
        logit h² (f,), even steps.
    cdf
        P(h² <= expit(z) | y) (f,).
    density
        Density of h² (f,), with respect to h².
    """

    z: Floats
    cdf: Floats
    density: Floats

    def quantile(self, probability: Any) -> Floats:
        """Quantiles of h²."""
        return np.asarray(expit(np.interp(probability, self.cdf, self.z)))

    def moments(self) -> tuple[float, float]:
        """Posterior mean and sd of h²."""
        weight = self.density * np.exp(log_expit(self.z) + log_expit(-self.z))
        weight /= weight.sum()
        h = expit(self.z)
        mean = float(weight @ h)
        return mean, float(np.sqrt(weight @ (h - mean) ** 2))

    def below(self, h: float) -> float:
        """P(h² < h | y)."""
        return float(np.interp(math.log(h) - math.log1p(-h), self.z, self.cdf))

    def mode(self) -> float:
        """Mode of the density of h² on [0, 1]; 0 or 1 where the density is highest at the end."""
        best = int(np.argmax(self.density))
        edge = 1e-6 * self.density[best]
        if self.density[0] >= self.density[best] - edge and expit(self.z[0]) < 1e-6:
            return 0.0
        if self.density[-1] >= self.density[best] - edge and expit(-self.z[-1]) < 1e-6:
            return 1.0
        if best in (0, self.z.size - 1):
            return float(expit(self.z[best]))
        a, b, c = np.log(self.density[best - 1 : best + 2])
        offset = 0.5 * (a - c) / (a - 2 * b + c)
        return float(expit(self.z[best] + offset * (self.z[1] - self.z[0])))

    def hdi(self, probability: float) -> tuple[float, float]:
        """Shortest interval of h² with the given posterior probability."""
        start = np.linspace(0.0, 1.0 - probability, 4001)
        cdf = np.concatenate([[0.0], self.cdf, [1.0]])
        h = np.concatenate([[0.0], expit(self.z), [1.0]])
        low, high = np.interp(start, cdf, h), np.interp(start + probability, cdf, h)
        best = int(np.argmin(high - low))
        lower, upper = float(low[best]), float(high[best])
        return (0.0 if best == 0 else lower), (1.0 if best == start.size - 1 else upper)


def share_marginal(grid: Grid, upsample: int = 16) -> ShareMarginal:
    """Marginal of h² by a spline of the log density through the rows of the grid."""
    z = grid.rows.z
    fine = np.linspace(z[0], z[-1], (z.size - 1) * upsample + 1)
    log_rows = np.maximum(grid.log_rows, grid.log_rows.max() - 200.0)
    log_density = CubicSpline(z, log_rows)(fine)
    weight = np.exp(log_density - log_density.max())
    cdf = cumulative_trapezoid(weight, fine, initial=0)
    weight, cdf = weight / cdf[-1], cdf / cdf[-1]
    return ShareMarginal(fine, cdf, weight * np.exp(-log_expit(fine) - log_expit(-fine)))


def row_distributions(grid: Grid, upsample: int = 8) -> tuple[Floats, Floats, Floats]:
    """Distribution function of t in every row (r, f), the first t (r,) and the step (r,)."""
    values = np.maximum(grid.log_density, grid.log_density.max(axis=1)[:, None] - 200.0)
    nodes = np.arange(values.shape[1])
    fine = np.linspace(0, nodes[-1], nodes[-1] * upsample + 1)
    log_density = CubicSpline(nodes, values, axis=1)(fine)
    weight = np.exp(log_density - log_density.max(axis=1)[:, None])
    cdf = cumulative_trapezoid(weight, axis=1, initial=0)
    cdf /= cdf[:, -1:]
    return cdf, grid.t[:, 0].copy(), (grid.t[:, 1] - grid.t[:, 0]) / upsample


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """Independent posterior draws, in the unit of the grid.

    Parameters
    ----------
    z, t
        logit h² and log τ (draws,).
    beta
        β (draws, p).
    log_likelihood
        log p(y | β, h², τ) (draws,).
    """

    z: Floats
    t: Floats
    beta: Floats
    log_likelihood: Floats


def draw(
    grid: Grid,
    spectrum: Spectrum,
    q: Floats,
    effects: EffectsPrior,
    draws: int,
    rng: np.random.Generator,
) -> Draws:
    """Independent draws from the posterior on a grid; q (p,) is the first part of ``Wᵀy``."""
    marginal = share_marginal(grid)
    z = np.interp(rng.random(draws), marginal.cdf, marginal.z)
    cdf, first, step = row_distributions(grid)
    p = spectrum.p
    improper = effects.factor is None
    rows = grid.rows
    t, beta, log_likelihood = _conditional_draws(
        z,
        rng.random(draws),
        rng.standard_normal((draws, p)),
        (rows.z[0], rows.z[1] - rows.z[0]),
        cdf,
        first,
        step,
        np.column_stack([rows.log_d, np.log(rows.rss)]),
        rows.shift,
        rows.S,
        q,
        spectrum.triangle,
        effects.mean,
        np.eye(p) if effects.factor is None else effects.factor,
        improper,
        spectrum.m,
    )
    return Draws(z, t, beta, log_likelihood)


@numba.njit(cache=True, nogil=True)
def _lagrange(position: float, nodes: int, weights: Floats) -> int:
    """Weights (8,) of polynomial interpolation at `position` (in steps); returns the first node."""
    size = weights.shape[0]
    start: int = math.floor(position) - size // 2 + 1
    start = min(max(start, 0), nodes - size)
    x = position - start
    for i in range(size):
        weight = 1.0
        for j in range(size):
            if j != i:
                weight *= (x - j) / (i - j)
        weights[i] = weight
    return start


@numba.njit(cache=True, nogil=True)
def _invert(cdf: Floats, u: float) -> float:
    """Position (in steps) at which a distribution function (f,) reaches u."""
    low, high = 0, cdf.shape[0] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if cdf[middle] <= u:
            low = middle
        else:
            high = middle
    rise = cdf[high] - cdf[low]
    return low + ((u - cdf[low]) / rise if rise > 0.0 else 0.0)


@numba.njit(cache=True, nogil=True)
def _conditional_draws(
    z: Floats,
    u: Floats,
    xi: Floats,
    axis: tuple[float, float],
    cdf: Floats,
    first: Floats,
    step: Floats,
    scalars: Floats,
    shifts: Floats,
    S_rows: Floats,
    q: Floats,
    R: Floats,
    mean: Floats,
    factor: Floats,
    improper: bool,
    m: int,
) -> tuple[Floats, Floats, Floats]:
    """Draw t given z and β given both; see `draw`."""
    count, p = xi.shape
    t = np.empty(count)
    beta = np.empty((count, p))
    log_likelihood = np.empty(count)
    weights = np.empty(STENCIL)
    S = np.empty((p, p))
    P = np.empty((p, p))
    r = np.empty(p)
    column = np.empty(p)
    W = R @ factor
    white = np.empty((p, p))
    b = np.empty(p)
    for i in range(count):
        start = _lagrange((z[i] - axis[0]) / axis[1], scalars.shape[0], weights)
        ti = 0.0
        log_d = 0.0
        log_rss = 0.0
        S[:] = 0.0
        for k in range(p):
            r[k] = q[k]
        for j in range(STENCIL):
            row = start + j
            w = weights[j]
            ti += w * (first[row] + step[row] * _invert(cdf[row], u[i]))
            log_d += w * scalars[row, 0]
            log_rss += w * scalars[row, 1]
            for k in range(p):
                r[k] -= w * shifts[row, k]
                for c in range(k + 1):
                    S[k, c] += w * S_rows[row, k, c]
        t[i] = ti
        tau = math.exp(ti)
        if not cholesky_in_place(S):
            beta[i] = np.nan
            log_likelihood[i] = np.nan
            continue
        log_S = 0.0
        for k in range(p):
            log_S += 2.0 * math.log(S[k, k])
        if improper:  # β = R⁻¹(q - shift - τ S^½ ξ)
            for k in range(p):
                b[k] = r[k]
                for c in range(k + 1):
                    b[k] -= tau * S[k, c] * xi[i, c]
            for k in range(p - 1, -1, -1):
                for c in range(k + 1, p):
                    b[k] -= R[k, c] * b[c]
                b[k] /= R[k, k]
        else:  # β = mean + factor ξ', ξ' of precision I + WᵀS⁻¹W/τ²
            for c in range(p):
                for k in range(p):
                    column[k] = W[k, c]
                solve_lower(S, column)
                for k in range(p):
                    white[k, c] = column[k] / tau
            for k in range(p):
                column[k] = r[k]
                for c in range(k, p):
                    column[k] -= R[k, c] * mean[c]
            solve_lower(S, column)
            for k in range(p):
                b[k] = 0.0
                for c in range(p):
                    b[k] += white[c, k] * column[c] / tau
                for c in range(k + 1):
                    value = 1.0 if c == k else 0.0
                    for j in range(p):
                        value += white[j, k] * white[j, c]
                    P[k, c] = value
            cholesky_in_place(P)
            solve_lower(P, b)
            for k in range(p):
                b[k] += xi[i, k]
            solve_lower_transposed(P, b)
            for k in range(p):
                column[k] = mean[k]
                for c in range(p):
                    column[k] += factor[k, c] * b[c]
            for k in range(p):
                b[k] = column[k]
        for k in range(p):
            beta[i, k] = b[k]
            for c in range(k, p):
                r[k] -= R[k, c] * b[c]
        solve_lower(S, r)
        quadratic = math.exp(log_rss)
        for k in range(p):
            quadratic += r[k] * r[k]
        log_likelihood[i] = -0.5 * (
            (m + p) * (LOG_2PI + 2.0 * ti) + log_d + log_S + quadratic / (tau * tau)
        )
    return t, beta, log_likelihood
