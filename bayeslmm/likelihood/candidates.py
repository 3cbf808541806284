"""Candidates for prediction: individuals with records, and others in their relationships.

Terms of a model (`bayeslmm.likelihood.terms.Term`) are extended to all of them; the covariance of
the records does not change.
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
    """N candidates for prediction, the individuals of the model's terms first.

    Parameters
    ----------
    people
        FID and IID (N,).
    rows
        By relationship: row of each candidate in it (N,).
    order
        Candidates (N,) in the order of the first relationship.
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
    """Find the individuals of the cohort and the terms, and others in all relationships.

    Parameters
    ----------
    cohort
        The records analysed.
    terms
        Terms of the model; a maternal term also has the dams.
    relationships
        Relationships by the name of their term; those without a term are ignored. They must be the
        complete matrices of the model, with all individuals.
    individuals
        The other individuals to include; default all.
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
    term: Term, candidates: Candidates, cohort: Cohort, relationship: Relationship | None
) -> Term:
    """Extend the levels of a term to all candidates; unchanged if their kernel is not known.

    Raises
    ------
    InputError
        If the relationship is not the kernel of the term.
    """
    if term.people is None or (term.kernel is not None and relationship is None):
        return term
    index = candidates.people.get_indexer(term.people)
    kernel = None
    if term.kernel is not None and relationship is not None:
        rows = candidates.rows[term.name]
        factor = relationship.on(cohort.people).factor / relationship.factor
        kernel = relationship.matrix[np.ix_(rows, rows)] / factor
        gap = float(np.abs(kernel[np.ix_(index, index)] - term.kernel).max())
        if gap > 1e-6 * float(np.abs(term.kernel).max()):
            raise wrong_kernel_error(term.name)
    return replace(term, kernel=kernel, levels=index[term.levels], people=candidates.people)


def missing_relationship_error(name: str, relationships: Mapping[str, Relationship]) -> InputError:
    """Return the error for a genetic term without its relationship."""
    return InputError(
        f"no relationship '{name}' among those given: {', '.join(relationships) or 'none'}",
        "one for every genetic term of the model, by its name",
        "give the relationship of the model, with all individuals in it",
    )


def wrong_kernel_error(name: str) -> InputError:
    """Return the error for a relationship that is not the model's."""
    return InputError(
        f"the relationship '{name}' is not the kernel of the model",
        "the relationship of the model, with all individuals in it",
        "give that one, or fit the model again",
    )


def positions_or_absent(wanted: pd.MultiIndex, among: pd.MultiIndex) -> Positions:
    """Return the position of each wanted individual, by ID; -1 if absent."""
    if len(wanted) == 0 or len(among) == 0:
        return np.full(len(wanted), -1)
    match = match_individuals(wanted, among)
    return np.full(len(wanted), -1) if match.fids_differ else match.positions


def positions(wanted: pd.MultiIndex, relationship: Relationship, name: str) -> Positions:
    """Return the rows of the wanted individuals in a relationship.

    Raises
    ------
    InputError
        If individuals are absent; it names the first five.
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
