"""Models whose kernels have variances with parameters and priors of their own.

    σ²_k = f_k(θ_k),   θ_1, ..., θ_K and the residual's θ_e independent under the prior

The model without kernel k is then this model with ``σ²_k = 0`` and without θ_k: all other variances
keep their priors, and no limit is involved. The prior of the other parameters given a share that
tends to 0 is another one, because a small share may also come from a large total. For inverse-gamma
priors it runs to infinity. So the Savage-Dickey ratio of a share is not this model's Bayes factor
(Verdinelli & Wasserman 1995).

References
----------
Verdinelli & Wasserman (1995) J Am Stat Assoc 90:614.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from numpy.typing import NDArray
from pytensor.graph.replace import vectorize_graph
from pytensor.graph.traversal import ancestors

from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.errors import ModelError
from bayeslmm.inference.compiled import compile_function, lean
from bayeslmm.inference.graph import unit_data
from bayeslmm.inference.laplace.hyper import Hyper, Layout, hyper, split_hyper
from bayeslmm.inference.laplace.target import Target
from bayeslmm.inference.tree import improper_priors
from bayeslmm.likelihood.fixed_effects import integrate_beta
from bayeslmm.numerics.arrays import Floats

type Rows = Callable[[Floats], list[Any]]

MOVES = (-0.7, 0.3, 1.1)  # changes of a coordinate that show which variances depend on it


@dataclass(frozen=True, slots=True, eq=False)
class SeparateVariances:
    """A model of K kernels and a residual, each with parameters of its own.

    Parameters
    ----------
    components
        Names of the kernels (K,).
    genetic
        Whether each kernel counts toward h² (K,).
    split
        The model as functions of its d coordinates u.
    log_priors
        ``u (N, d) → log p(u_j) (N, d)``, Jacobians included; of a multivariate parameter at its
        first coordinate, zero at its others.
    owner
        Position of the component that depends on each coordinate (d,), K for the residual.
    """

    components: tuple[str, ...]
    genetic: tuple[bool, ...]
    split: Hyper
    log_priors: Callable[[Floats], Floats]
    owner: NDArray[np.intp]

    @property
    def expensive(self) -> bool:
        """Whether an evaluation is worth a thread."""
        return self.split.expensive

    def reduced(self, kept: Sequence[int]) -> Target:
        """Return log p(u, y) of the model with the kernels `kept` only."""
        split, gone = self.split, np.setdiff1d(np.arange(len(self.components)), kept)
        effects = split.effects_prior(*split.data)
        stay = np.flatnonzero(~np.isin(self.owner, gone))

        def prepare(points: Floats) -> Callable[[int], float]:
            u = np.tile(split.start, (len(points), 1))
            u[:, stay] = points
            log_prior = self.log_priors(u)[:, stay].sum(axis=1)
            variances = np.array(split.parameters(u, *split.data)[1][0])
            variances[:, gone] = 0.0

            def at(i: int) -> float:
                if not np.isfinite(log_prior[i]):
                    return -np.inf
                quadratic = split.quadratic([variances[i]])
                if quadratic is None:
                    return -np.inf
                return float(log_prior[i]) + integrate_beta(quadratic, effects.mean, effects.factor)

            return at

        def log_density(u: Floats) -> float:
            return prepare(u[None])(0)

        names = tuple(split.names[j] for j in stay)
        return Target(names, split.start[stay], log_density, prepare=prepare)


@lean
def separate_variances(model: pm.Model) -> SeparateVariances:
    """Find the parameters of each variance; raise `ModelError` if two variances share one."""
    split = hyper(model)
    marginal = require_marginal(model)
    if flat := improper_priors(model, "variance"):
        raise ModelError(f"the prior of {', '.join(flat)} is improper")
    if marginal.traits > 1:
        raise ModelError(f"the phenotype is a {marginal.name} of several traits")
    names = tuple(str(name) for name in model.coords["component"])
    owner = _owners(split, len(names))
    chosen, _, point = split_hyper(model)
    _require_independent(chosen)
    layout = Layout(model, chosen, point)
    return SeparateVariances(
        names[:-1],
        _genetic(model, layout, split),
        split,
        _log_priors(model, layout, split, owner),
        owner,
    )


def _owners(split: Hyper, count: int) -> NDArray[np.intp]:
    """Return the one component whose variance depends on each coordinate (d,)."""
    d = split.start.size
    points = np.concatenate([split.start[None], *(split.start + a * np.eye(d) for a in MOVES)])
    found = split.parameters(points, *split.data)[1]
    if len(found) != 1 or found[0].shape != (len(points), count):
        raise ModelError("the variances are not one vector of the components")
    moved = (found[0][1:] != found[0][0]).reshape(len(MOVES), d, count).any(axis=0)
    if shared := [name for name, ones in zip(split.names, moved, strict=True) if ones.sum() > 1]:
        raise ModelError(f"several variances depend on {', '.join(shared)}")
    if not moved.any(axis=0).all():
        raise ModelError("a variance has no parameter of its own")
    return np.where(moved.any(axis=1), moved.argmax(axis=1), count - 1)


def _require_independent(chosen: list[Any]) -> None:
    """Raise `ModelError` if the prior of a parameter depends on another one."""
    for rv in chosen:
        if others := set(ancestors([rv])) & ({*chosen} - {rv}):
            names = ", ".join(sorted(str(other.name) for other in others))
            raise ModelError(f"the prior of {rv.name} depends on {names}")


def _function(model: pm.Model, layout: Layout, split: Hyper, wanted: list[Any]) -> Rows:
    """Compile ``u (N, d) → values (N, ...)`` of graphs in unconstrained values."""
    flat = pt.dmatrix()
    given = dict(zip(layout.values, layout.parts(flat), strict=True))
    inputs = [model[name] for name in unit_data(model)]
    evaluate = compile_function([flat], inputs, vectorize_graph(wanted, given))
    return lambda u: evaluate(u, *split.data)


def _log_priors(
    model: pm.Model, layout: Layout, split: Hyper, owner: NDArray[np.intp]
) -> Callable[[Floats], Floats]:
    evaluate = _function(
        model, layout, split, model.logp(vars=layout.variables, jacobian=True, sum=False)
    )
    stops = np.cumsum([0, *layout.sizes])
    places = [slice(a, b) for a, b in pairwise(stops)]

    def log_priors(u: Floats) -> Floats:
        out = np.zeros(u.shape)
        for where, density in zip(places, evaluate(u), strict=True):
            each = density.reshape(len(u), -1)
            out[:, where.start : where.start + each.shape[1]] = each
        return out

    sizes = [x[0].size for x in evaluate(split.start[None])]
    for rv, where, size in zip(layout.variables, places, sizes, strict=True):
        if size < where.stop - where.start and np.ptp(owner[where]) > 0:
            raise ModelError(f"several variances depend on {rv.name}")
    return log_priors


def _genetic(model: pm.Model, layout: Layout, split: Hyper) -> tuple[bool, ...]:
    """Return which kernels' variances h² adds up; none in a model without h²."""
    if "h2" not in model.named_vars:
        return (False,) * (len(model.coords["component"]) - 1)
    d = split.start.size
    rng = np.random.default_rng(1)
    points = split.start + rng.uniform(-1.0, 1.0, (4 * d, d))
    graphs = model.replace_rvs_by_values([model["h2"], model["variance"]])
    h2, variance = _function(model, layout, split, graphs)(points)
    if not np.allclose(variance, split.parameters(points, *split.data)[1][0], rtol=1e-10):
        raise ModelError("the density has other variances than the model reports")
    shares = variance / variance.sum(axis=1, keepdims=True)
    weight, *_ = np.linalg.lstsq(shares, h2, rcond=None)
    counted = weight[:-1] > 0.5
    if not np.allclose(shares[:, :-1] @ counted, h2, rtol=1e-8, atol=1e-10):
        raise ModelError("h² is not the share of some of the components")
    return tuple(bool(x) for x in counted)
