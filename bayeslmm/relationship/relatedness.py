"""Checks of a sample by its relationship matrix: twins, duplicates, outliers on the diagonal."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.pair_histogram import pairs_above
from bayeslmm.relationship.relationship import Relationship, name_some, pair_name

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort

type Pairs = NDArray[np.intp]

TWIN = 0.95  # correlation above which two individuals are twins or duplicates
DIAGONAL = (0.5, 2.0)  # usual range of G_ii / mean diagonal
IDENTICAL = 1e-6  # rows that differ by less, relative to the mean diagonal, are equal
DISCRETE = 1e-3  # a trait is discrete if a larger share of unrelated pairs is tied


def relationship_warnings(relationship: Relationship) -> list[str]:
    """Return warnings about a relationship matrix, one sentence each, with up to five names.

    Two facts are reported: diagonal entries above 2 or below 0.5 times the mean (inbreeding, mixed
    ancestry, many missing genotypes), and pairs with a correlation ``G_ij/√(G_ii G_jj)`` above 0.95
    (twins or duplicated samples).
    """
    matrix, individuals = relationship.matrix, relationship.individuals
    diagonal = np.diagonal(matrix) / np.diagonal(matrix).mean()
    found = []
    for which, words in (
        (np.flatnonzero(diagonal > DIAGONAL[1]), "above 2 times"),
        (np.flatnonzero(diagonal < DIAGONAL[0]), "below half of"),
    ):
        if which.size:
            found.append(
                f"{which.size} of {relationship.n} individuals have a diagonal entry of the "
                f"{relationship.name} relationship {words} the mean "
                f"({name_some(individuals, which)}): look for inbreeding, other ancestry or many "
                "missing genotypes"
            )
    pairs = close_pairs(relationship)
    if len(pairs):
        found.append(
            f"{len(pairs)} pairs of individuals have a correlation above {TWIN} in the "
            f"{relationship.name} relationship ({_name_pairs(individuals, pairs)}): twins, or "
            "duplicated samples"
        )
    return found


def close_pairs(relationship: Relationship, threshold: float = TWIN) -> Pairs:
    """Find pairs with a correlation ``G_ij/√(G_ii G_jj)`` above the threshold.

    Returns
    -------
    pairs
        (k, 2) positions i < j, in ascending order.
    """
    matrix = relationship.matrix
    diagonal = np.diagonal(matrix)
    with np.errstate(divide="ignore"):
        weight = np.where(diagonal > 0, np.maximum(diagonal, 0.0) ** -0.5, 0.0)
    return np.asarray(pairs_above(matrix, weight, threshold))


def check_duplicates(relationship: Relationship, y: ArrayLike, *, proper: bool = False) -> None:
    """Raise `InputError`, or warn, if individuals occur twice with the same phenotype.

    A duplicate of genotype and phenotype tells the model that equal genotypes have equal
    phenotypes. Each such pair adds ``½ log 1/(1-h²)`` to the log likelihood as h² → 1, so with two
    pairs the posterior under a flat prior is improper. Twins with different phenotypes are
    harmless.

    The rule concerns pairs with a correlation above 0.95 and equal y:

    - Continuous trait: one pair is a warning, two are an error, because equal values of a
      continuous trait are copies.
    - Discrete trait (binary, counts, rounded values: more than 1 in 1000 of the other pairs have
      equal y): equal y does not show a copy. It is an error only if the posterior is improper, and
      otherwise a warning. The posterior is improper if at least two pairs have equal rows in the
      matrix (to 1e-6 of the mean diagonal) and equal y, and no pair with equal rows differs in y;
      one pair that differs bounds h² away from 1.

    Parameters
    ----------
    relationship
        Relationships of the q individuals analysed.
    y
        (q,) phenotypes in the order of the relationship.
    proper
        Whether the posterior is proper for any y, as in a Bernoulli model, where y is discrete
        given the genetic values. Copies are then a warning only. Default: False.

    Raises
    ------
    InputError
        As above; the message names the first five pairs.

    Warns
    -----
    BayesLMMWarning
        As above.
    """
    values = np.asarray(y, dtype=np.float64)
    close, copies = _copies(relationship, values)
    if not len(copies):
        return
    names = _name_pairs(relationship.individuals, copies)
    count = f"{len(copies)} pair{'s' if len(copies) > 1 else ''} of individuals"
    found = f"{count} with a genetic correlation above {TWIN} and exactly equal phenotypes: {names}"
    if _is_discrete(values, close, copies):
        improper = _improper(relationship.matrix, values, close)
    else:
        improper = len(copies) > 1
    if improper and not proper:
        raise InputError(
            found,
            "every individual once: copies make heritability 1 by construction (with two of them "
            "the posterior is improper)",
            "remove one of each pair (--remove); if they are twins, give each the phenotype that "
            "was measured",
        )
    warnings.warn(
        f"{found}; if these are copies of one individual rather than twins, remove one of each "
        "pair (--remove): copies drive heritability towards 1",
        BayesLMMWarning,
        stacklevel=2,
    )


def values_of_people(cohort: Cohort) -> Floats:
    """A number (q,) for each individual, equal for two whose records are all the same.

    The phenotype itself where each has one record; else the place of its records (traits and
    values) among the different ones.
    """
    if cohort.trait_index is None and len(cohort.people) == cohort.n:
        return cohort.y
    records: list[list[tuple[int, float]]] = [[] for _ in range(len(cohort.people))]
    traits = np.zeros(cohort.n, dtype=np.intp) if cohort.trait_index is None else cohort.trait_index
    for person, trait, value in zip(cohort.levels, traits, cohort.y, strict=True):
        records[person].append((int(trait), float(value)))
    known: dict[tuple[tuple[int, float], ...], int] = {}
    codes = [known.setdefault(tuple(sorted(one)), len(known)) for one in records]
    return np.array(codes, dtype=np.float64)


def _copies(relationship: Relationship, y: ArrayLike) -> tuple[Pairs, Pairs]:
    """Return the close pairs, and the close pairs with equal y."""
    values = np.asarray(y, dtype=np.float64)
    if values.shape != (relationship.n,):
        raise InputError(
            f"phenotypes of shape {values.shape} for {relationship.n} individuals",
            f"shape ({relationship.n},)",
            "choose the individuals first: relationship.on(cohort.individuals)",
        )
    close = close_pairs(relationship)
    return close, close[values[close[:, 0]] == values[close[:, 1]]]


def _is_discrete(values: Floats, close: Pairs, copies: Pairs) -> bool:
    """Tell whether equal values are common among pairs that are not close."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    tied = float((counts * (counts - 1) / 2).sum()) - len(copies)
    others = values.size * (values.size - 1) / 2 - len(close)
    return others > 0 and tied / others > DISCRETE


def _improper(matrix: Floats, values: Floats, close: Pairs) -> bool:
    """Tell whether at least two pairs have equal rows, and all of these have equal values."""
    tolerance = IDENTICAL * float(np.diagonal(matrix).mean())
    same = np.array([np.abs(matrix[i] - matrix[j]).max() <= tolerance for i, j in close])
    identical = close[same]
    equal = values[identical[:, 0]] == values[identical[:, 1]]
    return len(identical) > 1 and bool(equal.all())


def _name_pairs(individuals: pd.MultiIndex, pairs: Pairs) -> str:
    shown = "; ".join(pair_name(individuals, i, j) for i, j in pairs[:5])
    return shown + ("; ..." if len(pairs) > 5 else "")
