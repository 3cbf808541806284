"""Posterior of (h², τ) by nested quadrature, β and g integrated out in closed form.

In the coordinates z = logit h² and t = log τ the density is analytic and decays exponentially on
both sides of both axes, so the trapezoid rule converges exponentially; the boundaries h² = 0 and h²
= 1 are at infinity. Each value of z has its own nodes in t, around the mode of the density. For a
prior with bounded support `Coordinates` (w, v) replace (z, t), with the same properties.

With β = b + F ξ, ξ ~ N(0, I), and W = R F, the component of y in the column space of X is
``q = R b + shift + W ξ + noise`` with noise covariance τ² S(h²). So ``ρ = W⁻¹(q - R b - shift)`` is
normal about ξ with precision G/τ², ``G = Wᵀ S⁻¹ W``; the eigenvectors of G diagonalise it for all τ
at once.

References
----------
Trefethen & Weideman (2014) The exponentially convergent trapezoidal rule. SIAM Rev 56:385.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.special import expit

from bayeslmm.errors import ModelError
from bayeslmm.inference.exact.coordinates import Coordinates
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.likelihood.one_kernel_solve import solve_parts
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats

type LogPrior = Callable[[Floats, Floats], Floats]
type RowsBetween = Callable[[float, float], KernelRows]

DEPTH = 45.0  # nats below the maximum of a row at which it ends (e^-45 = 3e-20)
DEPTH_ROWS = 30.0  # nats below the best row at which rows end; more would make the rows sparse
CUT = 1e-6  # largest posterior probability beyond LIMIT
LIMIT = 36.0  # |logit h²| up to which h² and 1 - h² differ from 0 in float64
NEAR = 20.0  # |logit h²| at which the prior of τ given h² is that at h² = 0
LOST = 1e-8  # ratio of the eigenvalues of G below which singular values are used instead
NODES_Z = 129
NODES_T = 40
NODES_BOUNDED = 240  # the bound of a uniform prior is approached as slowly as e^-v


@dataclass(frozen=True, slots=True, eq=False)
class KernelRows:
    """The part of the likelihood at r values of z that does not depend on the phenotype.

    Parameters
    ----------
    w, z
        Coordinate of the rows, evenly spaced, and logit h² there (r,).
    weights
        1/d (r, k), d = h² s + 1 - h².
    log_d
        Σ w log d (r,).
    log_S
        log |S| (r,).
    G
        Wᵀ S⁻¹ W (r, p, p); W = R under a flat prior on β.
    lam, U
        Eigenvalues (r, p) and eigenvectors (r, p, p) of G.
    """

    w: Floats
    z: Floats
    weights: Floats
    log_d: Floats
    log_S: Floats
    G: Floats
    lam: Floats
    U: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The likelihood at r values of z for one phenotype in units of sd(y | X).

    Parameters
    ----------
    kernel
        The part that does not depend on the phenotype.
    rss
        Σ e_i²/d_i (r,).
    rho
        W⁻¹(q - R b - h² C D⁻¹ e) (r, p).
    """

    kernel: KernelRows
    rss: Floats
    rho: Floats

    @property
    def z(self) -> Floats:
        """logit h² (r,)."""
        return self.kernel.z


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The posterior density on its nodes.

    Parameters
    ----------
    rows
        Likelihood terms at the nodes z (r,).
    v
        Nodes of the coordinate of τ (r, k), τ in the unit of `rows`, evenly spaced in each row.
    log_density
        log p(y, w, v) (r, k), y in the unit of `rows`.
    coordinates
        Definition of w and v.
    """

    rows: Rows
    v: Floats
    log_density: Floats
    coordinates: Coordinates

    @property
    def log_rows(self) -> Floats:
        """log p(y, w) (r,): the rows integrated over v."""
        step = self.v[:, 1] - self.v[:, 0]
        return np.asarray(log_sum_exp(self.log_density, axis=1) + np.log(step))

    @property
    def log_evidence(self) -> float:
        """log p(y), in the unit of `rows`."""
        return float(
            log_sum_exp(self.log_rows) + np.log(self.rows.kernel.w[1] - self.rows.kernel.w[0])
        )


def kernel_rows(
    w: Floats, spectrum: Spectrum, prior: EffectsPrior, coordinates: Coordinates
) -> KernelRows:
    """Compute the terms of kernel, design and prior of β at the nodes w (r,): O(r k p²)."""
    z = coordinates.z(w)
    h, h1 = expit(z), expit(-z)
    _, _, d, S = solve_parts(spectrum, h[:, None], h1[:, None])
    L = np.linalg.cholesky(S)
    log_S = 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    white = np.linalg.solve(L, np.broadcast_to(_effects_root(spectrum, prior), S.shape))
    G = white.transpose(0, 2, 1) @ white
    lam, U = np.linalg.eigh(G)
    lost = lam[:, 0] < LOST * lam[:, -1]  # squares have too few digits near h² = 1
    if lost.any():
        _, sigma, Vt = np.linalg.svd(white[lost])
        lam[lost], U[lost] = sigma**2, Vt.transpose(0, 2, 1)
    logs, k = np.log(d), spectrum.basis.nodes  # only the first k nodes have weights above 1
    log_d = logs.sum(axis=1) + logs[:, :k] @ (spectrum.weights[:k] - 1.0)
    return KernelRows(w, z, 1.0 / d, log_d, log_S, G, np.maximum(lam, 0.0), U)


def _effects_root(spectrum: Spectrum, prior: EffectsPrior) -> Floats:
    """Return W = R F (p, p); R under a flat prior."""
    return spectrum.triangle if prior.factor is None else spectrum.triangle @ prior.factor


def rows_of(kernel: KernelRows, spectrum: Spectrum, rotated: Floats, prior: EffectsPrior) -> Rows:
    """Compute the likelihood terms of ``rotated = Wᵀy`` (n,)."""
    p, C = spectrum.p, spectrum.coupling
    q, e = rotated[:p], rotated[p:]
    residual = np.broadcast_to(q, (kernel.z.size, p))
    if prior.factor is not None:
        residual = residual - spectrum.triangle @ prior.mean
    if np.any(C):
        residual = residual - expit(kernel.z)[:, None] * (kernel.weights @ (C * e).T)
    rho = np.linalg.solve(_effects_root(spectrum, prior), residual.T).T
    return Rows(kernel, kernel.weights @ (e * e), np.ascontiguousarray(rho))


def row_likelihood(
    rows: Rows, spectrum: Spectrum, prior: EffectsPrior
) -> Callable[[Floats], Floats]:
    """Return ``t (r, k) → log p(y | z, t)`` (r, k), β integrated out under `prior`."""
    p, m, kernel = spectrum.p, spectrum.m, rows.kernel
    if prior.factor is None:
        log_R = float(np.log(np.abs(np.diag(spectrum.triangle))).sum())
        const = m * LOG_2PI + kernel.log_d + 2 * log_R
        lam, w2 = np.zeros((kernel.z.size, 0)), np.zeros((kernel.z.size, 0))
    else:
        const = (p + m) * LOG_2PI + kernel.log_d + kernel.log_S
        lam = kernel.lam
        w2 = lam * (kernel.U.transpose(0, 2, 1) @ rows.rho[:, :, None])[:, :, 0] ** 2

    def likelihood(t: Floats) -> Floats:
        variance = np.exp(2 * t)
        total = const[:, None] + 2 * m * t + rows.rss[:, None] / variance
        for j in range(lam.shape[1]):
            spread = variance + lam[:, j, None]
            total += np.log(spread) + w2[:, j, None] / spread
        return np.asarray(-0.5 * total)

    return likelihood


def log_sum_exp(x: Floats, axis: int | None = None) -> Floats:
    """Compute ``log Σ exp(x)``, with a tenth of SciPy's overhead on small arrays."""
    top = x.max(axis=axis, keepdims=True)
    return np.asarray(np.log(np.exp(x - top).sum(axis=axis)) + np.squeeze(top, axis=axis))


