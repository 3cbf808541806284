"""Evidence of nested models, which have only some kernels of a full model.

    Z_R = ∫ p(y | s) p_R(s) ds,    R: the kernels retained, the shares of the others exactly 0

p_R is the prior of the model with the kernels R only: e ~ Beta(a, b) for the share that they
explain, Dirichlet(α) for its division. It equals the full model's prior conditional on zero shares
of the other kernels (`bayeslmm.inference.laplace.share_likelihood`). So Z_R / Z is both the Bayes
factor of a point null hypothesis and the Savage-Dickey ratio. Without any kernel Z is an integral
over τ; with one kernel it is computed by the trapezoid rule, with more by importance sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.laplace.importance import KHAT, importance_sample
from bayeslmm.inference.laplace.share_likelihood import ABSENT, ShareLikelihood
from bayeslmm.inference.laplace.target import Target
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread

DEPTH = 18.0  # nats below the maximum at which the integration ends (e^-18 = 1.5e-8)
STEP = 0.6  # step of the trapezoid rule, in standard deviations at the maximum
FARTHEST = 34.0  # largest |log-ratio| of one kernel at which the density is evaluated


@dataclass(frozen=True, slots=True)
class Nested:
    """Evidence of a model without some of its kernels.

    Parameters
    ----------
    kept
        Names of the kernels retained.
    log_evidence
        log p(y); with a flat prior on β up to the same constant as in the full model.
    mcse
        Its Monte Carlo standard error; 0 for quadrature.
    evaluations
        Number of factorisations.
    """

    kept: tuple[str, ...]
    log_evidence: float
    mcse: float
    evaluations: int


@one_thread()
def nested_evidence(
    shares: ShareLikelihood,
    without: Collection[str],
    *,
    ess: float = 400,
    seed: int = 1,
    workers: int = 1,
) -> Nested:
    """Compute the evidence of the model without the kernels `without`.

    Parameters
    ----------
    shares
        The full model (`bayeslmm.inference.laplace.share_likelihood.share_likelihood`).
    without
        Names of the kernels excluded; empty for the full model itself.
    ess, seed, workers
        For the importance sampling with two or more kernels.

    Raises
    ------
    InputError
        If there is no such kernel.
    ModelError
        If importance sampling fails (k̂ too large).
    """
    if unknown := [name for name in without if name not in shares.components]:
        raise InputError(
            f"no component {', '.join(unknown)}",
            f"one of {', '.join(shares.components)}",
            "choose one of these",
        )
    kept = [k for k, name in enumerate(shares.components) if name not in set(without)]
    names = tuple(shares.components[k] for k in kept)
    if not kept:
        return Nested(names, shares.log_density(_full(shares, np.zeros((1, 0)), kept)[0]), 0.0, 1)
    if len(kept) == 1:
        return Nested(names, *_integrate_one_kernel(shares, kept))
    target = _target(shares, names, kept)
    found = importance_sample(target, ess=ess, seed=seed, workers=workers)
    if not found.ok:
        raise ModelError(
            f"importance sampling of the model with {', '.join(names)} failed "
            f"(k̂ = {found.pareto_k:.2f}, it must be below {KHAT})"
        )
    return Nested(names, found.log_evidence, found.mcse, found.evaluations)


def _full(shares: ShareLikelihood, u: Floats, kept: list[int]) -> Floats:
    """Compute shares (N, K + 1) from the log-ratios u (N, k) of the kernels retained."""
    ratios = np.full((len(u), len(shares.components) + 1), -np.inf)
    ratios[:, kept] = u
    ratios[:, -1] = 0.0
    e = np.exp(ratios - ratios.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _target(shares: ShareLikelihood, names: tuple[str, ...], kept: list[int]) -> Target:
    def prepare(points: Floats) -> Callable[[int], float]:
        log_prior, full = shares.log_prior(points), _full(shares, points, kept)

        def at(i: int) -> float:
            if not np.isfinite(log_prior[i]) or np.abs(points[i]).max() > -ABSENT / 2:
                return -np.inf
            return float(log_prior[i]) + shares.log_density(full[i])

        return at

    def log_density(u: Floats) -> float:
        return prepare(u[None])(0)

    labels = tuple(f"log {name}/residual" for name in names)
    return Target(labels, np.zeros(len(kept)), log_density, None, prepare)


def _integrate_one_kernel(shares: ShareLikelihood, kept: list[int]) -> tuple[float, float, int]:
    """Compute log ∫ p(y | u) p(u) du over one log-ratio u: value, error, evaluations.

    The trapezoid rule on the real line, from the maximum to both sides until the density has
    fallen by `DEPTH`, converges exponentially. The error is bounded by the difference from the
    rule with twice the step.
    """
    known: dict[float, float] = {}

    def density(u: float) -> float:
        if u not in known:
            point = np.array([[u]])
            known[u] = float(shares.log_prior(point)[0]) + shares.log_density(
                _full(shares, point, kept)[0]
            )
        return known[u]

    coarse = np.array([-12.0, -8.0, -5.0, -2.5, 0.0, 2.5, 5.0])
    values = [density(float(u)) for u in coarse]
    best = int(np.argmax(values))
    low, high = coarse[max(best - 1, 0)], coarse[min(best + 1, coarse.size - 1)]
    found = minimize_scalar(
        lambda u: -density(float(u)), bounds=(low, high), method="bounded", options={"xatol": 0.02}
    )
    top = float(found.x)
    h = 0.05
    bend = -(density(top + h) - 2.0 * density(top) + density(top - h)) / h**2
    step = STEP * float(np.clip(1.0 / np.sqrt(max(bend, 1e-6)), 0.02, 2.0))
    nodes = {0: density(top)}
    for side in (-1, 1):
        k, highest = 0, max(nodes.values())
        while nodes[side * k if k else 0] > highest - DEPTH and abs(k * step + abs(top)) < FARTHEST:
            k += 1
            nodes[side * k] = density(top + side * k * step)
            highest = max(highest, nodes[side * k])
    logs = np.array([nodes[k] for k in sorted(nodes)])
    even = np.array([nodes[k] for k in sorted(nodes) if k % 2 == 0])
    peak = logs.max()
    fine = float(np.log(np.exp(logs - peak).sum() * step) + peak)
    rough = float(np.log(np.exp(even - peak).sum() * 2 * step) + peak)
    # the error falls at least as fast as e^(-c/step): half the step squares it
    return fine, min(abs(fine - rough), (fine - rough) ** 2), len(known)
