"""A data set of 48 records or so for every model, and simulation studies on it.

    θ ~ p(θ),   y ~ p(y | θ),   draws ~ p(θ | y) by the engine

Everything is read off the PyMC model: θ and y are drawn from its own graph, the phenotype is
exchanged in the compiled model, and the units of the priors, which `set_phenotype` takes from y,
are put back to those that θ was drawn with. The problems are small but not vague: few variants a
kernel, families, several records.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pymc as pm
from engine_oracles import gram
from kernel_problems import people, relationship_of_pedigree
from numpy.typing import NDArray

from bayeslmm import models
from bayeslmm.cohort import Cohort
from bayeslmm.components import set_phenotype
from bayeslmm.engines import exact, laplace
from bayeslmm.engines.gaussian import gaussian
from bayeslmm.engines.hyper import covariance_inputs, why_not_laplace
from bayeslmm.engines.marginal import why_not_exact
from bayeslmm.engines.tree import PYTHON
from bayeslmm.relationship import Relationship
from bayeslmm.trait_stack import stack_traits
from bayeslmm.variants import Variants

type Floats = NDArray[np.float64]

N = 48


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Truths and posteriors of many simulated data sets.

    Parameters
    ----------
    names
        (q,) of the quantities: every entry of every free variable, total sds as logarithms, and
        ``log_likelihood``, log p(y | θ).
    truth
        (simulations, q).
    draws
        (simulations, draws, q).
    pareto_k
        (simulations,) k̂ of the Laplace engine, 0 for the exact one.
    fallen_back
        (simulations,) Did the engine say that its weights cannot be trusted, and go on to NUTS?
    evaluations
        (simulations,) density evaluations.
    """

    names: tuple[str, ...]
    truth: Floats
    draws: Floats
    pareto_k: Floats
    fallen_back: NDArray[np.bool_]
    evaluations: Floats


def kernel(seed: int, variants: int = 20, n: int = N) -> Floats:
    """A centred GRM of few variants."""
    return gram(n, variants, np.random.default_rng(seed))


def relationship(seed: int, name: str = "additive", n: int = N) -> Relationship:
    return Relationship(kernel(seed, n=n), people(n), name=name)


def grouping(codes: NDArray[Any], name: str) -> Relationship:
    """Shared environment of a grouping, as a kernel."""
    K = (codes[:, None] == codes).astype(np.float64)
    usual = {"kernel_scale": "none", "kind": "environment", "estimator": "group"}
    return Relationship(K, people(len(codes)), name=name, **usual)  # type: ignore[arg-type]


def records(
    who: NDArray[Any], *, several: bool = False, columns: Any = None, trait: str = "trait"
) -> Cohort:
    """Records of the individuals `who`, with a covariate; y only sets the unit of the priors."""
    rng = np.random.default_rng(31)
    n = len(who)
    X = np.column_stack([np.ones(n), 3.0 + rng.standard_normal(n)])
    labels = tuple(f"r{k}" for k in range(n)) if several else None
    table = None if columns is None else pd.DataFrame(columns)
    individuals = people(int(who.max()) + 1)[who]
    return Cohort(30 + 2 * rng.standard_normal(n), X, individuals, ("intercept", "x"), trait,
                  records=labels, columns=table)  # fmt: skip


