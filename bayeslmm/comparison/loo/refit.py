"""The posterior without a block of records, for blocks with unreliable importance weights.

First, the importance sampler of the Laplace engine samples the density without the block
(`bayeslmm.comparison.loo.without_block`). It costs about as many density evaluations as moment
matching (Paananen et al. 2021), but fits a proposal to the target instead of transforming draws. If
its k̂ is also too large, the model is refitted to the other records
(`bayeslmm.comparison.loo.other_records`).

Then ``log p(y_F | y_-F)`` is either the difference of the log evidences with and without the block,
if both are known, or a bridge estimate from the two sets of draws: the one with the smaller
standard error.

References
----------
Meng & Wong (1996) Statistica Sinica 6:831; Paananen, Piironen, Bürkner & Vehtari (2021) Stat
Comput 31:16.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bayeslmm.comparison.loo.model import Fitted
from bayeslmm.comparison.loo.other_records import refit_by_nuts, refit_exactly
from bayeslmm.comparison.loo.weights import Scores, bridge, scores
from bayeslmm.comparison.loo.without_block import Kept, target_without
from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.inference.laplace.importance import importance_sample
from bayeslmm.likelihood.blocks import Blocks, Conditionals, join
from bayeslmm.numerics.arrays import Codes, Floats

type Method = Literal["importance", "refit"]

ESS = 2000.0  # importance ESS with one kernel, where evaluations are cheap
ESS_DENSE = 1000.0
APART = 0.3  # largest standard error of log p(y_F | y_-F) of a usable bridge estimate


@dataclass(frozen=True, slots=True, eq=False)
class Rescored:
    """Scores of a block from its own posterior.

    Parameters
    ----------
    scores
        Scores of this block.
    method
        "importance" or "refit".
    """

    scores: Scores
    method: Method


def rescore(
    fitted: Fitted, members: Codes, within: Floats, seed: np.random.SeedSequence
) -> Rescored | None:
    """Recompute the scores of a block from its own posterior; None if β is not integrated out.

    Parameters
    ----------
    fitted
        Model and draws.
    members
        Records of the block.
    within
        log p(y_F | y_-F, θ) at the draws of the full posterior (S,).
    seed
        Source of randomness.
    """
    if fitted.effects is None:
        return None
    block = Blocks((members,))
    streams = seed.spawn(2)
    try:
        split = hyper(fitted.model)
    except ModelError:
        return None
    marginal = fitted.marginal
    workers = fitted.workers if marginal.expensive else 1
    kept: Kept = {}
    target = target_without(fitted, split, fitted.effects, block, kept, workers)
    ess = ESS if marginal.complete else ESS_DENSE
    found = importance_sample(target, ess=ess, seed=streams[0], workers=1)
    if found.ok:
        alive = found.weights > 0
        at = join([kept[u.tobytes()] for u in found.points[alive]])
        weights = found.weights[alive] / found.weights[alive].sum()
        evidence = (found.log_evidence, found.mcse)
        one = _scores(fitted, block, within, at, weights, found.pareto_k, evidence)
        return Rescored(one, "importance")
    refit = refit_exactly(fitted, members, streams[1])
    if refit is None:
        refit = refit_by_nuts(fitted, split, target, members, found.mode, streams[1])
    at = fitted.conditionals(block, refit.inputs)
    equal = np.full(len(at.mean), 1.0 / len(at.mean))
    one = _scores(fitted, block, within, at, equal, 0.0, refit.evidence, refit.efficiency)
    return Rescored(one, "refit")


def _scores(
    fitted: Fitted,
    block: Blocks,
    within: Floats,
    at: Conditionals,
    weights: Floats,
    k: float,
    evidence: tuple[float, float] | None,
    efficiency: float = 1.0,
) -> Scores:
    """Compute the scores of a block from weighted draws of the posterior without it.

    `efficiency` is ESS over number of draws. k̂ is inf if neither the evidences nor the bridge
    determine ``log p(y_F | y_-F)``.
    """
    elpd, mcse = bridge(within, at.log_density[:, 0], weights)
    mcse /= np.sqrt(min(efficiency, fitted.efficiency))
    if evidence is not None and fitted.evidence is not None:
        error = float(np.hypot(fitted.evidence[1], evidence[1]))
        if error < mcse:
            elpd, mcse = fitted.evidence[0] - evidence[0], error
    if not mcse <= APART:  # the two posteriors do not overlap: the bridge is invalid
        k = np.inf
    one = scores(at, weights[:, None], np.array([k]), block, fitted.y)
    return replace(one, elpd=np.array([elpd]), mcse=np.array([mcse]))
