"""The two variance parameters of a model as functions of (h², τ), and their bounds.

If they are h² and τ themselves, the coordinates (w, v) of the exact engine's grid are their
unconstrained values: logit h² and log τ, or the logit of the relative position between the bounds
of a prior with bounded support (`bayeslmm.inference.exact.coordinates`). Other pairs are computed
by Newton's method on the logarithms of the variances, which needs a one-to-one map onto all pairs
of variances.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import vectorize_graph
from scipy.special import log_expit

from bayeslmm.distributions.variables import inputs_of
from bayeslmm.errors import ModelError
from bayeslmm.inference.compiled import OFTEN, compile_function, evaluator
from bayeslmm.inference.exact.coordinates import Coordinates
from bayeslmm.numerics.arrays import Floats

type Inverse = Callable[..., tuple[Floats, Floats, Floats]]

EDGE = 20.0  # |logit h²| beyond which 1 - h² is rounding; log p is linear there
USUAL = ((0.0, 1.0), (0.0, np.inf))  # bounds of h² and of τ
STEPS = 100  # largest number of Newton steps, each at most 5 long


def require_usable_bounds(model: pm.Model, hyper: list[Any], direct: bool) -> None:
    """Raise `ModelError` if a prior has bounds that are not bounds of h² or τ."""
    if direct:
        return
    free = (0.0, 1.0), (0.0, None)
    bounded = [rv.name for rv in hyper if _constant(_interval(model, rv)) not in (None, *free)]
    if bounded:
        raise ModelError(
            f"the prior of {', '.join(bounded)} has bounds that are not bounds of h² or of the "
            "total standard deviation"
        )


def are_h2_and_total(model: pm.Model, hyper: list[Any]) -> bool:
    """Return whether the parameters are h² and τ, with the grid's coordinates as unconstrained."""
    share, scale = hyper
    u1, u2 = np.array([0.047, 0.62, 0.88]), np.array([0.37, 7.4, 1.35])
    points = [pt.dvector(), pt.dvector()]
    variance = vectorize_graph(model["variance"], dict(zip(hyper, points, strict=True)))
    found = evaluator(points, variance)(u1, u2)
    wanted = np.stack([u1 * u2**2, (1 - u1) * u2**2], axis=-1)
    if not np.allclose(found, wanted, rtol=1e-10):
        return False
    return _on_grid(model, share, "LogOddsTransform") and _on_grid(model, scale, "LogTransform")


def _on_grid(model: pm.Model, rv: Any, usual: str) -> bool:
    """Return whether a variable has the usual transform, or an interval transform."""
    if type(model.rvs_to_transforms[rv]).__name__ == usual:
        return True
    bounds = _interval(model, rv)
    if bounds is None:
        return False
    return None not in bounds or (usual == "LogTransform" and _constant(bounds) == (0.0, None))


def _interval(model: pm.Model, rv: Any) -> tuple[Any, Any] | None:
    """Return the bounds of an interval transform, each a graph or None; None for others."""
    transform = model.rvs_to_transforms[rv]
    if type(transform).__name__ != "Interval":
        return None
    lower, upper = transform.args_fn(*inputs_of(rv))
    return lower, upper


def _constant(bounds: tuple[Any, Any] | None) -> tuple[Any, Any] | None:
    """Convert bounds that are constants to numbers; return others unchanged."""
    if bounds is None:
        return None
    lower, upper = (float(x.data) if isinstance(x, pt.TensorConstant) else x for x in bounds)
    return lower, upper


def grid_coordinates(
    model: pm.Model, hyper: list[Any], inputs: list[Any], direct: bool
) -> Callable[..., Coordinates]:
    """Return ``(*data) → Coordinates``, with the bounds of the priors of h² and τ."""
    bounds: list[Any] = []
    for rv, usual in zip(hyper, USUAL, strict=True):
        found = _interval(model, rv) if direct else None
        given = usual if found is None or None in found else found
        bounds += [pt.as_tensor_variable(x) for x in given]
    evaluate = compile_function([], inputs, bounds)

    def coordinates(*arguments: Any) -> Coordinates:
        a, b, c, d = (float(x) for x in evaluate(*arguments))
        if not (0 <= a < b <= 1 and 0 <= c < d):
            raise ModelError(
                f"h² lies between {a:g} and {b:g}, the total standard deviation between {c:g} and "
                f"{d:g}: take bounds of h² between 0 and 1, and positive bounds of the total"
            )
        return Coordinates((a, b), (c, d))

    return coordinates


