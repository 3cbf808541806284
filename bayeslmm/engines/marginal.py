"""What the exact engine needs to know of a PyMC model, read off its graph.

A model qualifies when ``phenotype`` is a `spectral_normal`, β is an affine function of normal (or
flat) variables, and the two variances depend on two other scalar parameters, whatever their
priors. Those are taken to the coordinates (z, t) = (logit h², log τ), τ² = σ²_u + σ²_e, in which
the likelihood needs the spectrum only once per value of z; where h² or τ is uniform on a part of
its range, to the logit of that part (`Coordinates`), so that every density is smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import ancestors
from pytensor.tensor.random.basic import UniformRV
from scipy.special import log_expit

from bayeslmm.distributions import SpectralNormalRV
from bayeslmm.engines.coordinates import Coordinates
from bayeslmm.engines.effects import (
    EffectsPrior,
    compile_function,
    effects_prior_function,
    exchangeable_data,
    split_parts,
)
from bayeslmm.engines.tree import PYTHON
from bayeslmm.errors import ModelError
from bayeslmm.spectrum import Spectrum

type Floats = NDArray[np.float64]

EDGE = 20.0  # |logit h²| beyond which 1 - h² is rounding; log p is a straight line there


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
        Current values of the exchangeable ``phenotype_*`` data.
    coordinates
        ``(*data) → Coordinates`` of the grid.
    log_prior
        ``(w, v, *data) → log p(w, v)`` for arrays of one shape, with all Jacobians.
    effects_prior
        ``(*data) → EffectsPrior``.
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
    variables: Callable[..., dict[str, Any]]


def why_not_exact(model: pm.Model) -> str | None:
    """The reason why the exact engine cannot serve a model; None if it can."""
    try:
        split = marginal(model)
        data = tuple(split.data.values())
        split.effects_prior(*data)
        split.log_prior(np.array([-EDGE, 0.0, EDGE]), np.zeros(3), *data)
    except ModelError as error:
        return str(error)
    return None


def _split(model: pm.Model) -> tuple[list[Any], list[Any]]:
    """Free variables behind the variances and behind β, or a ModelError that says why not."""
    observed = model["phenotype"]
    if not isinstance(observed.owner.op, SpectralNormalRV):
        if hasattr(observed.owner.op, "design"):  # one of our marginal densities
            kind = observed.owner.op.name
            raise ModelError(f"the phenotype is a {kind}, not one kernel's spectral_normal")
        raise ModelError("the phenotype is not a spectral_normal: g stays a parameter")
    free = set(model.free_RVs)
    behind = set(ancestors([model["variance"]])) & free
    if len(behind) != 2 or any(rv.ndim != 0 for rv in behind):
        names = ", ".join(rv.name for rv in model.free_RVs if rv in behind) or "none"
        raise ModelError(f"the variances depend on {names}; the grid needs two scalar parameters")
    hyper, effects = split_parts(model, behind)
    for rv in hyper:
        if set(ancestors([rv])) & (free - {rv}):
            raise ModelError(f"the prior of {rv.name} depends on other parameters")
    bounded = [rv for rv in hyper if isinstance(rv.owner.op, UniformRV) and not _unit_interval(rv)]
    if bounded and not _separate(model, hyper):
        raise ModelError(
            f"the prior of {', '.join(rv.name for rv in bounded)} is uniform, with bounds that are "
            "not bounds of h² or of the total standard deviation"
        )
    return hyper, effects


def marginal(model: pm.Model) -> Marginal:
    """Split a model, or raise a `ModelError` that says why it cannot be done.

    The compiled functions are kept with the model: a second fit, after `set_phenotype`, compiles
    nothing.
    """
    kept = getattr(model, "bayeslmm_marginal", None)
    data = exchangeable_data(model)
    if kept is None:
        hyper, effects = _split(model)
        inputs = [model[name] for name in data]
        kept = (
            tuple(rv.name for rv in hyper),
            tuple(rv.name for rv in effects),
            _coordinates(model, hyper, inputs),
            _log_prior(model, hyper, inputs, list(data.values())),
            effects_prior_function(model, effects, inputs),
            _variables(model, hyper, effects, inputs, list(data.values())),
        )
        model.bayeslmm_marginal = kept
    spectrum: Spectrum = model["phenotype"].owner.op.spectrum
    return Marginal(spectrum, kept[0], kept[1], data, *kept[2:])


def _coordinates(
    model: pm.Model, hyper: list[Any], inputs: list[Any]
) -> Callable[..., Coordinates]:
    """``(*data) → Coordinates``: the bounds of h² and τ where they are uniform."""
    separate = _separate(model, hyper)
    bounds = [
        bound
        for rv, usual in zip(hyper, ((0.0, 1.0), (0.0, np.inf)), strict=True)
        for bound in (
            rv.owner.op.dist_params(rv.owner)
            if separate and isinstance(rv.owner.op, UniformRV)
            else [pt.constant(x) for x in usual]
        )
    ]
    evaluate = compile_function([], inputs, bounds)

    def coordinates(*arguments: Any) -> Coordinates:
        a, b, c, d = (float(x) for x in evaluate(*arguments))
        return Coordinates((a, b), (c, d))

    return coordinates


def _unit_interval(rv: Any) -> bool:
    """Is this a uniform variable on [0, 1]?"""
    bounds = rv.owner.op.dist_params(rv.owner)
    return [getattr(bound, "data", None) for bound in bounds] == [0.0, 1.0]


def _separate(model: pm.Model, hyper: list[Any]) -> bool:
    """Are the two parameters h² and τ themselves?"""
    share, scale = hyper
    u1, u2 = np.array([0.047, 0.62, 0.88]), np.array([0.37, 7.4, 1.35])
    points = [pt.dvector(), pt.dvector()]
    variance = vectorize_graph(model["variance"], dict(zip(hyper, points, strict=True)))
    found = pytensor.function(points, variance, mode=PYTHON, on_unused_input="ignore")(u1, u2)
    wanted = np.stack([u1 * u2**2, (1 - u1) * u2**2], axis=-1)
    if not np.allclose(found, wanted, rtol=1e-10):
        return False
    transforms = [type(model.rvs_to_transforms[rv]).__name__ for rv in (share, scale)]
    usual = ("LogOddsTransform", "Interval"), ("LogTransform", "Interval")
    return all(name in known for name, known in zip(transforms, usual, strict=True))


def _to_hyper(
    model: pm.Model, hyper: list[Any], inputs: list[Any], data: list[Any]
) -> Callable[..., tuple[Floats, Floats, Floats]]:
    """``(w, v, *data)`` → unconstrained parameters u₁, u₂ and ``log |∂u/∂(w, v)|``.

    For the parameters (h², τ) with their usual transforms u = (w, v); any other pair is found by
    Newton's method on log σ² (one step when the variances are powers of the parameters), and
    taken as at |logit h²| = `EDGE` beyond it.
    """
    values = [model.rvs_to_values[rv] for rv in hyper]
    (variance,) = model.replace_rvs_by_values([model["variance"]])
    logs = [pt.log(variance[0]), pt.log(variance[1])]
    slopes = [pt.grad(log, value) for log in logs for value in values]
    points = [pt.dvector(), pt.dvector()]
    outputs = vectorize_graph([*logs, *slopes], dict(zip(values, points, strict=True)))
    evaluate = compile_function(points, inputs, outputs)

    def solve(z: Floats, t: Floats, *arguments: Any) -> tuple[Floats, Floats, Floats]:
        shape = np.broadcast_shapes(z.shape, t.shape)
        z, t = (np.broadcast_to(x, shape).ravel() for x in (z, t))
        z = np.clip(z, -EDGE, EDGE)
        target = np.stack([2 * t + log_expit(z), 2 * t + log_expit(-z)])
        v = np.stack([np.clip(z, -3.0, 3.0), t])
        best = np.full(v.shape[1], np.inf)
        for _ in range(100):
            f1, f2, a, b, c, d = evaluate(*v, *arguments)
            miss = np.stack([f1, f2]) - target
            error = np.max(np.abs(miss), axis=0)
            determinant = a * d - b * c
            if np.all((error < 1e-9) | (error >= best) & (best < 1e-6)):
                break
            best = np.minimum(best, error)
            step = np.stack([d * miss[0] - b * miss[1], a * miss[1] - c * miss[0]]) / determinant
            v = v - step * np.minimum(1.0, 5.0 / np.maximum(np.max(np.abs(step), axis=0), 1e-300))
        else:
            raise ModelError("the variances could not be inverted for their parameters")
        log_jacobian = np.log(2.0) - np.log(np.abs(determinant))
        return v[0].reshape(shape), v[1].reshape(shape), log_jacobian.reshape(shape)

    def identity(z: Floats, t: Floats, *_: Any) -> tuple[Floats, Floats, Floats]:
        shape = np.broadcast_shapes(z.shape, t.shape)
        z, t = np.broadcast_to(z, shape), np.broadcast_to(t, shape)
        return z, t, np.zeros(shape)

    return identity if _separate(model, hyper) else solve


def _log_prior(
    model: pm.Model, hyper: list[Any], inputs: list[Any], data: list[Any]
) -> Callable[..., Floats]:
    values = [model.rvs_to_values[rv] for rv in hyper]
    to_hyper = _to_hyper(model, hyper, inputs, data)
    points = [pt.dvector(), pt.dvector()]
    densities = [model.logp(vars=[rv], jacobian=True) for rv in hyper]  # independent of each other
    outputs = vectorize_graph(densities, dict(zip(values, points, strict=True)))
    evaluate = compile_function(points, inputs, outputs)

    ends = np.array([-EDGE, -0.9 * EDGE, EDGE, 0.9 * EDGE])

    def separate(w: Floats, v: Floats, *arguments: Any) -> Floats:
        inside = np.concatenate([np.clip(w, -EDGE, EDGE).ravel(), ends])
        first, second = evaluate(inside, v.ravel(), *arguments)
        low, less_low, high, less_high = first[-4:]
        slope = np.where(w > 0, high - less_high, low - less_low) / (0.1 * EDGE)
        tail = np.maximum(np.abs(w) - EDGE, 0.0) * slope
        return np.asarray(first[:-4].reshape(w.shape) + second.reshape(v.shape) + tail)

    def log_prior(w: Floats, v: Floats, *arguments: Any) -> Floats:
        u1, u2, log_jacobian = to_hyper(w, v, *arguments)
        first, second = evaluate(u1.ravel(), u2.ravel(), *arguments)
        return np.asarray(first.reshape(u1.shape) + second.reshape(u2.shape) + log_jacobian)

    def with_tails(w: Floats, v: Floats, *arguments: Any) -> Floats:
        value = log_prior(np.clip(w, -EDGE, EDGE), v, *arguments)
        beyond = np.maximum(np.abs(w) - EDGE, 0.0)
        if not np.any(beyond):
            return value
        end = np.where(w > 0, EDGE, -EDGE)
        slope = log_prior(end, v, *arguments) - log_prior(0.9 * end, v, *arguments)
        return np.asarray(value + beyond * slope / (0.1 * EDGE))

    return separate if _separate(model, hyper) else with_tails


def _variables(
    model: pm.Model, hyper: list[Any], effects: list[Any], inputs: list[Any], data: list[Any]
) -> Callable[..., dict[str, Any]]:
    """Every variable of the model at draws of (z, t, β)."""
    to_hyper = _to_hyper(model, hyper, inputs, data)
    coordinates = _coordinates(model, hyper, inputs)
    free = [*hyper, *effects]
    values = [model.rvs_to_values[rv] for rv in free]
    points = [pt.tensor(dtype="float64", shape=(None,) * (1 + value.ndim)) for value in values]
    named = [*model.free_RVs, *model.deterministics]
    graphs = model.replace_rvs_by_values(named)
    densities = [model.logp(vars=[rv], jacobian=False) for rv in model.free_RVs]
    outputs = vectorize_graph([*graphs, *densities], dict(zip(values, points, strict=True)))
    evaluate = compile_function(points, inputs, outputs)
    shapes = [tuple(int(size) for size in rv.shape.eval()) for rv in effects]
    stops = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def variables(
        z: Floats, t: Floats, beta: Floats, prior: EffectsPrior, *arguments: Any
    ) -> dict[str, Any]:
        u1, u2, _ = to_hyper(*coordinates(*arguments).inverse(z, t), *arguments)
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
