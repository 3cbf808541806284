"""Alternative priors of h² for sensitivity analyses: densities and distribution functions.

Each is a prior of x, the share that all kernels explain together (h² if all are genetic). They
differ most in their mass below 0.01 and above 0.9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import betainc, betaln, gammaln, stdtr, stdtrit, xlog1py, xlogy

from bayeslmm.numerics.arrays import Floats

PC_RATE = 1.62  # λ that puts half of the mass below 0.10
HALF_T = (3.0, 2.5)  # degrees of freedom, and scale in units of sd(y | X)
TINY = 1e-300


@dataclass(frozen=True, slots=True)
class SharePrior:
    """A named prior of a share x in [0, 1].

    Parameters
    ----------
    name
        Name in tables: "flat", "beta(0.5,0.5)", "half-t", ...
    description
        A phrase for the report.
    log_density
        ``(x, 1 - x) → log p(x)``; 1 - x is an argument of its own to keep its precision near x = 1.
    below
        ``x → P(share < x)``.
    by_sds
        Is it a prior of the standard deviations √(s_k) τ, hence also of the total standard
        deviation τ? Then `log_density` is the density of x induced with two components.
    """

    name: str
    description: str
    log_density: Callable[[Floats, Floats], Floats]
    below: Callable[[Floats], Floats]
    by_sds: bool = False


def beta_prior(a: float, b: float, name: str = "", description: str = "") -> SharePrior:
    """Make a Beta(a, b) prior; equal half-normal standard deviations induce a = b = 1/2."""

    def log_density(x: Floats, rest: Floats) -> Floats:
        return np.asarray(
            xlogy(a - 1, np.maximum(x, TINY)) + xlogy(b - 1, np.maximum(rest, TINY)) - betaln(a, b)
        )

    def below(x: Floats) -> Floats:
        return np.asarray(betainc(a, b, np.clip(x, 0.0, 1.0)))

    return SharePrior(
        name or f"beta({a:g},{b:g})", description or f"Beta({a:g}, {b:g})", log_density, below
    )


def pc_prior(rate: float = PC_RATE) -> SharePrior:
    """Make the penalised-complexity prior with base model x = 0.

    ``p(x) = λ e^{-λ√x} / (2 √x (1 - e^{-λ}))``

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
    """Make the prior of x induced by half-t standard deviations of one common scale.

    The scale cancels in the share. With two components ``r = σ_u/σ_e`` is a ratio of half-t
    variables, ``P(x < c) = ∫ f(σ_e) F(σ_e √(c/(1-c))) dσ_e``.
    """
    u = (np.arange(4000) + 0.5) / 4000
    nodes = stdtrit(nu, 0.5 * (1 + u))  # quantiles of |t|

    def below(x: Floats) -> Floats:
        x = np.clip(np.asarray(x, dtype=np.float64), 0.0, 1.0)
        ratio = np.sqrt(x / np.maximum(1 - x, TINY))
        return np.asarray((2 * stdtr(nu, nodes * ratio[..., None]) - 1).mean(axis=-1))

    def log_density(x: Floats, rest: Floats) -> Floats:
        """Integrate ``p(x) = ∫ t p_t(t√x) p_t(t√(1-x)) dt / (2 √(x (1-x)))`` over log t."""
        log_t = np.linspace(-14.0, 14.0, 281)
        t = np.exp(log_t)
        inner = log_half_t(t * np.sqrt(x[..., None]), nu) + log_half_t(
            t * np.sqrt(rest[..., None]), nu
        )
        total = np.exp(inner + 2 * log_t).sum(axis=-1) * (log_t[1] - log_t[0])
        jacobian = 0.5 * np.log(np.maximum(x, TINY) * np.maximum(rest, TINY)) + np.log(2.0)
        return np.asarray(np.log(total) - jacobian)

    description = f"half-t with {nu:g} degrees of freedom on every standard deviation (brms)"
    return SharePrior("half-t", description, log_density, below, by_sds=True)


def log_half_t(x: Floats, nu: float, scale: float | Floats = 1.0) -> Floats:
    """Compute the log density of a half-t variable at x ≥ 0."""
    constant = np.log(2.0) + gammaln(0.5 * (nu + 1)) - gammaln(0.5 * nu) - 0.5 * np.log(nu * np.pi)
    return np.asarray(constant - np.log(scale) - xlog1py(0.5 * (nu + 1), (x / scale) ** 2 / nu))


def log_half_t_shares(shares: Floats, total_sd: Floats, unit: float | Floats = 1.0) -> Floats:
    """Compute the log density of (s_1, ..., s_K, τ) if all K + 1 σ_k = τ √s_k are half-t::

        p(s, τ) = Π p_t(τ √s_k) · τ^K / (2^K Π √s_k)

    Parameters
    ----------
    shares
        (..., K + 1), positive, with sum one.
    total_sd
        τ (...).
    unit
        Unit of the half-t scale: sd(y | X).
    """
    nu, scale = HALF_T
    s = np.maximum(shares, TINY)
    K = s.shape[-1] - 1
    each = log_half_t(total_sd[..., None] * np.sqrt(s), nu, np.asarray(scale * unit)[..., None])
    jacobian = K * np.log(total_sd) - K * np.log(2.0) - 0.5 * np.log(s).sum(axis=-1)
    return np.asarray(each.sum(axis=-1) + jacobian)


ALTERNATIVES = (
    beta_prior(1, 1, "flat", "uniform between 0 and 1"),
    beta_prior(0.5, 0.5, description="Beta(0.5, 0.5): equal half-normal standard deviations"),
    beta_prior(2, 2, description="Beta(2, 2): away from both ends"),
    half_t_prior(),
    pc_prior(),
)
