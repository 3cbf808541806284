"""The evidence (log marginal likelihood) of a fitted model, by three ways, and when it compares.

    log p(y) = log ∫ p(y | β, θ) p(β) p(θ) dβ dθ

One kernel: quadrature. Several: importance sampling, with its standard error. Either is checked by
bridge sampling, which also serves the draws of NUTS. β is integrated out in closed form. Under a
flat prior on β the evidence has an arbitrary constant, ½ log|XᵀX| included, so that models compare
only if they share X; the model comparison of `bayeslmm.comparison` refuses anything else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pymc as pm
import pytensor
from arviz_stats.base import array_stats
from pytensor.graph.replace import vectorize_graph

from bayeslmm.comparison.bridge import sample_bridge
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.fitted import model_of
from bayeslmm.inference.laplace.hyper import Hyper, hyper
from bayeslmm.inference.laplace.laplace import target_of
from bayeslmm.inference.tree import PYTHON, improper_priors
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    import xarray as xr

type Method = Literal["auto", "quadrature", "importance", "bridge"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """log p(y) of a model.

    Parameters
    ----------
    log_ml
        log p(y), natural logarithm, in the unit of y.
    mcse
        Its Monte Carlo standard error; 0 for a quadrature.
    method
        "quadrature", "importance" or "bridge".
    pareto_k
        k̂ of the importance weights; nan for the others.
    """

    log_ml: float
    mcse: float
    method: str
    pareto_k: float


@one_thread()
def estimate_evidence(
    tree: xr.DataTree,
    model: pm.Model | None = None,
    *,
    method: Method = "auto",
    most: int = 500,
    seed: int = 1,
    workers: int | None = None,
) -> Evidence:
    """log p(y) of a fitted model.

    Parameters
    ----------
    tree
        What `bayeslmm.fit` returns.
    model
        The model, where the tree is a copy or was read from a file (bridge sampling needs it).
    method
        "auto": what the engine has computed (quadrature of the exact engine, importance sampling
        of the Laplace engine), else bridge sampling.
    most, seed, workers
        For bridge sampling: posterior draws evaluated at most, and as many others; seed;
        evaluations at a time (default: as many as there are cores).

    Raises
    ------
    InputError
        If the tree has no evidence of the method asked for.
    ModelError
        If the model's β or random effects cannot be integrated out, or if the prior of a variance
        is improper, so that log p(y) has an arbitrary constant.
    """
    if flat := json.loads(tree["sample_stats"].attrs.get("improper", "[]")):
        raise ModelError(
            f"the prior of {', '.join(flat)} is improper, so that the marginal likelihood has an "
            "arbitrary factor; give every variance parameter a proper prior"
        )
    found = _known(tree)
    if method == "auto" and found is not None:
        return found
    if method in ("auto", "bridge"):
        return _by_bridge(tree, model_of(tree, model), most, seed, workers)
    if found is None or found.method != method:
        raise InputError(
            f"no evidence by {method} in this tree (engine {tree.attrs.get('engine', 'unknown')})",
            "quadrature of the exact engine, or importance sampling of the Laplace engine",
            "take method='bridge', or fit with another engine",
        )
    return found


def _known(tree: xr.DataTree) -> Evidence | None:
    """What the engine has computed."""
    if "quadrature" in tree.children:
        value = float(tree["quadrature"].attrs["log_evidence"])
        return Evidence(value, 0.0, "quadrature", float("nan"))
    stats = tree["sample_stats"].attrs
    if "log_evidence" not in stats:
        return None
    k = float(stats.get("pareto_k", np.nan))
    value, error = float(stats["log_evidence"]), float(stats.get("log_evidence_mcse", np.nan))
    return Evidence(value, error, "importance", k)


def _by_bridge(
    tree: xr.DataTree, model: pm.Model, most: int, seed: int, workers: int | None
) -> Evidence:
    split = hyper(model)
    target = target_of(split, split.effects_prior(*split.data))
    u, ess = unconstrained_draws(tree, model, split)
    at_once = (workers or available_cores()) if split.expensive else 1
    found = sample_bridge(target, u, ess=ess, most=most, seed=seed, workers=at_once)
    return Evidence(found.log_evidence, found.mcse, "bridge", float("nan"))


def unconstrained_draws(tree: xr.DataTree, model: pm.Model, split: Hyper) -> tuple[Floats, float]:
    """Posterior draws of the hyperparameters as u (N, d), and how many they are worth.

    The draws come chain after chain within each half of the chains, so that the first half of the
    rows is the first half of every chain. Draws at an edge (a share that is 0 in float64) have no
    u and are left out.
    """
    names = list(dict.fromkeys(name.partition("[")[0] for name in split.names))
    variables = [model[name] for name in names]
    points = [v.type.clone(shape=(None, *v.type.shape))() for v in variables]
    graphs = []
    for rv, point in zip(variables, points, strict=True):
        transform = model.rvs_to_transforms[rv]
        u = rv if transform is None else transform.forward(rv, *rv.owner.inputs)
        graphs.append(vectorize_graph(u, {rv: point}))
    function = pytensor.function(points, graphs, mode=PYTHON, on_unused_input="ignore")
    draws = [tree["posterior"][name].to_numpy() for name in names]
    chains, length = draws[0].shape[:2]
    flat = [np.asarray(x, dtype=np.float64).reshape(chains * length, *x.shape[2:]) for x in draws]
    with np.errstate(divide="ignore"):
        u = np.concatenate(
            [np.asarray(x).reshape(chains * length, -1) for x in function(*flat)], axis=1
        )
    ess = _effective(tree, u.reshape(chains, length, -1))
    ordered = u.reshape(chains, length, -1)
    half = length // 2
    rows = np.concatenate(
        [part.reshape(-1, u.shape[1]) for part in (ordered[:, :half], ordered[:, half:])]
    )
    return rows[np.all(np.isfinite(rows), axis=1)], ess


def _effective(tree: xr.DataTree, u: Floats) -> float:
    """Least effective number of draws u (chain, draw, d), or that of the importance weights."""
    stats = tree["sample_stats"].attrs
    if "ess_importance" in stats:
        return float(stats["ess_importance"])
    if "quadrature" in tree.children:
        return float(u.shape[0] * u.shape[1])
    return float(min(array_stats.ess(u[..., k], method="bulk") for k in range(u.shape[2])))


def check_comparable(trees: Mapping[str, xr.DataTree]) -> list[str]:
    """Are evidences (and elpds) of these fits of the same data? Words on what limits them.

    Raises
    ------
    InputError
        If the phenotypes, or the units of the priors, are not the same records' and numbers.
    """
    (first, one), *others = trees.items()
    notes: list[str] = []
    y = one["observed_data"]["phenotype"].to_numpy()
    labels = [str(x) for x in one["observed_data"]["individual"].to_numpy()]
    for name, other in others:
        found = other["observed_data"]["phenotype"].to_numpy()
        theirs = [str(x) for x in other["observed_data"]["individual"].to_numpy()]
        if theirs != labels or not np.array_equal(found, y):
            raise InputError(
                f"the models {first} and {name} were fitted to different records "
                f"({len(labels)} and {len(theirs)})",
                "the same records, in the same order, with the same values",
                "fit both to one cohort: those who have everything that any of the models needs",
            )
        for unit in ("phenotype_unit", "phenotype_centre"):
            ours, its = (tree["constant_data"].get(unit) for tree in (one, other))
            if ours is None or its is None:
                continue
            if not np.allclose(np.asarray(ours), np.asarray(its), rtol=1e-12):
                raise InputError(
                    f"the priors of {first} and {name} count in different units ({unit})",
                    "the same fixed effects, so that sd(y | X) is the same",
                    "fit both with the same covariates",
                )
        if not _same_design(one, other):
            notes.append(f"{first} and {name} have different fixed effects")
    return notes


def _same_design(one: xr.DataTree, other: xr.DataTree) -> bool:
    designs = [tree["constant_data"].get("design") for tree in (one, other)]
    if any(X is None for X in designs):
        return False
    a, b = (np.asarray(X) for X in designs)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=1e-8))


def has_flat_effects(model: pm.Model) -> bool:
    """Is the prior of β flat, so that log p(y) has an arbitrary constant?"""
    return bool(improper_priors(model, "beta"))
