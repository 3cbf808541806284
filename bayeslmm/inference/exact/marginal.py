"""Extract the inputs of the exact engine from the graph of a PyMC model.

The engine supports a model if ``phenotype`` is a `spectral_normal`, β is an affine function of
normal (or flat) variables, and the two variances depend on two other scalar parameters with any
priors. These are transformed to the coordinates (z, t) = (logit h², log τ), τ² = σ²_u + σ²_e, in
which the likelihood needs the spectrum only once per value of z. If h² or τ is uniform on a part of
its range, the coordinate is the logit within that part (`Coordinates`), so every density is smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import ancestors

from bayeslmm.distributions.phenotype import marginal_of, observed_phenotype, require_marginal
from bayeslmm.errors import ModelError
from bayeslmm.inference.compiled import (
    OFTEN,
    compile_function,
    lean,
    log_densities_of,
    shape_of,
)
from bayeslmm.inference.exact.coordinates import Coordinates
from bayeslmm.inference.exact.parameters import (
    EDGE,
    Inverse,
    are_h2_and_total,
    grid_coordinates,
    parameters_behind,
    require_usable_bounds,
)
from bayeslmm.inference.graph import (
    EffectsPrior,
    effects_prior_function,
    split_parts,
    unit_data,
)
from bayeslmm.inference.tree import improper_priors
from bayeslmm.likelihood.spectrum import Spectrum
from bayeslmm.numerics.arrays import Floats

WIDE = 10.0  # |log τ|, in units of sd(y | X), up to which all variances must have parameters


@dataclass(frozen=True, slots=True, eq=False)
class Marginal:
    """A model split into spectrum, prior of β and prior of the two variance parameters.

    Parameters
    ----------
    spectrum
        Spectrum of K and X.
    hyper, effects
        Names of the free variables behind the variances and behind β.
    data
        Current values of the replaceable ``phenotype_*`` data.
    coordinates
        ``(*data) → Coordinates`` of the grid.
    log_prior
        ``(w, v, *data) → log p(w, v)`` for arrays of one shape, with all Jacobians.
    effects_prior
        ``(*data) → EffectsPrior``.
    direct
        Whether the parameters of the variances are h² and τ themselves.
    variables
        ``(z, t, β, effects prior, *data) → {name: draws}`` of every free and deterministic
        variable, and the log prior of every free variable under ``"log_prior"``.
    """

    spectrum: Spectrum
    hyper: tuple[str, ...]
    effects: tuple[str, ...]
    data: dict[str, Any]
    coordinates: Callable[..., Coordinates]
    log_prior: Callable[..., Floats]
    effects_prior: Callable[..., EffectsPrior]
    direct: bool
    variables: Callable[..., dict[str, Any]]


def why_not_exact(model: pm.Model) -> str | None:
    """Return why the exact engine does not support a model; None if it does."""
    try:
        split = marginal(model)
        data = tuple(split.data.values())
        split.effects_prior(*data)
        split.coordinates(*data)
        w, v = np.meshgrid([-EDGE, 0.0, EDGE], [-WIDE, 0.0, WIDE])
        split.log_prior(w, v + _log_unit(model, split.spectrum.p), *data)
    except ModelError as error:
        return str(error)
    return None


def _log_unit(model: pm.Model, p: int) -> float:
    """Return log sd(y | X) of the current phenotype; 0 if it is not defined."""
    marginal = require_marginal(model)
    e = marginal.rotate(observed_phenotype(model))[p:]
    unit = float(np.sqrt(np.sum(e * e) / (marginal.n - p)))
    return float(np.log(unit)) if unit > 0 else 0.0


def _split(model: pm.Model) -> tuple[list[Any], list[Any]]:
    """Return the free variables of the variances and of β; raise `ModelError` if unsupported."""
    density = marginal_of(model)
    if density is None:
        raise ModelError("the phenotype is not a spectral_normal: g is a parameter")
    if density.spectrum is None:
        raise ModelError(f"the phenotype is a {density.name}, not one kernel's spectral_normal")
    free = set(model.free_RVs)
    behind = set(ancestors([model["variance"]])) & free
    if len(behind) != 2 or any(rv.ndim != 0 for rv in behind):
        names = ", ".join(rv.name for rv in model.free_RVs if rv in behind) or "none"
        raise ModelError(f"the variances depend on {names}; the grid needs two scalar parameters")
    hyper, effects = split_parts(model, behind)
    for rv in hyper:
        if set(ancestors([rv])) & (free - {rv}):
            raise ModelError(f"the prior of {rv.name} depends on other parameters")
    if flat := improper_priors(model, "variance"):
        raise ModelError(f"the prior of {', '.join(flat)} is improper")
    return hyper, effects


@lean
def marginal(model: pm.Model) -> Marginal:
    """Split a model; raise `ModelError` if it is not supported.

    The compiled functions are cached with the model, so a second fit after `set_phenotype` compiles
    nothing.
    """
    kept = getattr(model, "bayeslmm_marginal", None)
    data = unit_data(model)
    if kept is None:
        hyper, effects = _split(model)
        direct = are_h2_and_total(model, hyper)
        require_usable_bounds(model, hyper, direct)
        inputs = [model[name] for name in data]
        behind = parameters_behind(model, hyper, inputs, direct)
        coordinates = grid_coordinates(model, hyper, inputs, direct)
        kept = (
            tuple(rv.name for rv in hyper),
            tuple(rv.name for rv in effects),
            coordinates,
            _log_prior(model, hyper, inputs, None if direct else behind),
            effects_prior_function(model, effects, inputs),
            direct,
            _variables(model, hyper, effects, inputs, behind, coordinates),
        )
        model.bayeslmm_marginal = kept
    spectrum = require_marginal(model).spectrum
    assert spectrum is not None
    return Marginal(spectrum, kept[0], kept[1], data, *kept[2:])


def _log_prior(
    model: pm.Model, hyper: list[Any], inputs: list[Any], behind: Inverse | None
) -> Callable[..., Floats]:
    values = [model.rvs_to_values[rv] for rv in hyper]
    points = [pt.dvector(), pt.dvector()]
    densities = log_densities_of(model, hyper, jacobian=True)  # independent of each other
    outputs = vectorize_graph(densities, dict(zip(values, points, strict=True)))
    evaluate = compile_function(points, inputs, outputs, OFTEN)

    ends = np.array([-EDGE, -0.9 * EDGE, EDGE, 0.9 * EDGE])

    def separate(w: Floats, v: Floats, *arguments: Any) -> Floats:
        inside = np.concatenate([np.clip(w, -EDGE, EDGE).ravel(), ends])
        first, second = evaluate(inside, v.ravel(), *arguments)
        low, less_low, high, less_high = first[-4:]
        slope = np.minimum(np.where(w > 0, high - less_high, low - less_low), 0.0) / (0.1 * EDGE)
        tail = np.maximum(np.abs(w) - EDGE, 0.0) * slope
        return np.asarray(first[:-4].reshape(w.shape) + second.reshape(v.shape) + tail)

    if behind is None:  # h² and τ themselves
        return separate

    def log_prior(w: Floats, v: Floats, *arguments: Any) -> Floats:
        u1, u2, log_jacobian = behind(w, v, *arguments)
        first, second = evaluate(u1.ravel(), u2.ravel(), *arguments)
        return np.asarray(first.reshape(u1.shape) + second.reshape(u2.shape) + log_jacobian)

    def with_tails(w: Floats, v: Floats, *arguments: Any) -> Floats:
        value = log_prior(np.clip(w, -EDGE, EDGE), v, *arguments)
        beyond = np.maximum(np.abs(w) - EDGE, 0.0)
        if not np.any(beyond):
            return value
        end = np.where(w > 0, EDGE, -EDGE)
        slope = log_prior(end, v, *arguments) - log_prior(0.9 * end, v, *arguments)
        slope = np.minimum(slope, 0.0)  # a proper prior falls outwards
        return np.asarray(value + beyond * slope / (0.1 * EDGE))

    return with_tails


def _variables(
    model: pm.Model,
    hyper: list[Any],
    effects: list[Any],
    inputs: list[Any],
    behind: Inverse,
    coordinates: Callable[..., Coordinates],
) -> Callable[..., dict[str, Any]]:
    """Compile every variable of the model as a function of draws of (z, t, β)."""
    free = [*hyper, *effects]
    values = [model.rvs_to_values[rv] for rv in free]
    points = [pt.tensor(dtype="float64", shape=(None,) * (1 + value.ndim)) for value in values]
    named = [*model.free_RVs, *model.deterministics]
    graphs = model.replace_rvs_by_values(named)
    densities = log_densities_of(model, model.free_RVs, jacobian=False)
    outputs = vectorize_graph([*graphs, *densities], dict(zip(values, points, strict=True)))
    evaluate = compile_function(points, inputs, outputs)
    shapes = [shape_of(rv) for rv in effects]
    stops = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def variables(
        z: Floats, t: Floats, beta: Floats, prior: EffectsPrior, *arguments: Any
    ) -> dict[str, Any]:
        u1, u2, _ = behind(*coordinates(*arguments).inverse(z, t), *arguments)
        count = z.shape[0]
        parts = np.split(np.linalg.solve(prior.A, (beta - prior.origin).T).T, stops[:-1], axis=1)
        gamma = [part.reshape(count, *shape) for part, shape in zip(parts, shapes, strict=True)]
        found = evaluate(u1, u2, *gamma, *arguments)
        full = [
            np.broadcast_to(x, (count, *x.shape)) if x.shape[:1] != (count,) else x for x in found
        ]
        out: dict[str, Any] = {rv.name: x for rv, x in zip(named, full, strict=False)}
        out["log_prior"] = {
            rv.name: x for rv, x in zip(model.free_RVs, full[len(named) :], strict=True)
        }
        return out

    return variables
