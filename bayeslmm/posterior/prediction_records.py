"""Posterior predictive distribution of new records: ``y = Xβ + Σ w u + ε``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pymc as pm
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.effects_candidates import ExtendedEffects, extend_effects
from bayeslmm.inference.tree import Variables
from bayeslmm.likelihood.candidates import positions_or_absent
from bayeslmm.models.family import family_of, require_gaussian
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread
from bayeslmm.posterior.prediction import posterior_variables
from bayeslmm.posterior.running import RunningMoments
from bayeslmm.relationship.relationship import Relationship, name_some
from bayeslmm.relationship.variants import Variants

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


@one_thread()
def predict_phenotype(
    model: pm.Model,
    tree: xr.DataTree,
    cohort: Cohort,
    relationships: Mapping[str, Relationship | Variants],
    individuals: pd.MultiIndex,
    X: ArrayLike | pd.DataFrame,
    *,
    trait: str | None = None,
    weights: Mapping[str, ArrayLike] | None = None,
    group: ArrayLike | None = None,
    prob: float = 0.95,
    seed: int = 1,
) -> pd.DataFrame:
    """Summarise the posterior predictive distribution of new records, ``y = Xβ + Σ w u + ε``.

    Parameters
    ----------
    model, tree, cohort, relationships
        As for `prediction_table`.
    individuals
        (r,) individual of each record; an individual may occur several times.
    X
        (r, p) covariates in the order of ``cohort.covariates``, the intercept first; columns of a
        DataFrame are matched by name. In a model of several traits the other traits' columns are 0.
    trait
        Name of the trait, if the model has several.
    weights
        For terms of several effects the weight (r,) of each by name, such as ``{"intercept": 1,
        "slope": x}`` with x standardised as in the model `gxe`.
    group
        (r,) class of the residual variance, if the model has several.
    prob, seed
        As for `prediction_table`.

    Returns
    -------
    DataFrame
        ``FID IID trait mean sd lower upper``, one row per record.

    Raises
    ------
    InputError, ModelError
        If individuals are absent from a kernel, weights of effects are missing, or the phenotype
        is not Gaussian.

    Examples
    --------
    >>> import numpy as np
    >>> import bayeslmm as bl
    >>> rng = np.random.default_rng(1)
    >>> genotypes = bl.from_array(rng.binomial(2, 0.4, size=(40, 100)))
    >>> grm = bl.compute_grm(genotypes)
    >>> analysed = genotypes.individuals[:35]
    >>> cohort = bl.cohort_from_arrays(rng.normal(size=35), individuals=analysed)
    >>> model = bl.models.additive(cohort, grm)
    >>> tree = bl.fit(model, draws=400)
    >>> new = genotypes.individuals[35:37]
    >>> table = bl.predict_phenotype(model, tree, cohort, {"additive": grm}, new, np.ones((2, 1)))
    >>> table[["IID", "trait"]].assign(covers_0=table["lower"].lt(0) & table["upper"].gt(0))
      IID trait  covers_0
    0  36     y      True
    1  37     y      True
    """
    require_gaussian(family_of(model), "predicted records")
    variables = posterior_variables(tree)
    wide = extend_effects(model, cohort, relationships, individuals)
    design = _design(X, cohort, len(individuals))
    entries = _entries(wide, cohort, individuals, trait, weights)
    residual = _residual(wide, variables, cohort, trait, group, len(individuals))
    beta = np.asarray(variables["beta"][1]).reshape(-1, cohort.p)
    rng = np.random.default_rng(seed)
    found = RunningMoments(len(beta), prob)
    for part in wide.draws(variables, rng):
        m = beta[part.where] @ design.T
        d = np.sqrt(residual[part.where]) * rng.standard_normal(m.shape)
        for name, index, weight in entries:
            m += part.mean[name][:, index] * weight
            d += part.deviation[name][:, index] * weight
        found.add(m, d)
    mean, sd = found.moments()
    lower, upper = found.interval()
    columns = {
        "FID": individuals.get_level_values(0),
        "IID": individuals.get_level_values(1),
        "trait": trait or cohort.trait,
        "mean": mean,
        "sd": sd,
        "lower": lower,
        "upper": upper,
    }
    return pd.DataFrame(columns)


def _design(X: ArrayLike | pd.DataFrame, cohort: Cohort, r: int) -> Floats:
    if isinstance(X, pd.DataFrame):
        if absent := [name for name in cohort.covariates if name not in X.columns]:
            raise InputError(f"X without {', '.join(absent)}", "every covariate", "add them")
        X = X[list(cohort.covariates)]
    array = np.asarray(X, dtype=np.float64)
    if array.shape != (r, cohort.p) or not np.isfinite(array).all():
        raise InputError(
            f"X of shape {array.shape} with {int((~np.isfinite(array)).sum())} missing values",
            f"({r}, {cohort.p}): {', '.join(cohort.covariates)}",
            "give every covariate of every record, the intercept (1) first",
        )
    return array


def _entries(
    wide: ExtendedEffects,
    cohort: Cohort,
    individuals: pd.MultiIndex,
    trait: str | None,
    weights: Mapping[str, ArrayLike] | None,
) -> list[tuple[str, NDArray[np.intp], Floats]]:
    """Return the effects of the new records: name, level of each record, weight in each record."""
    given = dict(weights or {})
    if (trait is None) != (cohort.trait_index is None) or trait not in (None, *cohort.traits):
        raise InputError(f"trait {trait!r}", f"one of {', '.join(cohort.traits)}", "name it")
    found = []
    for term in wide.terms:
        if trait is not None:
            used: list[tuple[str, ArrayLike]] = [(f"{term.name}:{trait}", 1.0)]
        elif term.k == 1:
            used = [(term.columns[0], given.get(term.columns[0], 1.0))]
        else:
            used = [(name, given[name]) for name in term.columns if name in given]
        if not used or term.people is None:
            raise ModelError(
                f"the weights of {', '.join(term.columns)} in a new record are not known -> "
                "records that depend on their own individual only, or weights= for each effect -> "
                "prediction_table gives the genetic values"
            )
        index = positions_or_absent(individuals, term.people)
        if (absent := np.flatnonzero(index < 0)).size:
            raise InputError(
                f"'{term.name}' of {name_some(individuals, absent)} is not known",
                f"a relationship '{term.name}' with all individuals to be predicted",
                "give it by this name",
            )
        for name, weight in used:
            full = np.broadcast_to(np.asarray(weight, dtype=np.float64), len(individuals))
            found.append((name, index, full))
    return found


def _residual(
    wide: ExtendedEffects,
    variables: Variables,
    cohort: Cohort,
    trait: str | None,
    group: ArrayLike | None,
    r: int,
) -> Floats:
    """Return residual variances (draws, r) of the new records; 0 if the residual is a term."""
    variance = wide.sigmas(variables)[1]
    if wide.residual is None:
        return np.zeros((len(variance), r))
    if trait is not None:
        return np.repeat(variance[:, [cohort.traits.index(trait)]], r, axis=1)
    if variance.shape[1] == 1:
        return np.repeat(variance, r, axis=1)
    codes = np.asarray(-1 if group is None else group)
    if codes.shape != (r,) or codes.min() < 0 or codes.max() >= variance.shape[1]:
        raise InputError(
            f"no residual class for {r} records",
            f"group= with numbers from 0 to {variance.shape[1] - 1}, one per record",
            "number the groups in the order of their first record",
        )
    return np.asarray(variance[:, codes])
