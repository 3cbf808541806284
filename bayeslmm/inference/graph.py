"""Separate fixed effects with a normal prior from a model, for the exact and Laplace engines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import ancestors

from bayeslmm.distributions.variables import kind, parameters
from bayeslmm.errors import ModelError
from bayeslmm.inference.compiled import compile_function, shape_of
from bayeslmm.numerics.arrays import Floats


@dataclass(frozen=True, slots=True, eq=False)
class EffectsPrior:
    """Prior of β = origin + A γ: N(mean, factor factorᵀ), or flat when `factor` is None."""

    mean: Floats
    factor: Floats | None
    origin: Floats
    A: Floats


def split_parts(model: pm.Model, behind: set[Any]) -> tuple[list[Any], list[Any]]:
    """Split free variables into parameters of the (co)variances (`behind`) and of β.

    Raises
    ------
    ModelError
        If a variable affects both or neither, or if β cannot be integrated out because its prior
        is not normal (or flat) or depends on other parameters.
    """
    free = set(model.free_RVs)
    chosen = [rv for rv in model.free_RVs if rv in behind]
    effects = [rv for rv in model.free_RVs if rv in set(ancestors([model["beta"]])) & free]
    if shared := {rv.name for rv in chosen} & {rv.name for rv in effects}:
        raise ModelError(f"{', '.join(sorted(shared))} drive both β and the variances")
    if model.potentials:
        names = ", ".join(potential.name for potential in model.potentials)
        raise ModelError(f"the potential {names} belongs to neither part")
    if others := free - set(chosen) - set(effects):
        raise ModelError(f"{', '.join(sorted(rv.name for rv in others))} belong to neither part")
    for rv in effects:
        if kind(rv) not in ("NormalRV", "MvNormalRV", "FlatRV"):
            raise ModelError(f"the prior of {rv.name} is not normal, so β cannot be integrated out")
        if set(ancestors([rv])) & (free - {rv}):
            raise ModelError(f"the prior of {rv.name} depends on other parameters")
    flats = [kind(rv) == "FlatRV" for rv in effects]
    if any(flats) and not all(flats):
        raise ModelError("β mixes flat and normal priors")
    return chosen, effects


def unit_data(model: pm.Model) -> dict[str, Any]:
    """Return the current values of the data that hold the units of the priors."""
    return {
        name: model[name].get_value()
        for name in sorted(model.named_vars)
        if name in ("phenotype_unit", "phenotype_centre")
    }


def effects_prior_function(
    model: pm.Model, effects: list[Any], inputs: list[Any]
) -> Callable[..., EffectsPrior]:
    """Compile mean and factor of β = b₀ + A γ, γ normal, from the graph of β and its Jacobian."""
    values = [model.rvs_to_values[rv] for rv in effects]
    (beta,) = model.replace_rvs_by_values([model["beta"]])
    shapes = [shape_of(rv) for rv in effects]
    k = [int(np.prod(shape)) for shape in shapes]
    flat = pt.dmatrix()  # many points at once
    parts = [
        flat[:, sum(k[:i]) : sum(k[: i + 1])].reshape((flat.shape[0], *shape))
        for i, shape in enumerate(shapes)
    ]
    beta = vectorize_graph(beta, dict(zip(values, parts, strict=True)))
    evaluate = compile_function([flat], inputs, [beta])
    improper = any(kind(rv) == "FlatRV" for rv in effects)
    moments = []
    for rv in effects:
        if not improper:
            mean, spread = parameters(rv)
            if kind(rv) == "NormalRV":
                moments += [pt.broadcast_to(mean, rv.shape), pt.broadcast_to(spread, rv.shape)]
            else:
                moments += [mean, pt.linalg.cholesky(spread)]
    evaluate_moments = compile_function([], inputs, moments)

    def effects_prior(*arguments: Any) -> EffectsPrior:
        size = sum(k)
        points = np.vstack([np.zeros(size), np.eye(size), np.full(size, -1.7)])
        (found,) = evaluate(points, *arguments)
        origin, probe = found[0], found[-1]
        A = (found[1:-1] - origin).T
        scale = 1e-8 * (np.abs(origin) + np.abs(A).sum(axis=1) + 1.0)
        if np.any(np.abs(probe - origin + 1.7 * A.sum(axis=1)) > scale):
            raise ModelError("β is not an affine function of its normal parameters")
        if size != origin.size or not np.all(np.isfinite(A)) or np.linalg.matrix_rank(A) < size:
            raise ModelError("β is not an invertible function of its normal parameters")
        if improper:
            return EffectsPrior(origin, None, origin, A)
        prior = evaluate_moments(*arguments)
        mean = np.concatenate([np.ravel(prior[2 * i]) for i in range(len(effects))])
        blocks = [prior[2 * i + 1] for i in range(len(effects))]
        factor = np.zeros((size, size))
        start = 0
        for block in blocks:
            stop = start + (block.shape[0] if block.ndim else 1)
            factor[start:stop, start:stop] = (
                block if block.ndim == 2 else np.diag(np.atleast_1d(block))
            )
            start = stop
        return EffectsPrior(origin + A @ mean, A @ factor, origin, A)

    return effects_prior
