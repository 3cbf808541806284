"""Independent draws of (h², τ, β) from a posterior grid, and the exact marginal of h².

z is drawn by inverting its distribution function, t given z by inverting the functions of
the neighbouring rows, β given both from its normal distribution. Between the nodes of z everything
is interpolated by polynomials of degree 11, whose error is far below the error of the draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.interpolate import CubicSpline, make_interp_spline

from bayeslmm.inference.exact.quadrature import Grid
from bayeslmm.inference.exact.share_marginal import ShareMarginal, cumulate
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.likelihood.one_kernel import (
    LOG_2PI,
    cholesky_in_place,
    solve_lower,
    solve_lower_transposed,
)
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.monotone_cubic import cell

STENCIL = 12
DEGREE = 11  # degree of the spline through the rows


@cache
def spline_weights(nodes: int, upsample: int) -> Floats:
    """Compute the weights (f, nodes) of an interpolating spline of degree `DEGREE`."""
    fine = np.linspace(0.0, nodes - 1.0, (nodes - 1) * upsample + 1)
    return np.asarray(make_interp_spline(np.arange(nodes), np.eye(nodes), k=DEGREE)(fine))


def share_marginal(grid: Grid, upsample: int = 16) -> ShareMarginal:
    """Compute the marginal of h² by a spline of the log density through the rows of the grid."""
    w = grid.rows.kernel.w
    fine = np.linspace(w[0], w[-1], (w.size - 1) * upsample + 1)
    log_rows = np.maximum(grid.log_rows, grid.log_rows.max() - 200.0)
    # einsum gives the same bits with any number of threads
    log_density = np.einsum("ij,j->i", spline_weights(w.size, upsample), log_rows)
    weight = np.exp(log_density - log_density.max())
    cdf = cumulate(weight)
    density = weight * np.exp(-grid.coordinates.log_slope(fine)) / (cdf[-1] * (fine[1] - fine[0]))
    return ShareMarginal(grid.coordinates.z(fine), cdf / cdf[-1], density)


def row_distributions(grid: Grid, upsample: int = 8) -> tuple[Floats, Floats, Floats]:
    """Compute the distribution function of v in each row (r, f), first v (r,) and step (r,)."""
    values = np.maximum(grid.log_density, grid.log_density.max(axis=1)[:, None] - 200.0)
    nodes = np.arange(values.shape[1])
    fine = np.linspace(0, nodes[-1], nodes[-1] * upsample + 1)
    log_density = CubicSpline(nodes, values, axis=1)(fine)
    weight = np.exp(log_density - log_density.max(axis=1)[:, None])
    cdf = cumulative_trapezoid(weight, axis=1, initial=0)
    cdf /= cdf[:, -1:]
    return cdf, grid.v[:, 0].copy(), (grid.v[:, 1] - grid.v[:, 0]) / upsample


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


def draw_from_grid(
    grid: Grid,
    spectrum: Spectrum,
    effects: EffectsPrior,
    draws: int,
    rng: np.random.Generator,
    share: ShareMarginal | None = None,
) -> Draws:
    """Draw independently from the posterior on a grid; `share` is its `share_marginal`."""
    marginal = share_marginal(grid) if share is None else share
    p, rows, kernel = spectrum.p, grid.rows, grid.rows.kernel
    steps = np.linspace(0.0, kernel.w.size - 1.0, marginal.z.size)
    position = np.interp(rng.random(draws), marginal.cdf, steps)
    cdf, first, step = row_distributions(grid)
    i, j = np.tril_indices(p)
    scalars = [kernel.log_d, rows.rss, kernel.log_S]
    proper = effects.factor is not None
    t, xi, log_likelihood = _conditional_draws(
        position,
        rng.random(draws),
        rng.standard_normal((draws, p)),
        cdf,
        first,
        step,
        np.column_stack([*scalars, rows.rho, kernel.G[:, i, j]]),
        grid.coordinates.scale,
        1.0 if proper else 0.0,
        spectrum.m,
    )
    z = grid.coordinates.z(kernel.w[0] + position * (kernel.w[1] - kernel.w[0]))
    beta = effects.mean + xi @ effects.factor.T if effects.factor is not None else xi
    return Draws(z, t, beta, log_likelihood)


@numba.njit(cache=True, nogil=True)
def _lagrange(position: float, nodes: int, weights: Floats) -> int:
    """Fill weights (12,) of interpolation at `position` (in steps); return the first node."""
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
    """Find the position (in steps) where a CDF (f,) reaches u, by linear interpolation."""
    low = cell(cdf, u)
    rise = cdf[low + 1] - cdf[low]
    return float(low + ((u - cdf[low]) / rise if rise > 0.0 else 0.0))


@numba.njit(cache=True, nogil=True)
def _unpack(packed: Floats, A: Floats) -> None:
    """Fill the symmetric A (p, p) from its lower triangle, row by row."""
    k = 0
    for i in range(A.shape[0]):
        for j in range(i + 1):
            A[i, j] = A[j, i] = packed[k]
            k += 1


@numba.njit(cache=True, nogil=True)
def _conditional_draws(
    position: Floats,
    u: Floats,
    normal: Floats,
    cdf: Floats,
    first: Floats,
    step: Floats,
    table: Floats,
    support: tuple[float, float],
    prior_precision: float,
    m: int,
) -> tuple[Floats, Floats, Floats]:
    """Draw t given z, and ξ given both, from the rows of a grid.

    ξ has the precision ``P = (1 or 0) I + G/τ²`` and the mean ``P⁻¹ G ρ/τ²``.

    Parameters
    ----------
    position
        w (draws,) in steps of the grid.
    u, normal
        Uniform (draws,) and standard normal (draws, p) numbers.
    cdf, first, step
        Distribution function of v in each row, from `row_distributions`.
    table
        log_d, rss, log |S|, ρ, lower triangle of G in each row (r, 3 + p + p(p+1)/2).
    support
        Bounds of τ: v is log τ without an upper bound, otherwise the logit between the bounds.
    prior_precision
        1 for a proper prior of ξ, 0 for a flat one.
    m
        Number of contrasts.

    Returns
    -------
    t (draws,), ξ (draws, p), log likelihood (draws,)
    """
    count, p = normal.shape
    t = np.empty(count)
    xi = np.empty((count, p))
    log_likelihood = np.empty(count)
    weights = np.empty(STENCIL)
    at = np.empty(table.shape[1])
    G = np.empty((p, p))
    P = np.empty((p, p))
    b = np.empty(p)
    for i in range(count):
        start = _lagrange(position[i], table.shape[0], weights)
        ti = 0.0  # v, then log τ
        at[:] = 0.0
        for j in range(STENCIL):
            row = start + j
            ti += weights[j] * (first[row] + step[row] * _invert(cdf[row], u[i]))
            for k in range(at.shape[0]):
                at[k] += weights[j] * table[row, k]
        if support[1] < np.inf:
            ti = math.log(support[0] + (support[1] - support[0]) / (1.0 + math.exp(-ti)))
        rho = at[3 : 3 + p]
        _unpack(at[3 + p :], G)
        precision = math.exp(-2.0 * ti)
        for k in range(p):
            total = 0.0
            for j in range(p):
                total += G[k, j] * rho[j]
                P[k, j] = precision * G[k, j]
            b[k] = precision * total
            P[k, k] += prior_precision
        if not cholesky_in_place(P):
            t[i] = log_likelihood[i] = np.nan
            xi[i] = np.nan
            continue
        solve_lower(P, b)
        for k in range(p):
            b[k] += normal[i, k]
        solve_lower_transposed(P, b)
        quadratic = at[1]
        for k in range(p):
            total = 0.0
            for j in range(p):
                total += G[k, j] * (rho[j] - b[j])
            quadratic += total * (rho[k] - b[k])
        t[i] = ti
        xi[i] = b
        log_likelihood[i] = -0.5 * (
            (m + p) * (LOG_2PI + 2.0 * ti) + at[0] + at[2] + quadratic * precision
        )
    return t, xi, log_likelihood