def problem(model: str) -> tuple[Cohort, tuple[Any, ...]]:
    """Records and matrices for a model of the gallery.

    Raises
    ------
    KeyError
        For a model that has no problem yet: add one.
    """
    alone, rng = records(np.arange(N)), np.random.default_rng(17)
    twice = np.repeat(np.arange(24), 2)
    if model in ("additive", "additive_cholesky"):
        return alone, (relationship(1),)
    if model == "snp_effects":
        return alone, (Variants(rng.standard_normal((N, 20)), people(N)),)
    if model == "dominance":
        return alone, (relationship(1), relationship(2, "dominance"))
    if model == "epistasis":
        names = ("additive", "dominance", "additive_additive", "additive_dominance")
        return alone, tuple(relationship(k, name) for k, name in enumerate(names, 1))
    if model == "partitioned":
        return alone, tuple(relationship(k, f"chr{k}") for k in (1, 2, 3))
    if model == "household":
        return alone, (relationship(1), grouping(np.arange(N) // 4, "household"))
    if model == "repeated":
        who = rng.permutation(np.repeat(np.arange(20), [1, 2, 3, 4] * 5))
        return records(who, several=True), (relationship(1, n=20),)
    if model == "maternal":
        parents = [(-1, -1)] * 18  # 6 sires and 12 dams, each dam with four offspring by two sires
        parents += [((k // 4 + k % 2) % 6, 6 + k // 4) for k in range(N)]
        A = np.asarray(relationship_of_pedigree(parents), dtype=np.float64)
        dams = pd.array([f"i{6 + k // 4}" for k in range(N)], dtype="str")
        K = Relationship(A, people(18 + N), estimator="pedigree", kernel_scale="none")
        return records(18 + np.arange(N), columns={"dam": dams}), (K,)
    if model == "gxe":
        group = pd.array(np.where(np.arange(N) % 3 == 0, "farm", "field"), dtype="str")
        columns = {"environment": rng.standard_normal(N), "group": group}
        return records(twice, several=True, columns=columns), (relationship(1, n=24),)
    if model == "bivariate":
        return stack_traits([records(np.arange(N), trait=t) for t in "ab"]), (relationship(1),)
    if model == "bivariate, some missing":
        present = {"a": np.arange(36), "b": np.arange(12, N)}
        stacked = stack_traits([records(who, trait=t) for t, who in present.items()])
        return stacked, (relationship(1),)
    raise KeyError(f"no problem for the model {model!r}: add one to tests/sbc_models.py")


@cache
def built(name: str) -> pm.Model:
    """The model on its problem."""
    cohort, matrices = problem(name)
    return models.load(name.partition(",")[0])(cohort, *matrices)


def served(name: str) -> str | None:
    """The engine whose draws are near-independent: exact, laplace, or None."""
    model = built(name)
    if why_not_exact(model) is None:
        return "exact"
    return "laplace" if why_not_laplace(model) is None else None


def exchange(model: pm.Model, y: Floats) -> None:
    """Another phenotype, with the units of the priors as they are."""
    kept = {name: model[name].get_value() for name in ("phenotype_unit", "phenotype_centre")}
    set_phenotype(model, y)
    pm.set_data(kept, model=model)


def flat(model: pm.Model, values: dict[str, Any]) -> tuple[list[str], Floats]:
    """Names (q,) and draws (S, q) of all free variables, total sds as logarithms."""
    names, columns = [], []
    for rv in model.free_RVs:
        array = np.asarray(values[rv.name])
        array = array.reshape(len(array), -1)
        log = rv.name == "total_sd"
        columns.append(np.log(array) if log else array)
        name = f"log {rv.name}" if log else rv.name
        names += [f"{name}[{k}]" if rv.ndim else name for k in range(array.shape[1])]
    return names, np.concatenate(columns, axis=1)


def study(name: str, simulations: int = 100, draws: int = 150, seed: int = 1) -> Study:
    """Simulate from the prior of a model, and fit."""
    model = built(name)
    before = np.asarray(model["phenotype_observed"].get_value())
    rng = np.random.default_rng([seed, *name.encode()])
    wanted = [*model.free_RVs, model["beta"], *covariance_inputs(model), model["phenotype"]]
    found = pm.draw(wanted, draws=simulations, random_seed=rng, mode=PYTHON)
    count = len(model.free_RVs)
    names, truth = flat(model, {rv.name: x for rv, x in zip(model.free_RVs, found, strict=False)})
    beta, parameters, phenotypes = found[count], found[count + 1 : -1], found[-1]
    engine = served(name)
    log_likelihood = np.empty(simulations)
    posteriors, ks, fallen, evaluations = [], [], [], []
    for i in range(simulations):
        exchange(model, phenotypes[i])
        quadratic = gaussian(model).quadratic([x[i] for x in parameters])
        assert quadratic is not None
        log_likelihood[i] = quadratic.at(beta[i])
        if engine == "exact":
            solved, values = exact.fit_one(model, draws, rng)
            own, k, fell, spent = solved.draws.log_likelihood, 0.0, False, 0
        else:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                drawn = laplace.fit_one(model, draws, 4, rng, workers=1)
            values, own, k = drawn.values, drawn.log_likelihood, drawn.weighted.pareto_k
            fell, spent = drawn.chains, drawn.weighted.evaluations
            assert fell == any("importance sampling failed" in str(one.message) for one in said)
        posteriors.append(np.column_stack([flat(model, values)[1], own]))
        ks.append(k)
        fallen.append(fell)
        evaluations.append(spent)
    exchange(model, before)
    return Study(
        (*names, "log_likelihood"),
        np.column_stack([truth, log_likelihood]),
        np.stack(posteriors),
        np.array(ks),
        np.array(fallen),
        np.array(evaluations, dtype=np.float64),
    )
