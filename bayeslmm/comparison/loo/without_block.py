"""The density of the (co)variances given all records but a block, from the full data's matrices.

With u the parameters and F the block::

    log p(u, y_-F) = log p(u, y) - log p(y_F | y_-F, u)

which is exact and needs the matrices of the full data only. The priors keep the units of the full
data.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayeslmm.comparison.loo.model import Fitted
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.inference.laplace.hyper import Hyper
from bayeslmm.inference.laplace.target import Target
from bayeslmm.likelihood.blocks import Blocks, Conditionals
from bayeslmm.numerics.arrays import Floats

type Kept = dict[bytes, Conditionals]


def target_without(
    fitted: Fitted, split: Hyper, effects: EffectsPrior, block: Blocks, kept: Kept, workers: int = 1
) -> Target:
    """Return the target log p(u, y_-F), β integrated out; store y_F given y_-F in `kept`."""
    marginal, y = fitted.marginal, fitted.y

    def prepare(points: Floats) -> Callable[[int], float]:
        log_prior, parameters = split.parameters(points, *split.data)
        values = np.where(np.isfinite(log_prior), log_prior, -np.inf)
        chosen = np.flatnonzero(np.isfinite(log_prior))
        c = [x[chosen] for x in parameters]
        level, found = marginal.without(y, c, effects.mean, effects.factor, block, workers)
        values[chosen] += level
        for i, at in zip(chosen, found, strict=True):
            if at is not None:
                kept[points[i].tobytes()] = at
        return lambda i: float(values[i])

    def log_density(u: Floats) -> float:
        return prepare(u[None])(0)

    return Target(split.names, split.start, log_density, prepare=prepare)
