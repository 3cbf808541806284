"""Draw all random effects of a fit, given y and draws of the other parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import vectorize_graph

from bayeslmm.distributions.phenotype import observed_phenotype, parameters_of, require_marginal
from bayeslmm.inference.compiled import evaluator
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.marginal import BLOCK, Effects
from bayeslmm.numerics.arrays import Codes, Floats


def random_effects(
    model: pm.Model, variables: Variables, rng: np.random.Generator, block: int = BLOCK
) -> Iterator[tuple[Codes, Effects]]:
    """Draw the random effects of a marginal model, by blocks of posterior draws.

    Parameters
    ----------
    model
        A model with its random effects integrated out.
    variables
        Posterior draws (chain, draw, ...) of the free variables and of β.
    rng
        Source of randomness.
    block
        Number of draws per block.

    Yields
    ------
    array, dict
        Positions of the draws (of chain × draw, flat), and by component the effects (draws of the
        block, levels): for a `dense_normal` the effects of every `Term` column; otherwise the
        genetic values g of the individuals, with several traits as "additive:TRAIT".
    """
    marginal = require_marginal(model)
    beta, c = flat(variables, "beta"), covariance_draws(model, variables)
    return marginal.random_effects(observed_phenotype(model), beta, c, rng, block)


def covariance_draws(model: pm.Model, variables: Variables) -> list[Floats]:
    """Return the parameters of the phenotype's density except β at draws (chains × draws, ...)."""
    wanted = parameters_of(model)
    function = getattr(model, "bayeslmm_covariance", None)
    if function is None:
        points = [pt.tensor(dtype=v.dtype, shape=(None, *v.type.shape)) for v in model.free_RVs]
        given = dict(zip(model.free_RVs, points, strict=True))
        graphs = vectorize_graph(wanted, given)
        function = evaluator(points, graphs)
        model.bayeslmm_covariance = function
    points = [flat(variables, rv.name, keep=True) for rv in model.free_RVs]
    count = len(points[0])
    return [
        np.broadcast_to(x, (count, *x.shape)) if x.ndim == w.ndim else np.asarray(x)
        for x, w in zip(function(*points), wanted, strict=True)
    ]


def flat(variables: Variables, name: str, *, keep: bool = False) -> Floats:
    """Reshape draws (chain, draw, ...) to (draws, size), or with `keep` to (draws, ...)."""
    array: Any = np.asarray(variables[name][1])
    draws = array.shape[0] * array.shape[1]
    return np.asarray(array.reshape(draws, *(array.shape[2:] if keep else (-1,))))
