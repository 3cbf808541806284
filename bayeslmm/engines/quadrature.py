"""Posterior of (h², τ) by nested quadrature, β and g integrated out in closed form.

In the coordinates z = logit h² and t = log τ the density is analytic and decays exponentially on
both sides of both axes, so that the trapezoid rule converges exponentially; the edges h² = 0
and h² = 1 lie at infinity. Each value of z has its own nodes in t, centred where the density is.

With β ~ N(b, L Lᵀ) and W = R L, the part of y in the column space of X is normal with covariance
``τ² S(h²) + W Wᵀ``; the eigenvalues λ of ``S^(-½) W Wᵀ S^(-½)`` make it diagonal for all τ at once.

References
----------
Trefethen & Weideman (2014) The exponentially convergent trapezoidal rule. SIAM Rev 56:385.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit, logsumexp

from bayeslmm.engines.marginal import EffectsPrior
from bayeslmm.errors import ModelError
from bayeslmm.likelihood import LOG_2PI
from bayeslmm.spectrum import Spectrum

type Floats = NDArray[np.float64]
type LogPrior = Callable[[Floats, Floats], Floats]

DEPTH = 45.0  # nats below the maximum that still count (e^-45 = 3e-20)
LIMIT = 36.0  # |logit h²| up to which h² and 1 - h² are distinguished from 0
NODES_Z = 97
NODES_T = 40


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What the likelihood needs at r values of z, for one phenotype in units of sd(y | X).

    Parameters
    ----------
    z
        logit h² (r,).
    log_d, rss
        Σ log d_i and Σ e_i²/d_i (r,), d = h² s + 1 - h².
    shift
        h² C D⁻¹ e (r, p).
    S
        Schur complement S(h²) (r, p, p).
    """

    z: Floats
    log_d: Floats
    rss: Floats
    shift: Floats
    S: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The posterior density on its nodes.

    Parameters
    ----------
    rows
        Likelihood terms at the nodes z (r,).
    t
        Nodes log τ (r, k), in the unit of `rows`, evenly spaced in each row.
    log_density
        log p(y, z, t) (r, k), y in the unit of `rows`.
    """

    rows: Rows
    t: Floats
    log_density: Floats

    @property
    def log_rows(self) -> Floats:
        """log p(y, z) (r,): the rows integrated over t."""
        step = self.t[:, 1] - self.t[:, 0]
        return np.asarray(logsumexp(self.log_density, axis=1) + np.log(step))

    @property
    def log_evidence(self) -> float:
        """log p(y), in the unit of `rows`."""
        return float(logsumexp(self.log_rows) + np.log(self.rows.z[1] - self.rows.z[0]))


def rows_at(z: Floats, spectrum: Spectrum, rotated: Floats) -> Rows:
    """Likelihood terms at the nodes z (r,) for ``rotated = Wᵀy`` (n,): O(r m p²)."""
    s, C, p = spectrum.eigenvalues, spectrum.coupling, spectrum.p
    e = rotated[p:]
    h, h1 = expit(z), expit(-z)
    d = h[:, None] * s + h1[:, None]
    w = 1.0 / d
    log_d = np.log(d).sum(axis=1)
    rss = w @ (e * e)
    shift = np.zeros((z.size, p))
    S = h1[:, None, None] * np.eye(p) + h[:, None, None] * spectrum.schur
    if np.any(C):
        shift = h[:, None] * (w @ (C * e).T)
        with np.errstate(divide="ignore"):
            inverse = np.where(s > 0, 1.0 / s, 0.0)
        i, j = np.tril_indices(p)
        packed = (h * h1)[:, None] * (w @ (C[i] * C[j] * inverse).T)
        extra = np.zeros_like(S)
        extra[:, i, j] = packed
        extra[:, j, i] = packed
        S += extra
    return Rows(z, log_d, rss, shift, S)


def row_likelihood(
    rows: Rows, spectrum: Spectrum, q: Floats, prior: EffectsPrior
) -> Callable[[Floats], Floats]:
    """``t (r, k) → log p(y | z, t)`` (r, k), β integrated out under `prior`."""
    p, m = spectrum.p, spectrum.m
    R = spectrum.triangle
    L = np.linalg.cholesky(rows.S)
    log_S = 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    if prior.factor is None:
        log_R = float(np.log(np.abs(np.diag(R))).sum())

        def flat(t: Floats) -> Floats:
            reml = m * (LOG_2PI + 2 * t) + rows.log_d[:, None] + rows.rss[:, None] * np.exp(-2 * t)
            return np.asarray(-0.5 * reml - log_R)

        return flat
    residual = q - R @ prior.mean - rows.shift
    whitened = np.linalg.solve(L, np.broadcast_to(R @ prior.factor, (*L.shape[:1], p, p)))
    lam, U = np.linalg.eigh(whitened @ whitened.transpose(0, 2, 1))
    lam = np.maximum(lam, 0.0)
    w = np.linalg.solve(L, residual[:, :, None])
    w2 = (U.transpose(0, 2, 1) @ w)[:, :, 0] ** 2
    const = (p + m) * LOG_2PI + rows.log_d + log_S

    def proper(t: Floats) -> Floats:
        variance = np.exp(2 * t)
        total = const[:, None] + 2 * m * t + rows.rss[:, None] / variance
        for j in range(p):
            spread = variance + lam[:, j, None]
            total += np.log(spread) + w2[:, j, None] / spread
        return np.asarray(-0.5 * total)

    return proper


def likelihood_width(m: int) -> tuple[float, float]:
    """How far log τ lies below and above its mode until the likelihood has lost `DEPTH` nats."""
    w = np.linspace(-8.0, 30.0 + DEPTH, 20001)
    drop = m * w + 0.5 * m * np.expm1(-2 * w)
    kept = w[drop < DEPTH]
    return float(kept[0]), float(kept[-1])


def integrate_rows(
    density: Callable[[Floats], Floats], low: Floats, high: Floats, nodes: int = NODES_T
) -> tuple[Floats, Floats]:
    """Nodes (r, k) and log density (r, k) that hold all but e^-45 of each row.

    The interval of each row is moved and stretched until its ends are negligible and narrowed
    until it is well filled; `density` is unimodal along a row.
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
        narrow = (last - first) < 0.45 * nodes
        if not np.any(open_low | open_high | narrow):
            return t, values
        width = high - low
        new_low = np.where(open_low, low - 0.6 * width, low + (first - 1) * wide)
        new_high = np.where(open_high, high + 0.6 * width, low + (last + 1) * wide)
        changed = open_low | open_high | narrow
        low = np.where(changed, new_low, low)
        high = np.where(changed, new_high, high)
    raise ModelError("the density of the total standard deviation has no end: is its prior proper?")