@cache
def likelihood_width(m: int) -> tuple[float, float]:
    """Return the distances of log τ below and above its mode at a fall of `DEPTH` nats."""
    w = np.linspace(-8.0, 30.0 + DEPTH, 20001)
    drop = m * w + 0.5 * m * np.expm1(-2 * w)
    kept = w[drop < DEPTH]
    return float(kept[0]), float(kept[-1])


def integrate_rows(
    density: Callable[[Floats], Floats], low: Floats, high: Floats, nodes: int = NODES_T
) -> tuple[Floats, Floats]:
    """Compute nodes (r, k) and log density (r, k) that hold all but e^-45 of each row.

    The interval of each row is extended until its ends are negligible, then narrowed until the
    density fills it; `density` is unimodal along a row.
    """
    share = np.linspace(0.0, 1.0, nodes)
    low, high = low.copy(), high.copy()
    for _ in range(60):
        t = low[:, None] + (high - low)[:, None] * share
        values = density(t)
        values = np.where(np.isnan(values), -np.inf, values)
        top = values.max(axis=1)
        wide = (high - low) / (nodes - 1)
        inside = values > top[:, None] - DEPTH
        first = inside.argmax(axis=1)
        last = nodes - 1 - inside[:, ::-1].argmax(axis=1)
        open_low = values[:, 0] > top - 0.8 * DEPTH
        open_high = values[:, -1] > top - 0.8 * DEPTH
        still_open = open_low | open_high
        narrow = (last - first < 0.45 * nodes) & ~still_open
        if not np.any(still_open | narrow):
            return t, values
        width = high - low
        low, high = (
            np.where(narrow, low + (first - 1) * wide, low - 0.6 * width * open_low),
            np.where(narrow, low + (last + 1) * wide, high + 0.6 * width * open_high),
        )
    raise ModelError(
        "the density of the total standard deviation is improper: is its prior proper?"
    )


