"""The density of the (co)variances without a block of records, from the matrices of all.

With u the parameters and F the block::

    log p(u, y_-F) = log p(u, y) - log p(y_F | y_-F, u)

which is exact, and needs no matrix but those of the full data. The priors are those of the full
data: their units, which are taken from y, stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayeslmm.comparison.loo.blocks import Blocks, Conditionals
from bayeslmm.comparison.loo.dense import Dense
from bayeslmm.comparison.loo.model import Fitted
from bayeslmm.comparison.loo.spectral import Spectral
from bayeslmm.errors import InputError
from bayeslmm.inference.graph import EffectsPrior
from bayeslmm.inference.laplace.hyper import Hyper
from bayeslmm.inference.laplace.laplace import target_of
from bayeslmm.inference.laplace.target import Target
from bayeslmm.numerics.arrays import Codes, Floats

type Kept = dict[bytes, Conditionals]


def target_without(
    fitted: Fitted, split: Hyper, effects: EffectsPrior, block: Blocks, kept: Kept
) -> Target:
    """log p(u, y_-F), β integrated out; `kept` gets y_F given y_-F at every point."""
    likelihood = fitted.likelihood
    if isinstance(likelihood, Spectral):
        prepare = _prepare_spectral(likelihood, split, effects, block, kept)
    else:
        prepare = _prepare_dense(likelihood, split, effects, block, kept)

    def log_density(u: Floats) -> float:
        return prepare(u[None])(0)

    return Target(split.names, split.start, log_density, prepare=prepare)


def _prepare_spectral(
    likelihood: Spectral, split: Hyper, effects: EffectsPrior, block: Blocks, kept: Kept
) -> Callable[[Floats], Callable[[int], float]]:
    whole = target_of(split, effects)

    def take(points: Floats, values: Floats, chosen: Codes) -> None:
        if len(chosen) == 0:
            return
        inputs = split.parameters(points[chosen], *split.data)[1]
        found = likelihood.conditionals(inputs, effects.mean, effects.factor, block)
        values[chosen] -= found.log_density[:, 0]
        for k, i in enumerate(chosen):
            kept[points[i].tobytes()] = found.rows(np.array([k]))

    def prepare(points: Floats) -> Callable[[int], float]:
        at = whole.prepare(points) if whole.prepare is not None else None
        assert at is not None
        values = np.array([at(i) for i in range(len(points))])
        chosen = np.flatnonzero(np.isfinite(values))
        try:
            take(points, values, chosen)
        except (InputError, np.linalg.LinAlgError):  # one of them at an edge
            for i in chosen:
                try:
                    take(points, values, chosen[chosen == i])
                except (InputError, np.linalg.LinAlgError):
                    values[i] = -np.inf
        return lambda i: float(values[i])

    return prepare


def _prepare_dense(
    likelihood: Dense, split: Hyper, effects: EffectsPrior, block: Blocks, kept: Kept
) -> Callable[[Floats], Callable[[int], float]]:
    def prepare(points: Floats) -> Callable[[int], float]:
        log_prior, parameters = split.parameters(points, *split.data)

        def at(i: int) -> float:
            if not np.isfinite(log_prior[i]):
                return -np.inf
            try:
                found = likelihood.without(parameters[0][i], effects.mean, effects.factor, block)
            except (InputError, np.linalg.LinAlgError):
                return -np.inf
            if found is None:
                return -np.inf
            kept[points[i].tobytes()] = found[1]
            return float(log_prior[i]) + found[0]

        return at

    return prepare