def parameters_behind(
    model: pm.Model, hyper: list[Any], inputs: list[Any], direct: bool
) -> Inverse:
    """Return ``(w, v, *data)`` → unconstrained parameters u₁, u₂ and ``log |∂u/∂(w, v)|``.

    For the parameters (h², τ) u = (w, v). Other pairs are computed by Newton's method on log σ²
    (one step if the variances are powers of the parameters); beyond |logit h²| = `EDGE` the values
    at `EDGE` are used.
    """
    if direct:
        return _identity
    values = [model.rvs_to_values[rv] for rv in hyper]
    (variance,) = model.replace_rvs_by_values([model["variance"]])
    logs = [pt.log(variance[0]), pt.log(variance[1])]
    slopes = [pt.grad(log, value) for log in logs for value in values]
    points = [pt.dvector(), pt.dvector()]
    outputs = vectorize_graph([*logs, *slopes], dict(zip(values, points, strict=True)))
    evaluate = compile_function(points, inputs, outputs, OFTEN)
    names = " and ".join(rv.name for rv in hyper)

    def solve(z: Floats, t: Floats, *arguments: Any) -> tuple[Floats, Floats, Floats]:
        _require_one_to_one(evaluate, arguments, names)
        shape = np.broadcast_shapes(z.shape, t.shape)
        z, t = (np.broadcast_to(x, shape).ravel() for x in (z, t))
        z = np.clip(z, -EDGE, EDGE)
        target = np.stack([2 * t + log_expit(z), 2 * t + log_expit(-z)])
        with np.errstate(all="ignore"):  # values overflow if it fails
            v, determinant, missed = _newton(
                lambda v: evaluate(*v, *arguments), target, np.stack([np.clip(z, -3.0, 3.0), t])
            )
        if missed is not None:
            a, b = np.exp(target[:, missed])
            raise ModelError(
                f"the variances could not be inverted for their parameters: found no {names} with "
                f"σ²_u = {a:.3g} and σ²_e = {b:.3g} (the Laplace engine needs no inverse)"
            )
        log_jacobian = np.log(2.0) - np.log(np.abs(determinant))
        return v[0].reshape(shape), v[1].reshape(shape), log_jacobian.reshape(shape)

    return solve


def _identity(z: Floats, t: Floats, *_: Any) -> tuple[Floats, Floats, Floats]:
    shape = np.broadcast_shapes(z.shape, t.shape)
    z, t = np.broadcast_to(z, shape), np.broadcast_to(t, shape)
    return z, t, np.zeros(shape)


def _require_one_to_one(evaluate: Callable[..., Any], data: tuple[Any, ...], names: str) -> None:
    """Check that the Jacobian of the log variances has one sign, and no zero or pole."""
    axis = np.linspace(-4.0, 4.0, 9)  # unconstrained values
    first, second = (x.ravel() for x in np.meshgrid(axis, axis))
    with np.errstate(all="ignore"):
        _, _, a, b, c, d = evaluate(first, second, *data)
        determinant = a * d - b * c
    if not (np.all(determinant > 0) or np.all(determinant < 0)) or np.any(np.isinf(determinant)):
        raise ModelError(
            "the variances could not be inverted for their parameters: different values of "
            f"{names} may give the same variances"
        )


def _newton(
    evaluate: Callable[[Floats], Any], target: Floats, v: Floats
) -> tuple[Floats, Floats, int | None]:
    """Return solutions v (2, k), determinants (k,), and the first column without solution."""
    best = np.full(v.shape[1], np.inf)
    for _ in range(STEPS):
        f1, f2, a, b, c, d = evaluate(v)
        miss = np.stack([f1, f2]) - target
        error = np.max(np.abs(miss), axis=0)
        determinant = a * d - b * c
        done = (error < 1e-9) | (error >= best) & (best < 1e-6)
        if np.all(done):
            return v, determinant, None
        best = np.minimum(best, error)
        step = np.stack([d * miss[0] - b * miss[1], a * miss[1] - c * miss[0]]) / determinant
        v = v - step * np.minimum(1.0, 5.0 / np.maximum(np.max(np.abs(step), axis=0), 1e-300))
    return v, determinant, int(np.argmin(done))
