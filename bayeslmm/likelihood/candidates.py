"""Candidates for prediction: the people of the records, and all whom their relationships know.

Terms of a model (`bayeslmm.likelihood.terms.Term`) are extended to all of them; the covariance of
the records stays what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.individuals import match_individuals
from bayeslmm.likelihood.terms import Term
from bayeslmm.relationship.relationship import Relationship, name_some
from bayeslmm.system.memory import require_memory

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort

type Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """N individuals, those of the terms first.

    Parameters
    ----------
    people
        (N,) FID and IID.
    rows
        By relationship: (N,) where each stands in it.
    order
        (N,) who comes first, second, ... in the first relationship.
    """

    people: pd.MultiIndex
    rows: Mapping[str, Positions]
    order: Positions


def find_candidates(
    cohort: Cohort,
    terms: Sequence[Term],
    relationships: Mapping[str, Relationship],
    individuals: pd.MultiIndex | None = None,
) -> Candidates:
    """The people of the cohort and the terms, and the others that all relationships have.

    Parameters
    ----------
    cohort
        The records analysed.
    terms
        Of the model; a maternal term also has the dams.
    relationships
        By the name of their term; those without a term play no role. They have to be the ones
        that the model was built with, before rows were chosen: with everybody in them.
    individuals
        Whom to keep of the others; default all.
    """
    used = {term.name: relationships[term.name] for term in terms if term.name in relationships}
    old = cohort.people
    for term in terms:
        if term.people is not None and not term.people.equals(old):
            old = old.append(term.people).unique()
    if not used:
        return Candidates(old, {}, np.arange(len(old)))
    first = next(iter(used.values()))
    rows = {name: positions(old, one, name) for name, one in used.items()}
    others = first.individuals.delete(rows[next(iter(rows))])
    if individuals is not None:
        wanted = individuals[positions_or_absent(individuals, old) < 0]
        where = positions(wanted, first, first.name)
        others = others[np.isin(first.individuals.get_indexer(others), where)]
    for one in list(used.values())[1:]:
        others = others[positions_or_absent(others, one.individuals) >= 0]
    if len(others):
        rows = {
            name: np.concatenate([rows[name], positions(others, one, name)])
            for name, one in used.items()
        }
    people = old.append(others) if len(others) else old
    size = 3 * 8 * len(people) ** 2 * len(used)
    require_memory(size, f"predictions of {len(people)} individuals", "name fewer individuals")
    return Candidates(people, rows, np.argsort(next(iter(rows.values())), kind="stable"))


def extend(
    term: Term, everyone: Candidates, cohort: Cohort, relationship: Relationship | None
) -> Term:
    """The term with everybody as its levels, as far as their kernel is known.

    Raises
    ------
    InputError
        If the relationship is not the one that the term was made of.
    """
    if term.people is None or (term.kernel is not None and relationship is None):
        return term
    index = everyone.people.get_indexer(term.people)
    kernel = None
    if term.kernel is not None and relationship is not None:
        rows = everyone.rows[term.name]
        factor = relationship.on(cohort.people).factor / relationship.factor
        kernel = relationship.matrix[np.ix_(rows, rows)] / factor
        gap = float(np.abs(kernel[np.ix_(index, index)] - term.kernel).max())
        if gap > 1e-6 * float(np.abs(term.kernel).max()):
            raise not_the_kernel(term.name)
    return replace(term, kernel=kernel, levels=index[term.levels], people=everyone.people)


def missing_relationship(name: str, relationships: Mapping[str, Relationship]) -> InputError:
    """The error for a genetic term without its relationship."""
    return InputError(
        f"no relationship '{name}' among those given: {', '.join(relationships) or 'none'}",
        "one for every genetic term of the model, by its name",
        "give the one that the model was built with, with all individuals in it",
    )


def not_the_kernel(name: str) -> InputError:
    """The error for a relationship with which the model was not built."""
    return InputError(
        f"the relationship '{name}' is not the kernel of the model",
        "the relationship that the model was built with, with everybody in it",
        "give that one, or fit the model again",
    )


def positions_or_absent(wanted: pd.MultiIndex, among: pd.MultiIndex) -> Positions:
    """Where each of the wanted stands, by ID; -1 where absent."""
    if len(wanted) == 0 or len(among) == 0:
        return np.full(len(wanted), -1)
    match = match_individuals(wanted, among)
    return np.full(len(wanted), -1) if match.fids_differ else match.positions


def positions(wanted: pd.MultiIndex, relationship: Relationship, name: str) -> Positions:
    """Rows of the wanted in a relationship.

    Raises
    ------
    InputError
        For those who have none; the first five are named.
    """
    rows = positions_or_absent(wanted, relationship.individuals)
    absent = np.flatnonzero(rows < 0)
    if absent.size:
        raise InputError(
            f"{absent.size} of {len(wanted)} individuals have no row in the relationship "
            f"'{name}': {name_some(wanted, absent)}",
            "every individual to be predicted in the matrix, by (FID, IID)",
            "leave them out, or compute the matrix with them",
            path=relationship.source or None,
        )
    return rows