def posterior_grid(
    spectrum: Spectrum,
    rotated: Floats,
    log_prior: LogPrior,
    effects: EffectsPrior,
    coordinates: Coordinates,
    rows_between: RowsBetween | None = None,
) -> Grid:
    """Compute nodes and log density of the posterior of (h², τ).

    Parameters
    ----------
    spectrum, rotated
        K and X; ``Wᵀy`` (n,), in a unit such that sd(y | X) is about one.
    log_prior
        ``(w, v) → log p(w, v)`` in the same unit.
    effects
        Prior of β in the same unit.
    coordinates
        Definition of w and v, in the same unit.
    rows_between
        ``(low, high) → KernelRows`` between two values of w, if shared by traits; by default they
        are computed.

    Raises
    ------
    ModelError
        If the posterior is improper at h² = 1, or more than 1e-6 of it lies beyond `LIMIT`, too
        close to 0 or 1.
    """

    def evaluate(kernel: KernelRows) -> Grid:
        rows = rows_of(kernel, spectrum, rotated, effects)
        likelihood = row_likelihood(rows, spectrum, effects)
        column = kernel.w[:, None]

        def density(v: Floats) -> Floats:
            return likelihood(coordinates.t(v)) + log_prior(column, v)

        nodes = NODES_BOUNDED if coordinates.bounded else NODES_T
        v, values = integrate_rows(
            density, *_initial_interval(rows, spectrum.m, coordinates), nodes
        )
        return Grid(rows, v, values, coordinates)

    def compute(low: float, high: float) -> KernelRows:
        return kernel_rows(np.linspace(low, high, NODES_Z), spectrum, effects, coordinates)

    between = compute if rows_between is None else rows_between
    kernel = between(-LIMIT, LIMIT)
    for attempt in range(20):
        grid = evaluate(kernel)
        log_rows = grid.log_rows
        inside = np.flatnonzero(log_rows > log_rows.max() - DEPTH_ROWS)
        w = kernel.w
        start, stop = max(inside[0] - 1, 0), min(inside[-1] + 1, NODES_Z - 1)
        if (stop - start) > 0.6 * NODES_Z or attempt == 19:
            break
        kernel = between(float(w[start]), float(w[stop]))
    _check_edge(grid)
    return grid


