"""Alignment of phenotype and covariate tables with the genotyped individuals, by identifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.caution import caution
from bayeslmm.errors import InputError
from bayeslmm.individuals import Match, as_individuals, match_individuals, names_of
from bayeslmm.ledger import Ledger, Step


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Where the genotyped individuals stand in the tables.

    Parameters
    ----------
    individuals
        (q,) genotyped individuals; their order is kept.
    names
        (q,) their names for the ledger.
    rank
        (q,) position of each in the sorted order of FID and IID.
    phenotype_rows, covariate_positions
        (q,) row in the phenotype and covariate table, -1 where absent.
    covariates
        The columns needed of the covariate table, or None.
    ledger
        The steps that are the same for every trait.
    """

    individuals: pd.MultiIndex
    names: NDArray[np.object_]
    rank: NDArray[np.intp]
    phenotype_rows: NDArray[np.intp]
    covariate_positions: NDArray[np.intp]
    covariates: pd.DataFrame | None
    ledger: Ledger

    def select(
        self, values: NDArray[np.float64], trait: str
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], Ledger]:
        """Give (q,) phenotype, (q,) who is complete, and the ledger of this trait.

        Parameters
        ----------
        values
            The phenotype in the order of its table.
        trait
            Its name.
        """
        present = self.phenotype_rows >= 0
        y = np.where(present, values[self.phenotype_rows], np.nan)
        ledger = self.ledger
        steps = [(f"phenotype missing: {trait}", np.isnan(y))]
        if self.covariates is not None:
            found = self.covariate_positions >= 0
            steps.append(("not in the covariate file", ~found))
            for name in self.covariates.columns:
                missing = self.covariates[name].isna().to_numpy()
                missing = found & missing[self.covariate_positions]
                steps.append((f"covariate missing: {name}", missing))
        for reason, missing in steps:
            dropped = self.names[missing & present]
            present = present & ~missing
            step = Step("individuals", reason, len(dropped), int(present.sum()), tuple(dropped[:5]))
            ledger = ledger + Ledger((step,))
        if not present.any():
            raise InputError(
                f"no individual is left for the trait '{trait}'",
                "individuals with genotypes, phenotype and covariates",
                f"see where they are lost:\n{ledger}",
            )
        return y, present, ledger

    def covariate_rows(self, positions: NDArray[np.intp]) -> pd.DataFrame:
        """Covariates of some of the genotyped individuals, in that order."""
        index = self.individuals[positions]
        if self.covariates is None:
            return pd.DataFrame(index=index)
        return self.covariates.iloc[self.covariate_positions[positions]].set_axis(index, axis=0)


def align(
    phenotypes: pd.DataFrame,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None,
    columns: Sequence[str],
    *,
    allow_few_matches: bool = False,
) -> Alignment:
    """Match the tables to the genotyped individuals; see `match_individuals`.

    Parameters
    ----------
    phenotypes, individuals, covariates
        As in `bayeslmm.cohort.cohort`; the covariates may be None.
    columns
        The columns of the covariate table that are needed.
    allow_few_matches
        Go on although less than half of the smaller side is found on the other.

    Raises
    ------
    InputError
        If nobody is in common, or less than half of the smaller side; with examples of both.
    """
    genotyped = as_individuals(individuals, "the genotypes or GRM")
    phenotyped = as_individuals(phenotypes.index, _described("phenotype", phenotypes))
    names = np.array(names_of(genotyped), dtype=object)
    match = match_individuals(genotyped, phenotyped)
    sides = (genotyped, "the genotypes or GRM"), (phenotyped, _described("phenotype", phenotypes))
    _check_match(match, *sides, allow_few_matches)
    lost = np.ones(len(phenotyped), dtype=bool)
    lost[match.positions[match.found]] = False
    if 2 * (len(phenotyped) - lost.sum()) < len(phenotyped) and not allow_few_matches:
        caution(
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
        names[~match.found],
        remaining=int(match.found.sum()),
    )
    positions = np.full(len(genotyped), -1, dtype=np.intp)
    table = None
    if covariates is not None:
        described = as_individuals(covariates.index, _described("covariate", covariates))
        other = match_individuals(genotyped, described)
        found = match.found
        _check_match(
            Match(other.positions[found], other.by, other.fids_differ, other.ambiguous),
            (genotyped[found], "the phenotyped and genotyped individuals"),
            (described, _described("covariate", covariates)),
            allow_few_matches,
        )
        positions = other.positions
        table = _finite(covariates[list(columns)], described)
    order = sorted(range(len(genotyped)), key=genotyped.tolist().__getitem__)
    rank = np.empty(len(genotyped), dtype=np.intp)
    rank[order] = np.arange(len(genotyped))
    return Alignment(genotyped, names, rank, match.positions, positions, table, ledger)


def _described(kind: str, frame: pd.DataFrame) -> str:
    path = frame.attrs.get("path")
    return f"the {kind} file {path}" if path is not None else f"the {kind} table"


def _finite(covariates: pd.DataFrame, individuals: pd.MultiIndex) -> pd.DataFrame:
    for name in covariates.columns:
        if pd.api.types.is_numeric_dtype(covariates[name]):
            infinite = np.isinf(covariates[name].to_numpy(np.float64, na_value=np.nan))
            if infinite.any():
                raise InputError(
                    f"an infinite covariate '{name}' of {names_of(individuals[infinite][:1])[0]}",
                    "finite numbers, or NaN where missing",
                    "correct it",
                    path=covariates.attrs.get("path"),
                    column=name,
                )
    return covariates


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
            "check the FID and IID columns; if so few are right, add --allow-few-matches",
        )
    if match.fids_differ:
        caution(
            f"FIDs do not agree between {left[1]} and {right[1]}; {common} individuals are matched "
            f"by IID ({first})",
        )


def _first(individuals: pd.MultiIndex) -> str:
    return ", ".join(f"'{fid} {iid}'" for fid, iid in individuals[:3])
