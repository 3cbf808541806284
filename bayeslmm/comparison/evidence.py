"""The evidence (log marginal likelihood) of a fitted model, by three methods.

    log p(y) = log ∫ p(y | β, θ) p(β) p(θ) dβ dθ

With one kernel: quadrature. With several: importance sampling, with its standard error. Bridge
sampling checks both and serves the draws of NUTS. β is integrated out in closed form. Under a flat
prior on β the evidence has an arbitrary constant, which contains ½ log|XᵀX|. So such models are
comparable only if they share X; `bayeslmm.comparison` refuses other comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pymc as pm
from arviz_stats.base import array_stats
from pytensor.graph.replace import vectorize_graph

from bayeslmm.comparison.bridge import sample_bridge
from bayeslmm.distributions.variables import inputs_of
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.compiled import evaluator
from bayeslmm.inference.fitted import model_of
from bayeslmm.inference.laplace.hyper import Hyper, hyper
from bayeslmm.inference.laplace.laplace import target_of
from bayeslmm.inference.tree import improper_priors
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    import xarray as xr

type Method = Literal["auto", "quadrature", "importance", "bridge"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Log marginal likelihood log p(y) of a model.

    Parameters
    ----------
    log_ml
        log p(y), natural logarithm, with y in its own unit.
    mcse
        Its Monte Carlo standard error; 0 for quadrature.
    method
        "quadrature", "importance" or "bridge".
    pareto_k
        k̂ of the importance weights; nan for the other methods.
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
    """Estimate log p(y) of a fitted model.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit`.
    model
        The model, if the tree is a copy or was read from a file (bridge sampling needs it).
    method
        "auto": the engine's own value (quadrature of the exact engine, importance sampling of the
        Laplace engine), else bridge sampling.
    most, seed, workers
        For bridge sampling: largest number of posterior draws evaluated, and of proposal draws;
        seed; number of concurrent evaluations (default: the number of cores).

    Raises
    ------
    InputError
        If the tree has no evidence by the requested method.
    ModelError
        If the model's β or random effects cannot be integrated out, or if the prior of a variance
        is improper: log p(y) then has an arbitrary constant.
    """
    if flat := json.loads(tree["sample_stats"].attrs.get("improper", "[]")):
        raise ModelError(
            f"the prior of {', '.join(flat)} is improper, so the marginal likelihood has an "
            "arbitrary factor; give every variance parameter a proper prior"
        )
    found = _engine_evidence(tree)
    if method == "auto" and found is not None:
        return found
    if method in ("auto", "bridge"):
        return _bridge_evidence(tree, model_of(tree, model), most, seed, workers)
    if found is None or found.method != method:
        raise InputError(
            f"no evidence by {method} in this tree (engine {tree.attrs.get('engine', 'unknown')})",
            "quadrature of the exact engine, or importance sampling of the Laplace engine",
            "take method='bridge', or fit with another engine",
        )
    return found


def _engine_evidence(tree: xr.DataTree) -> Evidence | None:
    """Return the evidence that the engine computed; None if it did not."""
    if "quadrature" in tree.children:
        value = float(tree["quadrature"].attrs["log_evidence"])
        return Evidence(value, 0.0, "quadrature", float("nan"))
    stats = tree["sample_stats"].attrs
    if "log_evidence" not in stats:
        return None
    k = float(stats.get("pareto_k", np.nan))
    value, error = float(stats["log_evidence"]), float(stats.get("log_evidence_mcse", np.nan))
    return Evidence(value, error, "importance", k)


def _bridge_evidence(
    tree: xr.DataTree, model: pm.Model, most: int, seed: int, workers: int | None
) -> Evidence:
    split = hyper(model)
    target = target_of(split, split.effects_prior(*split.data))
    u, ess = unconstrained_draws(tree, model, split)
    at_once = (workers or available_cores()) if split.expensive else 1
    found = sample_bridge(target, u, ess=ess, most=most, seed=seed, workers=at_once)
    return Evidence(found.log_evidence, found.mcse, "bridge", float("nan"))


def unconstrained_draws(tree: xr.DataTree, model: pm.Model, split: Hyper) -> tuple[Floats, float]:
    """Return posterior draws of the unconstrained hyperparameters u (N, d), and their ESS.

    The first half of the rows holds the first half of every chain, the second half the rest. Draws
    on the boundary (a share that is 0 in float64) have no finite u and are dropped.
    """
    names = list(dict.fromkeys(name.partition("[")[0] for name in split.names))
    variables = [model[name] for name in names]
    points = [v.type.clone(shape=(None, *v.type.shape))() for v in variables]
    graphs = []
    for rv, point in zip(variables, points, strict=True):
        transform = model.rvs_to_transforms[rv]
        u = rv if transform is None else transform.forward(rv, *inputs_of(rv))
        graphs.append(vectorize_graph(u, {rv: point}))
    function = evaluator(points, graphs)
    draws = [tree["posterior"][name].to_numpy() for name in names]
    chains, length = draws[0].shape[:2]
    flat = [np.asarray(x, dtype=np.float64).reshape(chains * length, *x.shape[2:]) for x in draws]
    with np.errstate(divide="ignore"):
        u = np.concatenate(
            [np.asarray(x).reshape(chains * length, -1) for x in function(*flat)], axis=1
        )
    ess = _effective_sample_size(tree, u.reshape(chains, length, -1))
    ordered = u.reshape(chains, length, -1)
    half = length // 2
    rows = np.concatenate(
        [part.reshape(-1, u.shape[1]) for part in (ordered[:, :half], ordered[:, half:])]
    )
    return rows[np.all(np.isfinite(rows), axis=1)], ess


def _effective_sample_size(tree: xr.DataTree, u: Floats) -> float:
    """Return the smallest ESS over draws u (chain, draw, d), or the ESS of importance weights."""
    stats = tree["sample_stats"].attrs
    if "ess_importance" in stats:
        return float(stats["ess_importance"])
    if "quadrature" in tree.children:
        return float(u.shape[0] * u.shape[1])
    return float(min(array_stats.ess(u[..., k], method="bulk") for k in range(u.shape[2])))


def check_comparable(trees: Mapping[str, xr.DataTree]) -> list[str]:
    """Check that fits are of the same data; return notes on limits of their comparison.

    Raises
    ------
    InputError
        If records, phenotypes or units of the priors differ.
    """
    (first, one), *others = trees.items()
    notes: list[str] = []
    y = one["observed_data"]["phenotype"].to_numpy()
    labels = [str(x) for x in one["observed_data"]["individual"].to_numpy()]
    for name, other in others:
        found = other["observed_data"]["phenotype"].to_numpy()
        other_labels = [str(x) for x in other["observed_data"]["individual"].to_numpy()]
        if other_labels != labels or not np.array_equal(found, y):
            raise InputError(
                f"the models {first} and {name} were fitted to different records "
                f"({len(labels)} and {len(other_labels)})",
                "the same records, in the same order, with the same values",
                "fit both to one cohort of individuals that have all the data any model needs",
            )
        for unit in ("phenotype_unit", "phenotype_centre"):
            one_unit, other_unit = (tree["constant_data"].get(unit) for tree in (one, other))
            if one_unit is None or other_unit is None:
                continue
            if not np.allclose(np.asarray(one_unit), np.asarray(other_unit), rtol=1e-12):
                raise InputError(
                    f"the priors of {first} and {name} have different units ({unit})",
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
    """Return whether the prior of β is flat: log p(y) then has an arbitrary constant."""
    return bool(improper_priors(model, "beta"))
