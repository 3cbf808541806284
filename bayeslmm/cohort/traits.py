"""Several traits in one cohort, stacked trait by trait, with a block-diagonal design.

    y = (y_A, y_B, ...),   X = [X_A 0 ...; 0 X_B ...; ...]

Each trait keeps its own missing values and its own fixed effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import block_diag

from bayeslmm.cohort.checks import block_starts
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index, labels_of
from bayeslmm.ledger import Ledger, Step


@dataclass(frozen=True, slots=True, eq=False)
class TraitBlock:
    """The part of a stacked cohort that belongs to one trait.

    Parameters
    ----------
    trait
        Name of the trait.
    rows, columns
        Its records and its columns of the design.
    """

    trait: str
    rows: slice
    columns: slice


def stack_traits(cohorts: Sequence[Cohort]) -> Cohort:
    """Stack cohorts of one trait each.

    Parameters
    ----------
    cohorts
        Two or more, with different traits and the same further columns (or none). Each has its own
        individuals and design.

    Returns
    -------
    Cohort
        Records trait by trait, named "LABEL TRAIT"; `X` is block diagonal with columns
        "sex[TRAIT]"; `trait` is "A,B". The ledger holds shared steps once, then each trait's steps.

    Raises
    ------
    InputError
        If there are fewer than two traits, a trait repeats, a cohort is already stacked, or
        further columns differ.
    """
    traits = tuple(one.trait for one in cohorts)
    if len(cohorts) < 2:
        raise InputError(f"{len(cohorts)} trait to stack", "two or more", "name them: A,B")
    for one in cohorts:
        if one.trait_index is not None:
            raise InputError(
                f"the cohort of '{one.trait}' has several traits", "cohorts of one trait each",
                "stack them all in one call",
            )  # fmt: skip
    if len(set(traits)) != len(traits):
        raise InputError(f"traits {traits}", "each once", "drop the repeated one")
    pairs = [pair for one in cohorts for pair in one.individuals]
    individuals = individual_index([fid for fid, _ in pairs], [iid for _, iid in pairs])
    people = individuals.unique()
    labels = np.array(labels_of(people), dtype=object)
    names = [
        f"{label} {one.trait}"
        for one in cohorts
        for label in (one.records or labels[people.get_indexer(one.individuals)])
    ]
    return Cohort(
        y=np.concatenate([one.y for one in cohorts]),
        X=np.ascontiguousarray(block_diag(*(one.X for one in cohorts))),
        individuals=individuals,
        covariates=tuple(f"{name}[{one.trait}]" for one in cohorts for name in one.covariates),
        trait=",".join(traits),
        ledger=_merge(cohorts),
        records=tuple(names),
        trait_index=np.repeat(np.arange(len(cohorts), dtype=np.intp), [one.n for one in cohorts]),
        traits=traits,
        columns=_stack_columns(cohorts),
        codings=tuple(coding for one in cohorts for coding in one.codings or ("",)),
    )


def trait_blocks(cohort: Cohort) -> list[TraitBlock]:
    """Return rows and columns of each trait, in order; one block for one trait."""
    if cohort.trait_index is None:
        return [TraitBlock(cohort.trait, slice(0, cohort.n), slice(0, cohort.p))]
    rows = np.searchsorted(cohort.trait_index, np.arange(len(cohort.traits) + 1)).tolist()
    columns = [*block_starts(cohort.covariates, cohort.traits), cohort.p]
    return [
        TraitBlock(trait, slice(rows[k], rows[k + 1]), slice(columns[k], columns[k + 1]))
        for k, trait in enumerate(cohort.traits)
    ]


def complete_traits(cohort: Cohort) -> bool:
    """Tell whether all traits have the same individuals, records and design.

    Then one spectrum of the kernel serves all traits: y = vec(Y), X = I ⊗ X₁. Where individuals
    have several records of a trait, the names of the records must agree too, apart from the trait.
    """
    first, *others = trait_blocks(cohort)
    X = cohort.X[first.rows, first.columns]
    individuals = cohort.individuals[first.rows]
    for other in others:
        if not individuals.equals(cohort.individuals[other.rows]):
            return False
        if not np.array_equal(X, cohort.X[other.rows, other.columns]):
            return False
        if not individuals.is_unique and _measured(cohort, first) != _measured(cohort, other):
            return False
    return True


def trait_matrix(cohort: Cohort) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Y (m, k) and the common block X₁ (m, p/k) of a cohort with `complete_traits`.

    Raises
    ------
    InputError
        If a trait is missing for some individuals, or the designs differ.
    """
    if not complete_traits(cohort):
        raise InputError(
            f"traits {cohort.trait_names} with different individuals or designs",
            "the same individuals and fixed effects for every trait",
            "keep the individuals that have all traits",
        )
    blocks = trait_blocks(cohort)
    Y = np.column_stack([cohort.y[block.rows] for block in blocks])
    return Y, np.ascontiguousarray(cohort.X[blocks[0].rows, blocks[0].columns])


def _measured(cohort: Cohort, block: TraitBlock) -> list[str]:
    return [name.removesuffix(f" {block.trait}") for name in cohort.labels[block.rows]]


def _stack_columns(cohorts: Sequence[Cohort]) -> pd.DataFrame | None:
    tables = [one.columns for one in cohorts if one.columns is not None]
    there = [tuple(table.dtypes.items()) for table in tables]
    if tables and (len(tables) < len(cohorts) or any(found != there[0] for found in there)):
        raise InputError(
            f"further columns that differ between the traits: "
            f"{[list(one.columns) if one.columns is not None else [] for one in cohorts]}",
            "the same further columns, of the same type, for every trait",
            "ask for the same columns",
        )
    return pd.concat(tables, ignore_index=True) if tables else None


def _merge(cohorts: Sequence[Cohort]) -> Ledger:
    """Merge ledgers: shared first steps once, then each trait's steps, marked with its name."""
    ledgers = [one.ledger.steps for one in cohorts]
    shared = 0
    for steps in zip(*ledgers, strict=False):
        if any(step != steps[0] for step in steps):
            break
        shared += 1
    own = [_marked(step, one.trait) for one in cohorts for step in one.ledger.steps[shared:]]
    return Ledger(ledgers[0][:shared] + tuple(own))


def _marked(step: Step, trait: str) -> Step:
    reason = step.reason if step.reason.endswith(f": {trait}") else f"{step.reason} [{trait}]"
    return Step(step.unit, reason, step.dropped, step.remaining, step.examples)
