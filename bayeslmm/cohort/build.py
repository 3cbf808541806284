"""Build cohorts: phenotype, design and individuals, aligned by identifier, with a ledger."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.cohort.alignment import Alignment, align
from bayeslmm.cohort.checks import as_columns
from bayeslmm.cohort.codes import check_covariates, check_trait_codes
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.design import FixedEffects, build_design
from bayeslmm.cohort.design import fixed_effects as resolve_fixed_effects
from bayeslmm.cohort.trait import (
    check_coding,
    check_size,
    check_trait,
    check_trait_name,
)
from bayeslmm.errors import BayesLMMError, InputError
from bayeslmm.individuals import (
    labels_of,
)
from bayeslmm.ledger import Ledger
from bayeslmm.tables.phenotypes import require_columns


def cohort(
    phenotypes: pd.DataFrame,
    trait: str,
    *,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None = None,
    covariate_names: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    formula: str | None = None,
    columns: Sequence[str] = (),
    extra: pd.DataFrame | None = None,
    ledger: Ledger = Ledger(),  # noqa: B008 (immutable)
    quantitative: bool = False,
    keep_values: bool = False,
    allow_few_matches: bool = False,
) -> Cohort:
    """Align a phenotype, covariates and the genotyped individuals by identifier.

    Parameters
    ----------
    phenotypes
        Traits, float64, NaN where missing, indexed by FID and IID (`read_phenotypes`).
    trait
        A column of `phenotypes`.
    individuals
        Individuals of the genotypes or the GRM. The cohort keeps their order.
    covariates
        Covariates indexed by FID and IID (`read_covariates`). Default: an intercept only.
    covariate_names, categorical, formula
        What enters the design, see `bayeslmm.cohort.design.fixed_effects`. Default: all columns.
    columns, extra
        Further columns for `Cohort.columns`, such as a household. They come from the table `extra`
        (`read_columns`; default all of its columns), or without it from `phenotypes`. Individuals
        with a missing value in them are dropped.
    ledger
        Earlier steps, for instance of the genotypes' quality control; they come first.
    quantitative
        Take the values of the trait as they are, even if they look like a case-control code.
    keep_values
        Take numbers far outside the others, such as -999, as measurements; default: refuse what
        looks like a code for missing (`bayeslmm.cohort.codes`).
    allow_few_matches
        Continue when less than half of the smaller side is found on the other; default False.

    Returns
    -------
    Cohort
        Individuals with genotypes, phenotype and all covariates. The order of rows in the tables
        does not matter.

    Raises
    ------
    InputError
        If identifiers do not match, the trait is constant or coded 0/1/2 with 0 or -9 for missing,
        a value is not finite, or individuals are too few for the covariates.

    Warns
    -----
    BayesLMMWarning
        For outliers beyond 6 standard deviations, dropped covariates, small samples, and matches by
        IID where FIDs disagree.
    """
    return cohorts(
        phenotypes,
        [trait],
        individuals=individuals,
        covariates=covariates,
        covariate_names=covariate_names,
        categorical=categorical,
        formula=formula,
        columns=columns,
        extra=extra,
        ledger=ledger,
        quantitative=quantitative,
        keep_values=keep_values,
        allow_few_matches=allow_few_matches,
    )[0]


def cohorts(
    phenotypes: pd.DataFrame,
    traits: Sequence[str] | None = None,
    *,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None = None,
    covariate_names: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    formula: str | None = None,
    columns: Sequence[str] = (),
    extra: pd.DataFrame | None = None,
    ledger: Ledger = Ledger(),  # noqa: B008 (immutable)
    quantitative: bool = False,
    keep_values: bool = False,
    allow_few_matches: bool = False,
    left_out: dict[str, BayesLMMError] | None = None,
) -> list[Cohort]:
    """Build one `Cohort` for each trait; see `cohort` for the parameters.

    Traits with the same missing values share their design. `traits` defaults to all columns. A
    trait that cannot be analysed (constant, too few records) raises; with a dictionary `left_out`
    it is entered there, with its error, if another trait can be analysed.
    """
    check_names(phenotypes, "phenotypes")
    for table, what in ((covariates, "covariates"), (extra, "further columns")):
        if table is not None:
            check_names(table, what)
    if extra is not None and not columns:
        columns = list(extra.columns)
    further = phenotypes if extra is None else extra
    require_columns(columns, list(further.columns), path=further.attrs.get("path"))
    if traits is None:
        traits = [name for name in phenotypes.columns if extra is not None or name not in columns]
    names = trait_columns(phenotypes, traits)
    effects = resolve_fixed_effects(covariates, covariate_names, categorical, formula)
    if not keep_values:
        check_covariates(covariates, [x for x in effects.columns if x not in effects.categorical])
    alignment = align(
        phenotypes, individuals, covariates if effects.columns else None, effects.columns,
        extra=extra, extra_columns=columns, allow_few_matches=allow_few_matches,
    )  # fmt: skip
    table = phenotypes[names]
    return build_cohorts(alignment, table, effects, ledger, quantitative, keep_values, left_out)


def trait_columns(phenotypes: pd.DataFrame, traits: Sequence[str]) -> list[str]:
    """Return the names of traits; raise `InputError` unless they are different numeric columns."""
    names, path = list(traits), phenotypes.attrs.get("path")
    if not names:
        raise InputError("no trait", "at least one", "name one (--pheno-name)")
    require_columns(names, list(phenotypes.columns), path=path)
    for position, name in enumerate(names):
        if name in names[:position]:
            raise InputError(f"the trait '{name}' is named twice", "different traits", "drop one")
        check_trait_name(name)
        if not pd.api.types.is_numeric_dtype(phenotypes[name]):
            raise InputError(
                f"the trait '{name}' holds {phenotypes[name].dtype}", "numbers",
                "read it with read_phenotypes, or convert it", path=path, column=name,
            )  # fmt: skip
    return names


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """The parts that cohorts with the same complete rows share."""

    X: NDArray[np.float64]
    covariates: tuple[str, ...]
    ledger: Ledger
    individuals: pd.MultiIndex
    records: tuple[str, ...] | None
    columns: pd.DataFrame | None


def build_cohorts(
    alignment: Alignment,
    phenotypes: pd.DataFrame,
    effects: FixedEffects,
    before: Ledger,
    quantitative: bool,
    keep_values: bool = False,
    left_out: dict[str, BayesLMMError] | None = None,
) -> list[Cohort]:
    """Build a cohort for each column of `phenotypes`; equal complete rows share a design.

    Without `left_out`, or if no trait can be analysed, the first error is raised.
    """
    shared: dict[bytes, _Shared] = {}
    found, failed = list[Cohort](), dict[str, InputError]()
    for trait in phenotypes.columns:
        column, name = phenotypes[trait], str(trait)
        try:
            if not keep_values:
                values = column.to_numpy(np.float64, na_value=np.nan)
                check_trait_codes(values, name, path=column.attrs.get("path"))
            found.append(_one(alignment, column, name, effects, shared, before, quantitative))
        except InputError as error:
            if left_out is None:
                raise
            failed[name] = error
    if left_out is not None:
        left_out.update(failed)
    if not found:
        raise next(iter(failed.values()))
    return found


def _one(
    alignment: Alignment,
    phenotype: pd.Series[float],
    trait: str,
    effects: FixedEffects,
    shared: dict[bytes, _Shared],
    before: Ledger,
    quantitative: bool,
) -> Cohort:
    values = np.asarray(phenotype.to_numpy(np.float64, na_value=np.nan), dtype=np.float64)
    path = phenotype.attrs.get("path")
    if not quantitative:
        check_coding(values, trait, path=path)
    y, present, steps = alignment.select(values, trait)
    key = present.tobytes()
    if key not in shared:
        shared[key] = _share(alignment, np.flatnonzero(present), effects)
    parts = shared[key]
    names = alignment.names[present].tolist()
    y, coding = check_trait(y[present], trait, names, quantitative=quantitative, path=path)
    check_size(*parts.X.shape)
    return Cohort(
        y=y,
        X=parts.X,
        individuals=parts.individuals,
        covariates=parts.covariates,
        trait=trait,
        ledger=before + steps + parts.ledger,
        records=parts.records,
        columns=parts.columns,
        codings=(coding,),
    )


def _share(alignment: Alignment, rows: NDArray[np.intp], effects: FixedEffects) -> _Shared:
    # sorted, because the design then has the same bits in any order of the files
    order = np.argsort(alignment.rank[rows])
    design = build_design(alignment.columns_of("covariate", rows[order]), effects)
    X = np.empty_like(design.X)
    X[order] = design.X
    individuals = alignment.individuals[rows]
    further = alignment.columns_of("column", rows)
    return _Shared(
        X=X,
        covariates=design.covariates,
        ledger=design.ledger,
        individuals=individuals,
        records=_record_names(individuals, alignment.numbers, rows),
        columns=as_columns(further) if len(further.columns) else None,
    )


def _record_names(
    individuals: pd.MultiIndex, numbers: NDArray[np.intp] | None, rows: NDArray[np.intp]
) -> tuple[str, ...] | None:
    """Name records by individual and number; None if every individual has one record."""
    if numbers is None or individuals.is_unique:
        return None
    people = individuals.unique()
    labels = labels_of(people)
    levels = people.get_indexer(individuals)
    return tuple(f"{labels[k]} {number}" for k, number in zip(levels, numbers[rows], strict=True))


def check_names(table: pd.DataFrame, what: str) -> None:
    """Raise `InputError` unless the columns of a table have different names, as text."""
    if not table.columns.is_unique or not all(isinstance(name, str) for name in table.columns):
        raise InputError(
            f"columns {list(table.columns)[:20]} of the {what}",
            "different names, as text",
            "rename them",
            path=table.attrs.get("path"),
        )
