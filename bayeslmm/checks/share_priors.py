"""Priors that a careful reader would try for h²: their densities, and what they expect of it.

Each is a prior of the share x that the kernels explain together (h² where all are genetic); what
they say about x below 0.01 or above 0.9 differs far more than their names suggest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaln, gammaln, stdtr, stdtrit, xlog1py, xlogy

from bayeslmm.numerics.arrays import Floats

PC_RATE = 1.62  # λ: half of the mass below 0.10
HALF_T = (3.0, 2.5)  # degrees of freedom, and scale in units of sd(y | X)
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SharePrior:
    """A named prior of a share x in [0, 1].

    Parameters
    ----------
    name
        In tables: "flat", "beta(0.5,0.5)", "half-t", ...
    words
        What it is.
    log_density
        ``(x, 1 - x) → log p(x)``; both are given, so that 1 - x keeps its digits near 1.
    below
        ``x → P(share < x)``.
    by_sds
        Is it a prior of the standard deviations √(s_k) τ, which says something of the total
        standard deviation τ, too? Then `log_density` is what two components induce.
    """

    name: str
    words: str
    log_density: Callable[[Floats, Floats], Floats]
    below: Callable[[Floats], Floats]
    by_sds: bool = False


def beta_prior(a: float, b: float, name: str = "", words: str = "") -> SharePrior:
    """Beta(a, b); a = b = 1/2 is what equal half-normal standard deviations induce."""

    def log_density(x: Floats, rest: Floats) -> Floats:
        return np.asarray(
            xlogy(a - 1, np.maximum(x, TINY)) + xlogy(b - 1, np.maximum(rest, TINY)) - betaln(a, b)
        )

    def below(x: Floats) -> Floats:
        return np.asarray(betainc(a, b, np.clip(x, 0.0, 1.0)))

    return SharePrior(
        name or f"beta({a:g},{b:g})", words or f"Beta({a:g}, {b:g})", log_density, below
    )


def pc_prior(rate: float = PC_RATE) -> SharePrior:
    """Penalised complexity, ``p(x) = λ e^{-λ√x} / (2 √x (1 - e^{-λ}))``: x = 0 is the base.

    References
    ----------
    Simpson et al. (2017) Stat Sci 32:1; Fuglstad et al. (2020) Bayesian Anal 15:1109.
    """
    log_mass = float(np.log(-np.expm1(-rate)))

    def log_density(x: Floats, rest: Floats) -> Floats:
        root = np.sqrt(np.maximum(x, TINY))
        return np.asarray(np.log(rate) - rate * root - np.log(2 * root) - log_mass)

    def below(x: Floats) -> Floats:
        return np.asarray(np.expm1(-rate * np.sqrt(np.clip(x, 0.0, 1.0))) / np.expm1(-rate))

    return SharePrior("pc", f"penalised complexity, e^(-{rate:g}√h²)/√h²", log_density, below)


def half_t_prior(nu: float = HALF_T[0], scale: float = HALF_T[1]) -> SharePrior:
    """Half-t with one scale on the standard deviation of every component.

    The scale does not matter for the share. With two components ``r = σ_u/σ_e`` is a ratio of
    half-t variables, ``P(x < c) = ∫ f(σ_e) F(σ_e √(c/(1-c))) dσ_e``.
    """
    u = (np.arange(4000) + 0.5) / 4000
    nodes = stdtrit(nu, 0.5 * (1 + u))  # quantiles of |t|

    def below(x: Floats) -> Floats:
        x = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
        ratio = np.sqrt(x / np.maximum(1 - x, TINY))
        return np.asarray((2 * stdtr(nu, nodes * ratio[..., None]) - 1).mean(axis=-1))

    def log_density(x: Floats, rest: Floats) -> Floats:
        """``p(x) = ∫ t p_t(t√x) p_t(t√(1-x)) dt / (2 √(x (1-x)))``, over log t."""
        log_t = np.linspace(-14.0, 14.0, 281)
        t = np.exp(log_t)
        inner = log_half_t(t * np.sqrt(x[..., None]), nu) + log_half_t(
            t * np.sqrt(rest[..., None]), nu
        )
        total = np.exp(inner + 2 * log_t).sum(axis=-1) * (log_t[1] - log_t[0])
        jacobian = 0.5 * np.log(np.maximum(x, TINY) * np.maximum(rest, TINY)) + np.log(2.0)
        return np.asarray(np.log(total) - jacobian)

    words = f"half-t with {nu:g} degrees of freedom on every standard deviation (brms)"
    return SharePrior("half-t", words, log_density, below, by_sds=True)


def log_half_t(x: Floats, nu: float, scale: float | Floats = 1.0) -> Floats:
    """Log density of a half-t variable at x ≥ 0."""
    constant = np.log(2.0) + gammaln(0.5 * (nu + 1)) - gammaln(0.5 * nu) - 0.5 * np.log(nu * np.pi)
    return np.asarray(constant - np.log(scale) - xlog1py(0.5 * (nu + 1), (x / scale) ** 2 / nu))


def log_half_t_shares(shares: Floats, total_sd: Floats, unit: float | Floats = 1.0) -> Floats:
    """Log density of (s_1, ..., s_K, τ) when every σ_k = τ √s_k is half-t, K + 1 components::

        p(s, τ) = Π p_t(τ √s_k) · τ^K / (2^K Π √s_k)

    Parameters
    ----------
    shares
        (..., K + 1), positive, adding to one.
    total_sd
        τ (...).
    unit
        Unit of the scale: sd(y | X).
    """
    nu, scale = HALF_T
    s = np.maximum(shares, TINY)
    K = s.shape[-1] - 1
    each = log_half_t(total_sd[..., None] * np.sqrt(s), nu, np.asarray(scale * unit)[..., None])
    jacobian = K * np.log(total_sd) - K * np.log(2.0) - 0.5 * np.log(s).sum(axis=-1)
    return np.asarray(each.sum(axis=-1) + jacobian)


ALTERNATIVES = (
    beta_prior(1, 1, "flat", "uniform between 0 and 1"),
    beta_prior(0.5, 0.5, words="Beta(0.5, 0.5): equal half-normal standard deviations"),
    beta_prior(2, 2, words="Beta(2, 2): away from both ends"),
    half_t_prior(),
    pc_prior(),
)
