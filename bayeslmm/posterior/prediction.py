"""Genetic values of all individuals, with and without records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr

from bayeslmm.distributions.phenotype import marginal_of
from bayeslmm.errors import InputError
from bayeslmm.inference.effects_candidates import ExtendedEffects, extend_effects
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.marginal import Effects, Prediction
from bayeslmm.models.family import family_of
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.posterior.running import RunningMoments
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.likelihood.terms import Term


COLUMNS = [
    *("FID", "IID", "trait", "component", "mean", "sd", "lower", "upper"),
    *("reliability", "phenotyped"),
]
MOST, MOST_DENSE = 200, 50  # largest number of draws over which reliability is averaged


@one_thread()
def prediction_table(
    model: pm.Model,
    tree: xr.DataTree,
    cohort: Cohort,
    relationships: Mapping[str, Relationship | Variants],
    prob: float = 0.95,
    seed: int = 1,
    *,
    individuals: pd.MultiIndex | None = None,
) -> pd.DataFrame:
    """Summarise the posterior of the genetic values of all individuals, phenotyped or not.

    Parameters
    ----------
    model, tree
        A model and its fit, the result of `bayeslmm.fit`.
    cohort
        The cohort of the model.
    relationships
        The model's relationships by the name of the term ("additive", "dominance", ...), with all
        individuals in them: the cohort and the individuals to predict.
    prob
        Probability of the equal-tailed intervals.
    seed
        Seed; the same seed gives the same numbers.
    individuals
        Individuals to predict in addition to the cohort; default all in the relationships.

    Returns
    -------
    DataFrame
        ``FID IID trait component mean sd lower upper reliability phenotyped``, one row for each
        individual (in the order of the first relationship) and genetic effect. With several
        genetic terms their sum is the component "total". ``phenotyped``: has a record of the trait.
        Reliability is the squared correlation of the predicted and the true genetic value at given
        variances, ``1 - PEV/(σ² K_ii)`` with Henderson's prediction error variance, K on the scale
        analysed; its mean over the posterior of the variances (over at most 200 draws, 50 where
        each needs a factorisation). It is 0 without data. For a phenotype that is not Gaussian it
        is ``1 - sd²/(E[σ²] K_ii)``, sd and E over the posterior.

    Raises
    ------
    InputError, ModelError
        If a relationship is missing or not the model's, or draws of a latent g were not kept.
    """
    variables = posterior_variables(tree)
    wide = extend_effects(model, cohort, relationships, individuals)
    genetic = [term for term in wide.terms if term.genetic and term.kernel is not None]
    total = [term.name for term in genetic if term.k == 1]
    total = total if len(total) > 1 else []
    sums, found = quantities(genetic, total), dict[str, RunningMoments]()
    draws = int(np.prod(np.shape(variables["beta"][1])[:2]))
    for part in wide.draws(variables, np.random.default_rng(seed)):
        for name in sums:
            one = found.setdefault(name, RunningMoments(draws, prob))
            one.add(*_mean_and_deviation(part, name, total))
    moments = {name: one.moments() for name, one in found.items()}
    if family_of(model).gaussian:
        reliable = reliabilities(wide, variables, genetic, total, cohort.X)
    else:  # the information of a record depends on g
        prior = prior_variances(wide, genetic, wide.sigmas(variables)[0], total)
        reliable = {x: ratio(prior[x] - sd**2, prior[x]) for x, (_, sd) in moments.items()}
    rows = {name: (*moments[name], *one.interval(), reliable[name]) for name, one in found.items()}
    return table(wide, cohort, rows)


def reliabilities(
    wide: ExtendedEffects,
    variables: Variables,
    terms: Sequence[Term],
    total: Sequence[str],
    X: Floats,
) -> dict[str, Floats]:
    """Average ``1 - PEV/(σ² K_ii)`` (N,) over the posterior, by effect."""
    sums = quantities(terms, total)
    marginal = marginal_of(wide.model)
    most = MOST_DENSE if marginal is None or marginal.expensive else MOST
    sigmas = wide.sigmas(variables)[0]
    count = len(sigmas[0])
    chosen = np.linspace(0, count - 1, min(most, count)).astype(np.intp)
    mean = {name: np.zeros(len(wide.candidates.people)) for name in sums}
    for k, explained in zip(chosen, wide.explained(variables, chosen, sums, X), strict=True):
        prior = prior_variances(wide, terms, [S[k : k + 1] for S in sigmas], total)
        for name, value in explained.items():
            mean[name] += ratio(value, prior[name]) / len(chosen)
    return mean


def ratio(explained: Floats, prior: Floats) -> Floats:
    """Return the proportion (N,) of prior variances that is explained, between 0 and 1."""
    found = np.divide(explained, prior, out=np.zeros_like(prior), where=prior > 0)
    return np.clip(found, 0.0, 1.0)


def quantities(terms: Sequence[Term], total: Sequence[str]) -> dict[str, list[str]]:
    """Return the effects that each component adds up: one, or all of the total."""
    found = {name: [name] for term in terms for name in term.columns}
    return found | ({"total": [*total]} if total else {})


def _mean_and_deviation(part: Prediction, name: str, total: Sequence[str]) -> tuple[Floats, Floats]:
    if name != "total":
        return part.mean[name], part.deviation[name]
    return _sum(part.mean, total), _sum(part.deviation, total)


def _sum(effects: Effects, names: Sequence[str]) -> Floats:
    return np.sum([effects[name] for name in names], axis=0, dtype=np.float64)


def posterior_variables(tree: xr.DataTree) -> Variables:
    """Return all posterior draws of a fit as variables of the engines."""
    if "posterior" not in tree.children:
        raise InputError("a tree without a posterior", "the result of fit()", "give that")
    found = tree["posterior"].to_dataset()
    return {str(k): (tuple(map(str, v.dims)), v.to_numpy()) for k, v in found.data_vars.items()}


def prior_variances(
    wide: ExtendedEffects, terms: Sequence[Term], sigmas: Sequence[Floats], total: Sequence[str]
) -> dict[str, Floats]:
    """Compute ``E[σ²] K_ii`` (N,) of every genetic effect, by name, and of their total."""
    found: dict[str, Floats] = {}
    for term, S in zip(wide.terms, sigmas, strict=True):
        if term in terms and term.kernel is not None:
            for j, name in enumerate(term.columns):
                found[name] = S[:, j, j].mean() * np.diagonal(term.kernel)
    if total:
        found["total"] = np.sum([found[name] for name in total], axis=0)
    return found


def table(
    wide: ExtendedEffects,
    cohort: Cohort,
    rows: Mapping[str, tuple[Floats, Floats, Floats, Floats, Floats]],
) -> pd.DataFrame:
    """Build `prediction_table` from (mean, sd, lower, upper, reliability) by effect."""
    order, tables = wide.candidates.order, []
    people = wide.candidates.people[order]
    for name, (mean, sd, lower, upper, reliability) in rows.items():
        component, trait = name, cohort.trait
        records = cohort.individuals
        if cohort.trait_index is not None and ":" in name:
            component, trait = name.split(":", 1)
            records = records[cohort.trait_index == cohort.traits.index(trait)]
        columns = {
            "FID": people.get_level_values(0),
            "IID": people.get_level_values(1),
            "trait": trait,
            "component": component,
            "mean": mean[order],
            "sd": sd[order],
            "lower": lower[order],
            "upper": upper[order],
            "reliability": reliability[order],
            "phenotyped": people.isin(records),
        }
        tables.append(pd.DataFrame(columns, columns=COLUMNS))
    return pd.concat(tables, ignore_index=True)
