"""Checks of a fit on pairs of relatives, families and records.

All checks use the residuals ``r = My`` after the fixed effects, M the projection off X, or their
error contrasts ``r = Qe``, ``e ~ N(0, QᵀVQ)``, so that the prior of β does not matter. With
``P = Q (QᵀVQ)⁻¹ Qᵀ`` the rest of the data predict the records F (one, or a family) as ::

    y_F | y_-F ~ N(y_F - P_FF⁻¹ (Py)_F,  P_FF⁻¹)

with β and the random effects integrated out, and the variances at their posterior mean. The checks
are in `bayeslmm.checks.pair_likeness`, `bayeslmm.checks.families` and `bayeslmm.checks.records`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslmm.checks.families import FamilyCheck, check_families, families_of
from bayeslmm.checks.pair_likeness import PairCheck, check_pairs
from bayeslmm.checks.records import RecordCheck, check_records
from bayeslmm.checks.simple_models import coefficients, contrasts_of
from bayeslmm.likelihood.contrasts import Contrasts
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    import pandas as pd
    import pymc as pm
    import xarray as xr

    from bayeslmm.relationship.relationship import Relationship


REPLICATES = 400
REPLICATES_LARGE = 100  # beyond LARGE records
LARGE = 5000
COVARIANCES = 8  # posterior draws of V that are factorised, for several kernels


@dataclass(frozen=True, slots=True, eq=False)
class RelativeChecks:
    """The checks of one trait.

    Parameters
    ----------
    pairs
        None without a relationship.
    families, records
        Leave-family-out and leave-one-out checks.
    whitened
        (m,) error contrasts whitened by the model: independent with variance one.
    """

    pairs: PairCheck | None
    families: FamilyCheck
    records: RecordCheck
    whitened: Floats


def check_relatives(
    tree: xr.DataTree,
    relationship: Relationship | None = None,
    *,
    model: pm.Model | None = None,
    levels: NDArray[np.intp] | None = None,
    people: pd.MultiIndex | None = None,
    seed: int = 1,
) -> RelativeChecks:
    """Check a fit of one trait on its pairs of relatives, its families and its records.

    Parameters
    ----------
    tree
        Result of `bayeslmm.fit`.
    relationship
        The (genetic) relationship that bins the pairs, of the individuals analysed, in their order
        (`Relationship.on`). Without it pairs are not checked.
    model
        Needed if the tree has lost its model (`bayeslmm.inference.fitted.model_of`).
    levels
        (n,) index of each record's individual in the relationship. Default: record i belongs to
        individual i.
    people
        (q,) the individuals, for their family IDs; default the relationship's.
    seed
        Seed of the replicated data.

    Raises
    ------
    InputError
        If the model is unknown, or its phenotype is not marginally normal with one trait.
    """
    from bayeslmm.inference.fitted import model_of

    model = model_of(tree, model)
    contrasts = contrasts_of(model)
    labels = [str(one) for one in tree["observed_data"]["individual"].to_numpy()]
    return check_contrasts(
        contrasts,
        coefficients(model, tree),
        labels,
        relationship,
        levels=levels,
        people=people,
        seed=seed,
    )


def check_contrasts(
    contrasts: Contrasts,
    variance: Floats,
    labels: Sequence[str],
    relationship: Relationship | None = None,
    *,
    levels: NDArray[np.intp] | None = None,
    people: pd.MultiIndex | None = None,
    seed: int = 1,
) -> RelativeChecks:
    """Run the checks of `check_relatives` on error contrasts and posterior draws.

    Parameters
    ----------
    contrasts
        Error contrasts of the n records.
    variance
        (draws, K) posterior draws of the coefficients of V.
    labels
        (n,) names of the records.
    relationship, levels, people, seed
        As for `check_relatives`.
    """
    centre = contrasts.at(variance.mean(axis=0))
    n = contrasts.n
    owner = np.arange(n, dtype=np.intp) if levels is None else np.asarray(levels, dtype=np.intp)
    individuals = relationship.individuals if relationship is not None else people
    if individuals is not None and (owner.size != n or owner.max() >= len(individuals)):
        raise ValueError(f"{owner.size} levels of {len(individuals)} individuals, {n} records")
    pairs = None
    if relationship is not None and n > 2:
        replicated = _replicates(contrasts, variance, np.random.default_rng(seed))
        pairs = check_pairs(relationship, owner, contrasts.residuals(), replicated)
    scores = centre.scores()
    groups, basis = families_of(individuals, relationship, owner)
    return RelativeChecks(
        pairs,
        check_families(centre, scores, groups, basis),
        check_records(centre, scores, labels),
        centre.white,
    )


def _replicates(contrasts: Contrasts, variance: Floats, rng: np.random.Generator) -> Floats:
    """Draw residuals (n, replicates) of data from the posterior predictive."""
    count = REPLICATES if contrasts.n <= LARGE else REPLICATES_LARGE
    sets = count if contrasts.cheap else COVARIANCES
    picked = np.linspace(0, len(variance) - 1, sets).astype(int)
    return contrasts.replicates(variance[picked], count // sets, rng)