def posterior_grid(
    spectrum: Spectrum, rotated: Floats, log_prior: LogPrior, effects: EffectsPrior
) -> Grid:
    """Nodes and log density of the posterior of (z, t).

    Parameters
    ----------
    spectrum, rotated
        K and X; ``Wᵀy`` (n,), in a unit in which sd(y | X) is about one.
    log_prior
        ``(z, t) → log p(z, t)`` in the same unit.
    effects
        Prior of β in the same unit.

    Raises
    ------
    ModelError
        If the posterior piles up at h² = 1 without end (improper).
    """
    q = rotated[: spectrum.p]
    below, above = likelihood_width(spectrum.m)

    def evaluate(z: Floats, nodes: int) -> Grid:
        rows = rows_at(z, spectrum, rotated)
        likelihood = row_likelihood(rows, spectrum, q, effects)
        column = z[:, None]

        def density(t: Floats) -> Floats:
            return likelihood(t) + log_prior(column, t)

        centre = 0.5 * np.log(rows.rss / spectrum.m)
        t, values = integrate_rows(density, centre + below, centre + above, nodes)
        return Grid(rows, t, values)

    low, high = -LIMIT, LIMIT
    for attempt in range(20):
        grid = evaluate(np.linspace(low, high, NODES_Z), NODES_T)
        inside = np.flatnonzero(grid.log_rows > grid.log_rows.max() - DEPTH)
        z = grid.rows.z
        first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, NODES_Z - 1)
        if (last - first) > 0.6 * NODES_Z or attempt == 19:
            break
        low, high = float(z[first]), float(z[last])
    _check_edge(grid)
    return grid


def _check_edge(grid: Grid) -> None:
    log_rows = grid.log_rows
    if grid.rows.z[-1] >= LIMIT - 1e-9 and log_rows[-1] > log_rows.max() - 20.0:
        raise ModelError(
            "the posterior of h² piles up at 1 without end: it is improper. Look for individuals "
            "with the same genotype and the same phenotype (duplicates), or take a prior on h² "
            "that goes to zero at 1, for instance h2=beta(1,2)"
        )


def log_evidence_at_zero(
    spectrum: Spectrum, rotated: Floats, log_prior: LogPrior, effects: EffectsPrior
) -> float:
    """log p(y | h² = 0), the other priors as in the model, in the unit of `rotated`."""
    z = np.array([-LIMIT])
    rows = rows_at(z, spectrum, rotated)
    likelihood = row_likelihood(rows, spectrum, rotated[: spectrum.p], effects)

    def prior(t: Floats) -> Floats:
        return log_prior(z[:, None], t)

    def total(grid: tuple[Floats, Floats]) -> float:
        t, values = grid
        return float(logsumexp(values) + np.log(t[0, 1] - t[0, 0]))

    below, above = likelihood_width(spectrum.m)
    centre = 0.5 * np.log(rows.rss / spectrum.m)
    joint = integrate_rows(lambda t: likelihood(t) + prior(t), centre + below, centre + above)
    alone = integrate_rows(prior, np.array([-4.0]), np.array([4.0]), 400)
    return total(joint) - total(alone)


def prior_density_h2(log_prior: LogPrior, z: Floats) -> Floats:
    """Prior density of h² at expit(z) (r,), τ integrated out."""
    column = z[:, None]
    low, high = np.full(z.size, -4.0), np.full(z.size, 4.0)
    t, values = integrate_rows(lambda t: log_prior(column, t), low, high, 400)
    log_rows = logsumexp(values, axis=1) + np.log(t[:, 1] - t[:, 0])
    return np.asarray(np.exp(log_rows - log_expit(z) - log_expit(-z)))
