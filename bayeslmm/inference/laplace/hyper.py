"""Split a PyMC model for the Laplace engine into few hyperparameters and normal effects β.

It applies to any model whose ``phenotype`` is a marginal distribution (`dense_normal`,
`multi_trait_normal`, `spectral_normal`) and whose β is an affine function of normal (or flat)
variables, with any prior on the hyperparameters of the (co)variances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import clone_replace, vectorize_graph
from pytensor.graph.traversal import ancestors

from bayeslmm.distributions.phenotype import observed_phenotype, parameters_of, require_marginal
from bayeslmm.errors import ModelError
from bayeslmm.inference.compiled import (
    OFTEN,
    compile_function,
    lean,
    log_densities_of,
    shape_of,
)
from bayeslmm.inference.graph import (
    EffectsPrior,
    effects_prior_function,
    split_parts,
    unit_data,
)
from bayeslmm.likelihood.marginal import Gradient, Quadratic
from bayeslmm.numerics.arrays import Floats

MOST = 40  # largest number of hyperparameters for importance sampling


@dataclass(frozen=True, slots=True, eq=False)
class Hyper:
    """A model as functions of its d unconstrained hyperparameters u.

    Parameters
    ----------
    names
        Names (d,) of the coordinates.
    start
        PyMC's initial point (d,).
    quadratic
        ``(inputs of the likelihood) → log p(y | β, inputs)`` as a quadratic in β.
    likelihood_gradient
        ``(inputs, mean, factor) → log p(y | inputs)``, β integrated out, with its gradients; None
        if finite differences are cheaper.
    expensive
        Whether an evaluation is worth a thread.
    data
        Current values of the model data that hold the priors' units.
    parameters
        ``(u (N, d), *data) → (log prior with Jacobians (N,), inputs of the likelihood (N, ...))``.
    pull
        ``(u (d,), cotangents, *data) → gradient (d,)`` of log prior + Σ cotangent · input.
    effects_prior
        ``(*data) → EffectsPrior``.
    variables
        ``(u (N, d), β (N, p), effects prior, *data) → {name: draws}`` of all variables, and the
        log prior of every free one under ``"log_prior"``.
    """

    names: tuple[str, ...]
    start: Floats
    quadratic: Quadratic
    likelihood_gradient: Gradient | None
    expensive: bool
    data: tuple[Any, ...]
    parameters: Callable[..., tuple[Floats, list[Floats]]]
    pull: Callable[..., Floats]
    effects_prior: Callable[..., EffectsPrior]
    variables: Callable[..., dict[str, Any]]


def why_not_laplace(model: pm.Model) -> str | None:
    """Return why the Laplace engine does not support a model; None if it does."""
    try:
        split = hyper(model)
        split.effects_prior(*split.data)
    except ModelError as error:
        return str(error)
    return None


def split_hyper(model: pm.Model) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """Return the free variables of the covariance and of β, and PyMC's initial point.

    Raises `ModelError` for a model that is not supported.
    """
    require_marginal(model)
    behind = set(ancestors([*parameters_of(model), model["variance"]])) & set(model.free_RVs)
    chosen, effects = split_parts(model, behind)
    if discrete := [rv.name for rv in chosen if not rv.dtype.startswith("float")]:
        raise ModelError(f"{', '.join(discrete)} can take whole numbers only")
    point = model.initial_point(random_seed=1)
    size = sum(np.size(point[model.rvs_to_values[rv].name]) for rv in chosen)
    if not 0 < size <= MOST:
        raise ModelError(f"{size} hyperparameters; importance sampling supports up to {MOST}")
    return chosen, effects, point


@lean
def hyper(model: pm.Model) -> Hyper:
    """Split a model; raise `ModelError` if it is not supported.

    The compiled functions are cached with the model, so a second fit after `set_phenotype` compiles
    nothing.
    """
    kept = getattr(model, "bayeslmm_hyper", None)
    data = unit_data(model)
    if kept is None:
        chosen, effects, point = split_hyper(model)
        inputs = [model[name] for name in data]
        layout = Layout(model, chosen, point)
        log_prior = model.logp(vars=chosen, jacobian=True)
        wanted = model.replace_rvs_by_values(parameters_of(model))
        kept = (
            layout.names,
            layout.start,
            _parameters(log_prior, wanted, layout, inputs),
            _pull(log_prior, wanted, layout, inputs),
            effects_prior_function(model, effects, inputs),
            _variables(model, chosen, effects, layout, inputs),
        )
        model.bayeslmm_hyper = kept
    names, start, *functions = kept
    marginal, y = require_marginal(model), observed_phenotype(model)
    likelihood = (marginal.quadratic(y), marginal.gradient(y), marginal.expensive)
    return Hyper(names, start, *likelihood, tuple(data.values()), *functions)


class Layout:
    """Position in u of the unconstrained value of each hyperparameter."""

    def __init__(self, model: pm.Model, chosen: list[Any], point: dict[str, Any]) -> None:
        self.variables = chosen
        self.values = [model.rvs_to_values[rv] for rv in chosen]
        arrays = [np.asarray(point[value.name], dtype=np.float64) for value in self.values]
        self.shapes = [array.shape for array in arrays]
        self.sizes = [array.size for array in arrays]
        self.start = np.concatenate([array.ravel() for array in arrays])
        self.names = tuple(
            f"{rv.name}[{k}]" if array.ndim else rv.name
            for rv, array in zip(chosen, arrays, strict=True)
            for k in range(array.size)
        )

    def parts(self, u: Any) -> list[Any]:
        """Return the values (..., shape) from u (..., d)."""
        stops = np.cumsum([0, *self.sizes])
        return [
            u[..., a:b].reshape((*(u.shape[i] for i in range(u.ndim - 1)), *shape))
            for a, b, shape in zip(stops, stops[1:], self.shapes, strict=False)
        ]


def _parameters(
    log_prior: Any, wanted: list[Any], layout: Layout, inputs: list[Any]
) -> Callable[..., tuple[Floats, list[Floats]]]:
    flat = pt.dmatrix()
    given = dict(zip(layout.values, layout.parts(flat), strict=True))
    evaluate = compile_function([flat], inputs, vectorize_graph([log_prior, *wanted], given), OFTEN)

    def parameters(u: Floats, *data: Any) -> tuple[Floats, list[Floats]]:
        log_prior, *found = evaluate(np.atleast_2d(u), *data)
        count = len(np.atleast_2d(u))
        return log_prior, [
            np.broadcast_to(x, (count, *x.shape[-w.ndim :])) if x.ndim == w.ndim else x
            for x, w in zip(found, wanted, strict=True)
        ]

    return parameters


def _pull(
    log_prior: Any, wanted: list[Any], layout: Layout, inputs: list[Any]
) -> Callable[..., Floats]:
    @cache
    @lean
    def compiled() -> Callable[..., list[Any]]:
        """Compile at the first call: where an evaluation is cheap, there is none."""
        cotangents = [pt.tensor(dtype="float64", shape=w.type.shape) for w in wanted]
        total = log_prior + sum((c * w).sum() for c, w in zip(cotangents, wanted, strict=True))
        flat = pt.dvector()
        slopes = pt.grad(total, layout.values, disconnected_inputs="ignore")
        given = dict(zip(layout.values, layout.parts(flat), strict=True))
        graph = clone_replace(pt.concatenate([pt.flatten(g) for g in slopes]), given)
        return compile_function([flat, *cotangents], inputs, [graph], OFTEN)

    def pull(u: Floats, cotangents: list[Floats], *data: Any) -> Floats:
        return np.asarray(compiled()(u, *cotangents, *data)[0])

    return pull


def _variables(
    model: pm.Model,
    chosen: list[Any],
    effects: list[Any],
    layout: Layout,
    inputs: list[Any],
) -> Callable[..., dict[str, Any]]:
    """Compile every variable of the model as a function of draws of (u, β)."""
    flat = pt.dmatrix()
    values = [model.rvs_to_values[rv] for rv in effects]
    points = [pt.tensor(dtype="float64", shape=(None,) * (1 + value.ndim)) for value in values]
    given = dict(zip(layout.values, layout.parts(flat), strict=True))
    given |= dict(zip(values, points, strict=True))
    named = [*model.free_RVs, *model.deterministics]
    graphs = model.replace_rvs_by_values(named)
    densities = log_densities_of(model, model.free_RVs, jacobian=False)
    evaluate = compile_function(
        [flat, *points], inputs, vectorize_graph([*graphs, *densities], given)
    )
    shapes = [shape_of(rv) for rv in effects]
    stops = np.cumsum([int(np.prod(shape)) for shape in shapes])
    ranks = [*(rv.ndim for rv in named), *(0 for _ in densities)]

    def variables(u: Floats, beta: Floats, prior: EffectsPrior, *data: Any) -> dict[str, Any]:
        count = len(u)
        parts = np.split(np.linalg.solve(prior.A, (beta - prior.origin).T).T, stops[:-1], axis=1)
        gamma = [part.reshape(count, *shape) for part, shape in zip(parts, shapes, strict=True)]
        found = [
            np.broadcast_to(x, (count, *x.shape)) if x.ndim == rank else x
            for x, rank in zip(evaluate(u, *gamma, *data), ranks, strict=True)
        ]
        out: dict[str, Any] = {rv.name: x for rv, x in zip(named, found, strict=False)}
        densities_found = [x.reshape(count, -1).sum(axis=1) for x in found[len(named) :]]
        out["log_prior"] = {
            rv.name: x for rv, x in zip(model.free_RVs, densities_found, strict=True)
        }
        return out

    return variables
