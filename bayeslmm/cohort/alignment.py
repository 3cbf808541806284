"""Alignment of phenotype and covariate tables with the genotyped individuals, by identifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.individuals import Match, as_individuals, match_individuals, names_of
from bayeslmm.ledger import Ledger, Step, Unit

RECORDS: Unit = "records"


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """A table of covariates or further columns, with its row for each row of an `Alignment`.

    Parameters
    ----------
    kind
        "covariate" (enters the design) or "column" (goes into ``Cohort.columns``).
    table
        The columns needed.
    positions
        (q,) row of the table, -1 where absent.
    separate
        Whether the table is separate from the phenotypes, so that individuals can be absent.
    """

    kind: Literal["covariate", "column"]
    table: pd.DataFrame
    positions: NDArray[np.intp]
    separate: bool = True

    def missing(self) -> list[tuple[str, NDArray[np.bool_]]]:
        """Return reasons and whom each drops (q,), in the order of the ledger."""
        found = self.positions >= 0
        steps = [(f"not in the {self.kind} file", ~found)] if self.separate else []
        for name in self.table.columns:
            absent = self.table[name].isna().to_numpy()
            steps.append((f"{self.kind} missing: {name}", found & absent[self.positions]))
        return steps


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """The row of each genotyped individual, or of each record, in the tables.

    Parameters
    ----------
    individuals
        (q,) genotyped individuals in their order; they repeat when the rows are records.
    names
        (q,) names for the ledger.
    rank
        (q,) position in the sorted order of FID and IID (and number of the record).
    phenotype_rows
        (q,) row in the phenotype table, -1 where absent.
    sides
        The tables of covariates and of further columns.
    ledger
        The steps that all traits share.
    numbers
        (q,) number of the record within its individual, from 1, in the order of the file; None
        when the rows are individuals.
    """

    individuals: pd.MultiIndex
    names: NDArray[np.object_]
    rank: NDArray[np.intp]
    phenotype_rows: NDArray[np.intp]
    sides: tuple[Side, ...]
    ledger: Ledger
    numbers: NDArray[np.intp] | None = None

    def select(
        self, values: NDArray[np.float64], trait: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], Ledger]:
        """Return the phenotype (q,), which rows are complete (q,), and the trait's ledger.

        Parameters
        ----------
        values
            Phenotype in the order of its table.
        trait
            Name of the phenotype.

        Raises
        ------
        InputError
            If no individual is left.
        """
        unit: Unit = "individuals" if self.numbers is None else RECORDS
        present = self.phenotype_rows >= 0
        y = np.where(present, values[self.phenotype_rows], np.nan)
        ledger = self.ledger
        steps = [(f"phenotype missing: {trait}", np.isnan(y))]
        steps += [step for side in self.sides for step in side.missing()]
        for reason, missing in steps:
            dropped = self.names[missing & present]
            present = present & ~missing
            step = Step(unit, reason, len(dropped), int(present.sum()), tuple(dropped[:5]))
            ledger = ledger + Ledger((step,))
        if not present.any():
            raise InputError(
                f"no individual is left for the trait '{trait}'",
                "individuals with genotypes, phenotype and covariates",
                f"see where they are lost:\n{ledger}",
            )
        if self.numbers is not None:
            people, kept = self.individuals.unique(), self.individuals[present].unique()
            gone = names_of(people[~people.isin(kept)])
            ledger = ledger.add(
                "individuals", f"no complete record: {trait}", gone, remaining=len(kept)
            )
        return y, present, ledger

    def columns_of(
        self, kind: Literal["covariate", "column"], positions: NDArray[np.intp]
    ) -> pd.DataFrame:
        """Return the covariates or further columns of some rows, in the order of `positions`."""
        index = self.individuals[positions]
        parts = [
            side.table.iloc[side.positions[positions]].set_axis(index, axis=0)
            for side in self.sides
            if side.kind == kind
        ]
        if len(parts) < 2:
            return parts[0] if parts else pd.DataFrame(index=index)
        return pd.DataFrame({name: part[name] for part in parts for name in part}, index=index)


def align(
    phenotypes: pd.DataFrame,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None,
    columns: Sequence[str],
    *,
    extra: pd.DataFrame | None = None,
    extra_columns: Sequence[str] = (),
    allow_few_matches: bool = False,
) -> Alignment:
    """Match the tables to the genotyped individuals; see `match_individuals`.

    Parameters
    ----------
    phenotypes, individuals, covariates
        As in `bayeslmm.cohort.build.cohort`; the covariates may be None.
    columns
        Columns to take from the covariate table.
    extra, extra_columns
        A table of further columns, and the columns to take; without the table they are columns of
        `phenotypes`.
    allow_few_matches
        Continue when less than half of the smaller side is found on the other; default False.

    Raises
    ------
    InputError
        If no individual, or less than half of the smaller side, is in common. The message shows
        identifiers of both sides.
    """
    genotyped = as_individuals(individuals, "the genotypes or GRM")
    phenotyped = as_individuals(phenotypes.index, _described("phenotype", phenotypes))
    match, ledger = match_phenotyped(genotyped, phenotyped, phenotypes, allow_few_matches)
    sides: list[Side] = []
    if covariates is not None:
        sides.append(_side("covariate", covariates, columns, genotyped, match, allow_few_matches))
    if extra is not None:
        sides.append(_side("column", extra, extra_columns, genotyped, match, allow_few_matches))
    elif extra_columns:
        table = finite(phenotypes[list(extra_columns)], phenotyped)
        sides.append(Side("column", table, match.positions, separate=False))
    names = np.array(names_of(genotyped), dtype=object)
    return Alignment(genotyped, names, rank_of(genotyped), match.positions, tuple(sides), ledger)


def match_phenotyped(
    genotyped: pd.MultiIndex,
    phenotyped: pd.MultiIndex,
    phenotypes: pd.DataFrame,
    allow_few_matches: bool,
) -> tuple[Match, Ledger]:
    """Match the genotyped to the phenotyped individuals; return the match and its ledger."""
    match = match_individuals(genotyped, phenotyped)
    sides = (genotyped, "the genotypes or GRM"), (phenotyped, _described("phenotype", phenotypes))
    _check_match(match, *sides, allow_few_matches)
    lost = np.ones(len(phenotyped), dtype=bool)
    lost[match.positions[match.found]] = False
    if 2 * (len(phenotyped) - lost.sum()) < len(phenotyped) and not allow_few_matches:
        warn_user(
            f"only {len(phenotyped) - lost.sum()} of {len(phenotyped)} phenotyped individuals are "
            "in the genotypes or GRM",
        )
    how = f" (matched by {match.by})"
    ledger = Ledger().add(
        "individuals",
        "not in the genotypes or GRM" + how,
        names_of(phenotyped[lost]),
        remaining=len(genotyped),
    )
    ledger = ledger.add(
        "individuals",
        "not in the phenotype file" + how,
        names_of(genotyped[~match.found]),
        remaining=int(match.found.sum()),
    )
    return match, ledger


def match_side(
    kind: Literal["covariate", "column"],
    table: pd.DataFrame,
    genotyped: pd.MultiIndex,
    found: NDArray[np.bool_],
    allow_few_matches: bool,
) -> NDArray[np.intp]:
    """Return the row of each individual in a table (q,), after a check on those `found` so far."""
    described = as_individuals(table.index, _described(kind, table))
    other = match_individuals(genotyped, described)
    _check_match(
        Match(other.positions[found], other.by, other.fids_differ, other.ambiguous),
        (genotyped[found], "the phenotyped and genotyped individuals"),
        (described, _described(kind, table)),
        allow_few_matches,
    )
    return other.positions


def rank_of(individuals: pd.MultiIndex) -> NDArray[np.intp]:
    """Return the position of each individual in the sorted order of FID and IID (q,)."""
    order = sorted(range(len(individuals)), key=individuals.tolist().__getitem__)
    rank = np.empty(len(individuals), dtype=np.intp)
    rank[order] = np.arange(len(individuals))
    return rank


def _side(
    kind: Literal["covariate", "column"],
    table: pd.DataFrame,
    columns: Sequence[str],
    genotyped: pd.MultiIndex,
    match: Match,
    allow_few_matches: bool,
) -> Side:
    positions = match_side(kind, table, genotyped, match.found, allow_few_matches)
    return Side(kind, finite(table[list(columns)], table.index), positions)


def _described(kind: str, frame: pd.DataFrame) -> str:
    path = frame.attrs.get("path")
    return f"the {kind} file {path}" if path is not None else f"the {kind} table"


def finite(table: pd.DataFrame, individuals: pd.Index) -> pd.DataFrame:
    """Return the table; raise `InputError` that names the first infinite value, if any."""
    for name in table.columns:
        if pd.api.types.is_numeric_dtype(table[name]):
            infinite = np.isinf(table[name].to_numpy(np.float64, na_value=np.nan))
            if infinite.any():
                who = names_of(as_individuals(individuals[infinite][:1]))[0]
                raise InputError(
                    f"an infinite covariate '{name}' of {who}",
                    "finite numbers, or NaN where missing",
                    "correct it",
                    path=table.attrs.get("path"),
                    column=name,
                )
    return table


def _check_match(
    match: Match,
    left: tuple[pd.MultiIndex, str],
    right: tuple[pd.MultiIndex, str],
    allow_few_matches: bool,
) -> None:
    common = int(match.found.sum())
    smaller = min(len(left[0]), len(right[0]))
    first = "; ".join(
        f"{what} ({len(ids)}) begins with {_first(ids)}" for ids, what in (left, right)
    )
    shared = len(set(left[0].get_level_values(1)) & set(right[0].get_level_values(1)))
    hint = f"; {shared} share the IID" if shared > common else ""
    if match.ambiguous:
        hint += "; IIDs are not unique, so they cannot be matched without FIDs"
    if common == 0:
        raise InputError(
            f"no individual in common: {first}{hint}",
            "the same FID and IID (or unique IIDs) on both sides",
            "check the FID and IID columns",
        )
    if 2 * common < smaller and not allow_few_matches:
        raise InputError(
            f"only {common} individuals in common: {first}{hint}",
            f"at least half of the smaller side ({smaller})",
            "check the FID and IID columns; if so few are expected, add --allow-few-matches",
        )
    if match.fids_differ:
        warn_user(
            f"FIDs do not agree between {left[1]} and {right[1]}; {common} individuals are matched "
            f"by IID ({first})",
        )


def _first(individuals: pd.MultiIndex) -> str:
    return ", ".join(f"'{fid} {iid}'" for fid, iid in individuals[:3])
