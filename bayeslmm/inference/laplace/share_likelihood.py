"""log p(y | shares), with the total variance τ² and β integrated out, for shares that may be zero.

It applies to models with variances ``s_k τ²`` from `bayeslmm.priors.variances.component_variances`.
With ``V = τ² H(s)`` one factorisation of H serves every τ. The quadratic form q of its contrasts,
``A = L⁻¹X`` and ``r = w - A b`` give, for β = b + F ξ and ``AF(AF)ᵀ = U Λ Uᵀ``::

    log p(y | s, τ) = -½ [ n log 2π + log|H| + (n - p) log τ² + q/τ²
                           + Σ_j log(τ² + λ_j) + Σ_j (Uᵀr)_j²/(τ² + λ_j) ]

and the integral over log τ is a sum over a grid. So the density of a model with K kernels depends
on its K + 1 shares only, and a model without a kernel has a share of exactly zero.

Zero shares are meaningful because of the prior ``s = (e w, 1 - e)``, e ~ Beta(a, b),
w ~ Dirichlet(α). The other kernels' parts ``w_j / (1 - w_k)`` are Dirichlet(α) and, like e and τ,
independent of w_k. So the prior of the others given w_k = 0 is the prior of the model without
kernel k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import vectorize_graph
from scipy.special import betaln, gammaln

from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.distributions.variables import parameters
from bayeslmm.errors import ModelError
from bayeslmm.inference.compiled import evaluator, lean
from bayeslmm.inference.exact.quadrature import integrate_rows, likelihood_width, log_sum_exp
from bayeslmm.inference.laplace.hyper import Hyper, hyper
from bayeslmm.inference.laplace.target import Target
from bayeslmm.inference.tree import improper_priors
from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.numerics.arrays import Floats
from bayeslmm.priors.shares import LogRatio

NODES = 120  # number of nodes of log τ
ABSENT = -700.0  # log-ratio that represents a zero share


@dataclass(frozen=True, slots=True, eq=False)
class ShareLikelihood:
    """A model of K kernels as a function of its shares.

    Parameters
    ----------
    components
        Names of the kernels (K,).
    genetic
        Whether each kernel counts toward h² (K,).
    explained
        (a, b) of the Beta prior of e, the share explained by all kernels together.
    concentration
        α of the Dirichlet prior of its division among the kernels.
    log_density
        ``shares (K + 1,) → log p(y | shares)``, -inf where V is not positive definite.
    flat_effects
        Whether the prior of β is flat; then log p(y) has an arbitrary constant.
    expensive
        Whether an evaluation is worth a thread.
    """

    components: tuple[str, ...]
    genetic: tuple[bool, ...]
    explained: tuple[float, float]
    concentration: float
    log_density: Callable[[Floats], float]
    flat_effects: bool
    expensive: bool

    def log_prior(self, u: Floats) -> Floats:
        """Compute log p(u) of log-ratios u (N, k), ``u_j = log(s_j / s_last)``, of k kernels."""
        return log_prior_of_ratios(u, self.explained, self.concentration)

    def reduced(self, kept: Sequence[int]) -> Target:
        """Return log p(u, y) of the model with the kernels `kept` only, u their log-ratios."""

        def prepare(points: Floats) -> Callable[[int], float]:
            log_prior = self.log_prior(points) if len(kept) else np.zeros(len(points))
            full = self._full(points, kept)

            def at(i: int) -> float:
                if not np.isfinite(log_prior[i]) or np.any(np.abs(points[i]) > -ABSENT / 2):
                    return -np.inf
                return float(log_prior[i]) + self.log_density(full[i])

            return at

        def log_density(u: Floats) -> float:
            return prepare(u[None])(0)

        labels = tuple(f"log {self.components[k]}/residual" for k in kept)
        return Target(labels, np.zeros(len(kept)), log_density, None, prepare)

    def _full(self, u: Floats, kept: Sequence[int]) -> Floats:
        """Compute shares (N, K + 1) from the log-ratios u (N, k) of the kernels retained."""
        ratios = np.full((len(u), len(self.components) + 1), -np.inf)
        ratios[:, list(kept)] = u
        ratios[:, -1] = 0.0
        e = np.exp(ratios - ratios.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))


def log_prior_of_ratios(u: Floats, explained: tuple[float, float], alpha: float) -> Floats:
    """Compute the log density of the log-ratios u (N, k) of k kernels, Jacobian Π s included.

    ``log p(s) = log Γ(kα) - k log Γ(α) - log B(a, b) + (a - kα) log e + (b - 1) log(1 - e)
    + (α - 1) Σ log s_j``.
    """
    (a, b), count = explained, u.shape[1]
    padded = np.concatenate([u, np.zeros((len(u), 1))], axis=1)
    top = padded.max(axis=1, keepdims=True)
    log_s = padded - top - np.log(np.exp(padded - top).sum(axis=1, keepdims=True))
    highest = u.max(axis=1, keepdims=True)
    log_e = log_s[:, -1] + highest[:, 0] + np.log(np.exp(u - highest).sum(axis=1))
    constant = gammaln(count * alpha) - count * gammaln(alpha) - betaln(a, b)
    density = (a - count * alpha) * log_e + (b - 1) * log_s[:, -1]
    return np.asarray(
        constant + density + (alpha - 1) * log_s[:, :-1].sum(axis=1) + log_s.sum(axis=1)
    )


def share_likelihood(model: pm.Model) -> ShareLikelihood:
    """Extract a model's shares from its graph; raise `ModelError` if it has none.

    Compiled functions are cached with the model, as by `bayeslmm.inference.laplace.hyper.hyper`.
    """
    split = hyper(model)
    explained, alpha, genetic = _shares_of(model, split)
    marginal, count = require_marginal(model), len(genetic)
    if marginal.traits > 1 or marginal.spectrum is not None:
        raise ModelError(f"the phenotype is a {marginal.name}, not a dense_normal of one trait")
    effects = split.effects_prior(*split.data)
    names = tuple(str(name) for name in model.coords["component"])[:count]
    _check_scale(split, count)
    m = marginal.n - marginal.p
    below, above = likelihood_width(m)
    alone = log_prior_of_ratios(np.zeros((1, count)), explained, alpha)[0]

    def log_tau(t: Floats) -> Floats:
        """Compute log p(log τ) at t (1, k)."""
        points = np.zeros((t.size, count + 1))
        points[:, -1] = t.ravel()
        return np.asarray(split.parameters(points, *split.data)[0] - alone).reshape(t.shape)

    def log_density(shares: Floats) -> float:
        with np.errstate(divide="ignore"):
            u = np.maximum(np.log(shares[:-1]) - np.log(shares[-1]), ABSENT)
        _, parameters = split.parameters(np.append(u, 0.0)[None], *split.data)
        at = split.quadratic([np.asarray(x[0]) for x in parameters])
        if at is None:
            return -np.inf
        log_det = -2.0 * at.level - marginal.n * LOG_2PI - at.rss
        of_total = total_likelihood(m, log_det, at.rss, at.A, at.w, effects.mean, effects.factor)
        centre = np.array([0.5 * np.log(at.rss / m)])
        nodes, values = integrate_rows(
            lambda t: of_total(t) + log_tau(t), centre + below, centre + above, NODES
        )
        return float(log_sum_exp(values) + np.log(nodes[0, 1] - nodes[0, 0]))

    return ShareLikelihood(
        names, genetic, explained, alpha, log_density, effects.factor is None, marginal.expensive
    )


@lean
def _shares_of(
    model: pm.Model, split: Hyper
) -> tuple[tuple[float, float], float, tuple[bool, ...]]:
    """Return (a, b), α, and whether kernels are genetic; the hyperparameters must be (s, τ)."""
    names = {name.partition("[")[0] for name in split.names}
    if names != {"share", "total_sd"} or split.names[-1] != "total_sd":
        raise ModelError(
            f"the variances depend on {', '.join(sorted(names))}, not on shares of one total only"
        )
    if flat := improper_priors(model, "variance"):
        raise ModelError(f"the prior of {', '.join(flat)} is improper")
    share = model["share"]
    usual = isinstance(model.rvs_to_transforms[share], LogRatio)
    log_scale = type(model.rvs_to_transforms[model["total_sd"]]).__name__ == "LogTransform"
    if not (usual and log_scale and model.named_vars_to_dims.get("share") == ("component",)):
        raise ModelError("the shares or the total standard deviation have priors of another kind")
    (a, b), alpha = _prior_of(model)
    point = pt.dmatrix()  # rows of shares
    graph = vectorize_graph(model["h2"], {share: point})
    function = evaluator([point], graph)
    counted = np.atleast_1d(function(np.eye(len(model.coords["component"]))))[:-1]
    return (a, b), alpha, tuple(bool(x > 0.5) for x in counted)


def _prior_of(model: pm.Model) -> tuple[tuple[float, float], float]:
    """Return (a, b) and α of the shares, whose density must be `log_prior_of_ratios`."""
    share = model["share"]
    count = len(model.coords["component"]) - 1
    given: list[Any] = [getattr(x, "data", None) for x in parameters(share)]
    if len(given) == 3 and all(x is not None for x in given) and np.ptp(given[2]) == 0:
        explained = (float(given[0]), float(given[1]))
        alpha = float(given[2][0])
        u = np.random.default_rng(1).normal(size=(5, count))
        value = model.rvs_to_values[share]
        graph = vectorize_graph(
            model.logp(vars=[share], sum=False)[0], {value: (p := pt.dmatrix())}
        )
        found = evaluator([p], graph)(u)
        if np.allclose(found, log_prior_of_ratios(u, explained, alpha), rtol=1e-9, atol=1e-9):
            return explained, alpha
    raise ModelError("the prior of the shares is not Beta times symmetric Dirichlet")


def _check_scale(split: Hyper, count: int) -> None:
    """Check that the coefficients are shares times τ², and zero if the share is zero."""
    points = np.zeros((2, count + 1))
    points[1, -1] = 0.5
    _, parameters = split.parameters(points, *split.data)
    if not np.allclose(parameters[0][1], np.e * parameters[0][0], rtol=1e-10):
        raise ModelError("the variances are not shares of the total variance")


def total_likelihood(
    m: int, log_det: float, q: float, A: Floats, w: Floats, mean: Floats, factor: Floats | None
) -> Callable[[Floats], Floats]:
    """Return ``log τ (1, k) → log p(y | s, τ)``, β ~ N(mean, factor factorᵀ) integrated out.

    Parameters
    ----------
    m
        n - p, the number of error contrasts.
    log_det, q
        log|H| and the contrasts' quadratic form.
    A, w
        ``L⁻¹X`` and ``L⁻¹y`` in the columns of X, (p, p) and (p,).
    mean, factor
        Prior of β; factor None for a flat prior.
    """
    if factor is None:
        constant = m * LOG_2PI + log_det + 2.0 * float(np.linalg.slogdet(A)[1])
        lam = squares = np.zeros(0)
    else:
        constant = (m + len(w)) * LOG_2PI + log_det
        half = A @ factor
        lam, U = np.linalg.eigh(half @ half.T)
        lam, squares = np.maximum(lam, 0.0), (U.T @ (w - A @ mean)) ** 2

    def likelihood(t: Floats) -> Floats:
        variance = np.exp(2.0 * t)
        total = constant + 2.0 * m * t + q / variance
        for one, square in zip(lam, squares, strict=True):
            total = total + np.log(variance + one) + square / (variance + one)
        return np.asarray(-0.5 * total)

    return likelihood