def _initial_interval(rows: Rows, m: int, coordinates: Coordinates) -> tuple[Floats, Floats]:
    """Return the initial interval of rows: width of the likelihood, or the bounded support."""
    if coordinates.bounded:
        return np.full(rows.z.size, -LIMIT), np.full(rows.z.size, LIMIT)
    below, above = likelihood_width(m)
    centre = 0.5 * np.log(rows.rss / m)
    return centre + below, centre + above


def _check_edge(grid: Grid) -> None:
    """Raise `ModelError` if too much probability lies beyond the first or the last row."""
    w, mass = grid.rows.kernel.w, grid.log_rows - grid.log_evidence
    for edge, tail, end in ((0, slice(0, 10), 0), (-1, slice(-10, None), 1)):
        slope = float(np.polyfit(w[tail], mass[tail], 1)[0])
        decay = slope if end == 0 else -slope
        beyond = float(np.exp(mass[edge])) / max(decay, 1e-3)
        if abs(w[edge]) < LIMIT - 1e-9 or beyond < CUT:
            continue
        if end == 1 and decay < 0.05:
            raise ModelError(
                "the posterior of h² piles up at 1 and is improper. Look for individuals with the "
                "same genotype and the same phenotype (duplicates), or for a phenotype that fewer "
                "variants than individuals explain without a residual; or take a prior on h² that "
                "goes to zero at 1, for instance h2=beta(1,2)"
            )
        raise ModelError(
            f"the posterior of h² lies so close to {end} (more than {CUT:g} of it within 1e-15) "
            "that floating-point numbers cannot resolve it. Take a prior on h² that is less peaked "
            "there, for instance h2=beta(1,1)"
        )


def factorises(log_prior: LogPrior) -> bool:
    """Return whether h² and τ are independent under a prior, ``p(w, v) = p(w) p(v)``."""
    w, v = np.meshgrid([-7.0, -0.6, 2.5], [-1.3, 0.2, 1.1], indexing="ij")
    value = log_prior(w, v)
    mixed = value - value[:1] - value[:, :1] + value[0, 0]
    return bool(np.all(np.abs(mixed) < 1e-8 * (1.0 + np.abs(value).max())))


def log_evidence_at_zero(
    spectrum: Spectrum,
    rotated: Floats,
    log_prior: LogPrior,
    effects: EffectsPrior,
    coordinates: Coordinates,
) -> float:
    """Compute log p(y | h² = 0) under a prior that factorises, in the unit of `rotated`.

    τ keeps its prior. Under another prior the limit of p(τ | h²) as h² → 0 is not the prior of the
    model without g, and may not exist: see `bayeslmm.inference.laplace.separate_variances`.
    """
    w = np.array([-LIMIT])
    kernel = kernel_rows(w, spectrum, effects, Coordinates(scale=coordinates.scale))
    rows = rows_of(kernel, spectrum, rotated, effects)
    likelihood = row_likelihood(rows, spectrum, effects)

    near = np.full((1, 1), -NEAR)  # its limit as h² → 0; farther out it may be extrapolated

    def prior(v: Floats) -> Floats:
        return log_prior(near, v)

    def total(grid: tuple[Floats, Floats]) -> float:
        v, values = grid
        return float(log_sum_exp(values) + np.log(v[0, 1] - v[0, 0]))

    joint = integrate_rows(
        lambda v: likelihood(coordinates.t(v)) + prior(v),
        *_initial_interval(rows, spectrum.m, coordinates),
        400,
    )
    alone = integrate_rows(prior, np.array([-4.0]), np.array([4.0]), 400)
    return total(joint) - total(alone)


def prior_density_h2(log_prior: LogPrior, w: Floats, coordinates: Coordinates) -> Floats:
    """Prior density of h² at the coordinates w (r,), τ integrated out."""
    column = w[:, None]
    low, high = np.full(w.size, -4.0), np.full(w.size, 4.0)
    v, values = integrate_rows(lambda v: log_prior(column, v), low, high, 400)
    log_rows = log_sum_exp(values, axis=1) + np.log(v[:, 1] - v[:, 0])
    return np.asarray(np.exp(log_rows - coordinates.log_slope(w)))
