"""Evidence of nested models, which have only some kernels of a full model.

    Z_R = ∫ p(y | θ_R) p_R(θ_R) dθ_R,    R: the kernels retained, the others' variances exactly 0

p_R is the prior of the model with the kernels R only:

- of shares of one total: e ~ Beta(a, b) for the share that the kernels R explain, Dirichlet(α) for
  its division. It equals the full model's prior conditional on zero shares of the other kernels
  (`bayeslmm.inference.laplace.share_likelihood`), so Z_R / Z is both the Bayes factor of a point
  null hypothesis and the Savage-Dickey ratio;
- of variances with priors of their own: the same priors
  (`bayeslmm.inference.laplace.separate_variances`).

An integral over one coordinate is computed by the trapezoid rule, over more by importance sampling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pymc as pm
from scipy.optimize import minimize_scalar

from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.laplace.importance import KHAT, importance_sample
from bayeslmm.inference.laplace.separate_variances import SeparateVariances, separate_variances
from bayeslmm.inference.laplace.share_likelihood import ShareLikelihood, share_likelihood
from bayeslmm.inference.laplace.target import Target
from bayeslmm.numerics.threads import one_thread

DEPTH = 18.0  # nats below the maximum at which the integration ends (e^-18 = 1.5e-8)
STEP = 0.6  # step of the trapezoid rule, in standard deviations at the maximum
FARTHEST = 34.0  # largest distance from the start at which the density is evaluated


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


class Parts(Protocol):
    """A model as a sum of kernels."""

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the kernels."""

    def reduced(self, kept: Sequence[int]) -> Target:
        """Return log p(u, y) of the model with the kernels `kept` only."""


def parts_of(model: pm.Model) -> ShareLikelihood | SeparateVariances:
    """Take a model apart; raise `ModelError` if no kernel can be left out on its own."""
    try:
        return share_likelihood(model)
    except ModelError as no_shares:
        try:
            return separate_variances(model)
        except ModelError as no_variances:
            raise ModelError(f"{no_shares}; {no_variances}") from None


@one_thread()
def nested_evidence(
    parts: Parts,
    without: Collection[str],
    *,
    ess: float = 400,
    seed: int = 1,
    workers: int = 1,
) -> Nested:
    """Compute the evidence of the model without the kernels `without`.

    Parameters
    ----------
    parts
        The full model (`parts_of`).
    without
        Names of the kernels excluded; empty for the full model itself.
    ess, seed, workers
        For the importance sampling over two or more coordinates.

    Raises
    ------
    InputError
        If there is no such kernel.
    ModelError
        If importance sampling fails (k̂ too large).
    """
    kept = _kept(parts, without)
    names = tuple(parts.components[k] for k in kept)
    target = parts.reduced(kept)
    if not target.names:
        return Nested(names, target.log_density(np.zeros(0)), 0.0, 1)
    if len(target.names) == 1:
        return Nested(names, *_integrate_line(target))
    found = importance_sample(target, ess=ess, seed=seed, workers=workers)
    if not found.ok:
        raise ModelError(
            f"importance sampling of the model with {', '.join(names) or 'no kernel'} failed "
            f"(k̂ = {found.pareto_k:.2f}, it must be below {KHAT})"
        )
    return Nested(names, found.log_evidence, found.mcse, found.evaluations)


def coordinates_without(parts: Parts, without: Collection[str]) -> int:
    """Return the number of coordinates over which `nested_evidence` integrates."""
    return len(parts.reduced(_kept(parts, without)).names)


def _kept(parts: Parts, without: Collection[str]) -> list[int]:
    """Return the positions of the kernels retained."""
    if unknown := [name for name in without if name not in parts.components]:
        raise InputError(
            f"no component {', '.join(unknown)}",
            f"one of {', '.join(parts.components)}",
            "choose one of these",
        )
    return [k for k, name in enumerate(parts.components) if name not in set(without)]


def _integrate_line(target: Target) -> tuple[float, float, int]:
    """Compute log ∫ p(u, y) du over one coordinate: value, error, evaluations.

    The trapezoid rule on the real line, from the maximum to both sides until the density has
    fallen by `DEPTH`, converges exponentially. The error is bounded by the difference from the
    rule with twice the step.
    """
    origin = float(target.start[0])
    known: dict[float, float] = {}

    def density(u: float) -> float:
        if u not in known:
            known[u] = target.log_density(np.array([origin + u]))
        return known[u]

    coarse = [-12.0, -8.0, -5.0, -2.5, 0.0, 2.5, 5.0]
    while (best := int(np.argmax([density(u) for u in coarse]))) == len(coarse) - 1:
        if coarse[-1] > FARTHEST:
            break
        coarse.append(coarse[-1] + 4.0)
    low, high = coarse[max(best - 1, 0)], coarse[min(best + 1, len(coarse) - 1)]
    found = minimize_scalar(
        lambda u: -density(float(u)), bounds=(low, high), method="bounded", options={"xatol": 0.02}
    )
    top = float(found.x)
    h = 0.05
    bend = -(density(top + h) - 2.0 * density(top) + density(top - h)) / h**2
    step = STEP * float(np.clip(1.0 / np.sqrt(max(bend, 1e-6)), 1e-4, 2.0))
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
