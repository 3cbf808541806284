"""Priors of h² and of the total standard deviation τ as SciPy distributions, without PyMC.

τ is integrated out once for all data sets of one size. With
``rss = Σ e_i²/d_i`` and e in units of sd(y | X)::

    ∫ τ⁻ᵐ exp(-rss/2τ²) p(τ) dτ  ∝  rss^(-m/2) E[f(½ log(rss/2γ))],   γ ~ Gamma(m/2, 1)

where f is the prior density of log τ. The expectation is a function of ½ log(rss/m), and it is all
that the prior of τ adds to the profile likelihood. With p(τ) ∝ 1/τ it is constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import stats
from scipy.interpolate import CubicSpline
from scipy.special import logsumexp

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.prior import Prior, require_support

DEFAULTS = {"h2": "beta(1, 1)", "total_sd": "half_t(3, 2.5)"}
SUPPORTS = {"h2": "unit", "total_sd": "positive"}
DEPTH = 800.0  # nats by which prior of τ and data may disagree
REACH = 30.0  # largest |½ log(rss/m)| in the table; beyond it the prior's tail is a straight line

_FROZEN: dict[str, Callable[..., Any]] = {
    "beta": lambda a, b: stats.beta(a, b),
    "uniform": lambda a, b: stats.uniform(a, b - a),
    "half_t": lambda nu, s: _HalfT(nu, s),
    "half_normal": lambda s: stats.halfnorm(scale=s),
    "half_cauchy": lambda s: stats.halfcauchy(scale=s),
    "exponential": lambda s: stats.expon(scale=s),
    "gamma": lambda a, r: stats.gamma(a, scale=1 / r),
    "inverse_gamma": lambda a, s: stats.invgamma(a, scale=s),
    "lognormal": lambda m, s: stats.lognorm(s, scale=np.exp(m)),
}


class _HalfT:
    """Half-t distribution: Student's t with `nu` degrees of freedom, folded at 0."""

    def __init__(self, nu: float, scale: float) -> None:
        self._t = stats.t(nu, scale=scale)

    def logpdf(self, x: Floats) -> Floats:
        """Return log p(x) for x > 0."""
        return np.asarray(np.log(2.0) + self._t.logpdf(x))


def parse_priors(priors: Mapping[str, str | Prior] | None = None) -> dict[str, Prior]:
    """Parse the priors of ``h2`` and ``total_sd``, with the defaults where none is given.

    Raises
    ------
    InputError
        If another name is given, or a family does not fit the quantity.
    """
    given = dict(priors or {})
    if unknown := [name for name in given if name not in DEFAULTS]:
        raise InputError(
            f"a prior of {unknown[0]!r}", "h2 or total_sd", "leave it out: coverage of h² does not "
            "depend on other parameters",
        )  # fmt: skip
    return {
        name: require_support(name, Prior.parse(given.get(name, usual)), SUPPORTS[name])
        for name, usual in DEFAULTS.items()
    }


def distribution(prior: Prior) -> Any:
    """Return a prior as a SciPy distribution: of a share, or of τ in units of sd(y | X)."""
    return _FROZEN[prior.family](*prior.parameters)


def log_scale_integral(prior: Prior, m: int) -> Callable[[Floats], Floats]:
    """Tabulate ``x = ½ log(rss/m) → log E[f(x + ½ log(m/2γ))]``, γ ~ Gamma(m/2, 1).

    Parameters
    ----------
    prior
        Prior of τ, in units of sd(y | X).
    m
        Number of error contrasts.
    """
    u = _nodes(m)  # log τ - ½ log(rss/m)
    log_weight = -m * (u + 0.5 * np.expm1(-2.0 * u))  # the likelihood of τ
    log_weight -= np.log(np.exp(log_weight).sum())
    log_density = distribution(prior).logpdf
    x = np.linspace(-REACH, REACH, 2401)
    value = np.empty_like(x)
    for part in np.array_split(np.arange(x.size), 24):
        t = x[part, None] + u
        with np.errstate(divide="ignore", over="ignore"):
            value[part] = logsumexp(log_density(np.exp(t)) + t + log_weight, axis=1)
    value = np.maximum(value, -1e5)  # outside a bounded support
    table = CubicSpline(x, value)

    def integral(where: Floats) -> Floats:
        return np.asarray(table(np.clip(where, -REACH, REACH)))

    return integral


def _nodes(m: int) -> Floats:
    """Return even nodes of log τ - ½ log(rss/m) whose log likelihood is within `DEPTH` of its top.

    The step is an eighth of the standard deviation of log τ.
    """
    step = 0.125 / np.sqrt(2.0 * m)
    below = 0.5 * np.log1p(2.0 * DEPTH / m) + 1.0
    above = min(DEPTH / m, 30.0) + 1.0
    u = np.arange(-np.ceil(below / step), np.ceil(above / step) + 1) * step
    return np.asarray(u[m * (u + 0.5 * np.expm1(-2.0 * u)) < DEPTH])
