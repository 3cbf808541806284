"""Evidence of the models in which some kernels of a model are left out.

    Z_R = ∫ p(y | s) p_R(s) ds,    R: the kernels that stay, the shares of the others exactly 0

p_R is the prior of the model that has the kernels R only: e ~ Beta(a, b) for the share that they
explain together, their parts Dirichlet(α). It is also what the prior of the full model says of the
rest where the parts of the others are zero (`bayeslmm.inference.laplace.share_likelihood`), so that
Z_R / Z is the Bayes factor of a point null hypothesis and the Savage-Dickey ratio at once. Without
any kernel Z is one integral over τ, with one kernel a sum over a line, with more importance
sampling.
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

DEPTH = 18.0  # nats below the maximum that still count (e^-18 = 1.5e-8)
STEP = 0.6  # of the line, in units of the width at the maximum
FARTHEST = 34.0  # |log-ratio| of one kernel beyond which nothing is looked for


@dataclass(frozen=True, slots=True)
class Nested:
    """The evidence of a model without some of its kernels.

    Parameters
    ----------
    kept
        The kernels that it has.
    log_evidence
        log p(y); with a flat prior on β up to the constant of the full model's.
    mcse
        Its Monte Carlo standard error; 0 for a quadrature.
    evaluations
        Factorisations that it took.
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
    """The evidence of the model without the kernels `without`.

    Parameters
    ----------
    shares
        The model (`bayeslmm.inference.laplace.share_likelihood.share_likelihood`).
    without
        Names of the kernels left out; none: the model itself.
    ess, seed, workers
        Of the importance sampling where two or more kernels stay.

    Raises
    ------
    InputError
        If there is no such kernel.
    ModelError
        If importance sampling fails (k̂ too large).
    """
    if strange := [name for name in without if name not in shares.components]:
        raise InputError(
            f"no component {', '.join(strange)}",
            f"one of {', '.join(shares.components)}",
            "choose one of these",
        )
    kept = [k for k, name in enumerate(shares.components) if name not in set(without)]
    names = tuple(shares.components[k] for k in kept)
    if not kept:
        return Nested(names, shares.log_density(_full(shares, np.zeros((1, 0)), kept)[0]), 0.0, 1)
    if len(kept) == 1:
        return Nested(names, *_on_a_line(shares, kept))
    target = _target(shares, names, kept)
    found = importance_sample(target, ess=ess, seed=seed, workers=workers)
    if not found.ok:
        raise ModelError(
            f"importance sampling of the model with {', '.join(names)} failed "
            f"(k̂ = {found.pareto_k:.2f}, it has to be below {KHAT})"
        )
    return Nested(names, found.log_evidence, found.mcse, found.evaluations)


def _full(shares: ShareLikelihood, u: Floats, kept: list[int]) -> Floats:
    """Shares (N, K + 1) of log-ratios u (N, k) of the kernels that stay."""
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


def _on_a_line(shares: ShareLikelihood, kept: list[int]) -> tuple[float, float, int]:
    """log ∫ p(y | u) p(u) du of one log-ratio: value, error, evaluations.

    The trapezoid rule on the whole line, from the maximum out on both sides until the density has
    fallen by `DEPTH`; it converges exponentially. The error is the distance from the rule with
    twice the step.
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
    # the error falls at least as e^(-c/step): half the step squares it
    return fine, min(abs(fine - rough), (fine - rough) ** 2), len(known)
