"""Records: tables with several rows per individual, as for repeated measurements.

    y = Xβ + Z u + ε,   Z (n, q) with Z[r, i] = 1 where record r is of individual i

A `Cohort` of records holds Z as ``cohort.levels``. Its y, X and further columns have a row per
record; ``cohort.people`` are the q individuals.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.cohort.alignment import (
    RECORDS,
    Alignment,
    Side,
    finite,
    match_phenotyped,
    match_side,
    rank_of,
)
from bayeslmm.cohort.build import build_cohorts, check_names, trait_columns
from bayeslmm.cohort.codes import check_covariates
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.design import FixedEffects
from bayeslmm.cohort.design import fixed_effects as resolve_fixed_effects
from bayeslmm.errors import BayesLMMError, InputError
from bayeslmm.individuals import as_individuals, individual_index, names_of
from bayeslmm.ledger import Ledger
from bayeslmm.system.files import PathArg
from bayeslmm.tables.formula import parse_formula
from bayeslmm.tables.phenotypes import require_columns, warn_minus_nine
from bayeslmm.tables.text import check_identifiers, check_printable, read_record_rows
from bayeslmm.tables.values import MISSING, column_values


def read_records(path: PathArg, id_column: str, missing_code: float | None = None) -> pd.DataFrame:
    """Read a table with one row per record and a column that names the individual.

    Parameters
    ----------
    path
        The file; its first line (after lines that begin with ##) names the columns.
    id_column
        The column that names the individual. With IID, a column FID is used too, if there is one.
    missing_code
        A number that means missing, for instance -9. Default: none.

    Returns
    -------
    pandas.DataFrame
        (records, columns) in the order of the file, indexed by FID and IID (FID "0" if the file has
        none), which repeat. All other columns are kept: float64 where every value is a number or
        missing, else text (`bayeslmm.tables.values.column_values`). ``attrs["path"]`` is the
        file. ``attrs["text"]`` gives the line and value of the first text in each text column;
        ``attrs["hidden"]`` gives the first text with hidden characters, where there is one.

    Raises
    ------
    InputError
        If the file is malformed; the message names file, line and column.
    """
    rows = read_record_rows(path, id_column)
    check_identifiers(rows, path, id_column)
    for iid, line in zip(rows.iids, rows.lines, strict=True):
        if iid in MISSING:
            raise InputError(
                f"the identifier {iid!r}", "an individual for every record",
                "name it, or remove the line", path=path, line=line, column=id_column,
            )  # fmt: skip
    data: dict[str, Any] = {}
    first_text: dict[str, tuple[int, str]] = {}
    hidden: dict[str, tuple[int, str]] = {}
    index = individual_index(rows.fids, rows.iids)
    for position, name in enumerate(rows.names):
        texts = [fields[position] for fields in rows.values]
        values = column_values(texts, missing_code)
        if not isinstance(values, np.ndarray):
            first_text[name] = _first_text(texts, rows.lines)
            pairs = zip(rows.lines, texts, strict=True)
            if found := next(((n, text) for n, text in pairs if not text.isprintable()), None):
                hidden[name] = found
        data[name] = values
    frame = pd.DataFrame(data, index=index, columns=rows.names)
    frame.attrs.update(path=str(path), text=first_text, hidden=hidden)
    return frame


def record_cohorts(
    records: pd.DataFrame,
    traits: Sequence[str],
    *,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None = None,
    covariate_names: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    formula: str | None = None,
    columns: Sequence[str] = (),
    ledger: Ledger = Ledger(),  # noqa: B008 (immutable)
    quantitative: bool = False,
    keep_values: bool = False,
    allow_few_matches: bool = False,
    left_out: dict[str, BayesLMMError] | None = None,
) -> list[Cohort]:
    """Build one `Cohort` of records for each trait.

    Parameters
    ----------
    records
        One row per record, indexed by FID and IID, which repeat (`read_records`).
    traits
        Numeric columns of `records`.
    individuals
        Individuals of the genotypes, the GRM or the pedigree.
    covariates
        Covariates with one row per individual, indexed by FID and IID.
    covariate_names, categorical, formula
        Columns of `records` and `covariates` that enter the design; see
        `bayeslmm.cohort.design.fixed_effects`. Default: all of `covariates`, none of `records`.
    columns
        Columns of `records` for `Cohort.columns`.
    ledger
        Earlier steps; they come first.
    quantitative
        Take the values of a trait as they are, even if they look like a case-control code.
    keep_values
        As for `bayeslmm.cohort.build.cohort`.
    allow_few_matches
        Continue when less than half of the smaller side is found on the other; default False.

    Returns
    -------
    list of Cohort
        Complete records of known individuals, in the order of `individuals`; the records of an
        individual keep the order of the table. The name of a record is its individual's label and
        its number in the table. If no individual has two records left, ``records`` is None, as in
        a cohort of individuals.

    Raises
    ------
    InputError
        As `bayeslmm.cohort.build.cohort`; and if records and covariates have a column of the same
        name.

    Warns
    -----
    BayesLMMWarning
        As `bayeslmm.cohort.build.cohort`; and where -9 is used as a number.
    """
    path = records.attrs.get("path")
    check_names(records, "records")
    require_columns([*traits, *columns], list(records.columns), path=path)
    _require_numbers(records, traits, "write NA where it is missing, or choose another trait")
    names = trait_columns(records, traits)
    effects = _effects(records, covariates, covariate_names, categorical, formula)
    for name in (*effects.columns, *columns):
        if name in records.attrs.get("hidden", ()):
            line, text = records.attrs["hidden"][name]
            check_printable([text], [line], name, path)
    if path is not None:
        used = [*names, *(name for name in effects.columns if name in records)]
        warn_minus_nine(records[list(dict.fromkeys(used))], path)
    if not keep_values:
        numbers = [name for name in effects.columns if name not in effects.categorical]
        check_covariates(records, numbers)
        check_covariates(covariates, numbers)
    alignment = align_records(
        records, individuals, covariates, effects.columns, columns,
        allow_few_matches=allow_few_matches,
    )  # fmt: skip
    return build_cohorts(
        alignment, records[names], effects, ledger, quantitative, keep_values, left_out
    )


def align_records(
    records: pd.DataFrame,
    individuals: pd.MultiIndex,
    covariates: pd.DataFrame | None,
    effects: Sequence[str],
    columns: Sequence[str],
    *,
    allow_few_matches: bool = False,
) -> Alignment:
    """Find the individual of every record, and put the records in the individuals' order.

    Parameters
    ----------
    records, individuals, covariates, columns
        As in `record_cohorts`.
    effects
        Columns that enter the design, from `records` or else from `covariates`.
    allow_few_matches
        Continue when less than half of the smaller side is found on the other; default False.
    """
    genotyped = as_individuals(individuals, "the genotypes or GRM")
    unique = records.index.unique()
    codes = unique.get_indexer(records.index)
    phenotyped = as_individuals(unique, "the records")
    match, ledger = match_phenotyped(genotyped, phenotyped, records, allow_few_matches)
    where = np.full(len(phenotyped), -1, dtype=np.intp)
    where[match.positions[match.found]] = np.flatnonzero(match.found)
    person = where[codes]  # position of each record's individual in `genotyped`
    counts = pd.Series(codes).groupby(codes).cumcount()
    numbers = np.asarray(counts.to_numpy(np.intp) + 1, dtype=np.intp)
    names = _names(phenotyped, codes, numbers)
    known = np.flatnonzero(person >= 0)
    rows = known[np.argsort(person[known], kind="stable")]
    ledger = ledger.add(
        RECORDS, "individual not in the genotypes or GRM", names[person < 0], remaining=len(rows)
    )
    sides = _sides(records, rows, effects, columns)
    beside = [name for name in effects if name not in records]
    if covariates is not None and beside:
        positions = match_side("covariate", covariates, genotyped, match.found, allow_few_matches)
        table = finite(covariates[beside], covariates.index)
        sides.insert(0, Side("covariate", table, positions[person[rows]]))
    rank = np.empty(len(rows), dtype=np.intp)
    rank[np.lexsort((numbers[rows], rank_of(genotyped)[person[rows]]))] = np.arange(len(rows))
    return Alignment(
        genotyped[person[rows]], names[rows], rank, rows, tuple(sides), ledger, numbers[rows]
    )


def _sides(
    records: pd.DataFrame, rows: NDArray[np.intp], effects: Sequence[str], columns: Sequence[str]
) -> list[Side]:
    """Collect the records' columns that enter the design, and the further columns."""
    inside = [name for name in effects if name in records]
    sides = []
    if inside:
        sides.append(Side("covariate", finite(records[inside], records.index), rows, False))
    if columns:
        table = finite(records[list(dict.fromkeys(columns))], records.index)
        sides.append(Side("column", table, rows, False))
    return sides


def _names(
    individuals: pd.MultiIndex, codes: NDArray[np.intp], numbers: NDArray[np.intp]
) -> NDArray[np.object_]:
    """Name records for messages: by individual, and by number if an individual has several."""
    names = names_of(individuals)
    if len(codes) == len(names):
        return np.array(names, dtype=object)[codes]
    pairs = zip(codes, numbers, strict=True)
    return np.array([f"{names[code]} {number}" for code, number in pairs], dtype=object)


def _effects(
    records: pd.DataFrame,
    covariates: pd.DataFrame | None,
    covariate_names: Sequence[str] | None,
    categorical: Collection[str],
    formula: str | None,
) -> FixedEffects:
    """Resolve names or a formula against both tables."""
    beside = covariates if covariates is not None else pd.DataFrame()
    check_names(beside, "covariates")
    if formula is None and covariate_names is None:
        covariate_names = list(beside.columns)
    if formula is not None:
        parsed = parse_formula(formula)
        numeric = set(parsed.columns) - parsed.categorical
    else:
        numeric = set(covariate_names or ())
    _require_numbers(
        records,
        [name for name in records if name in numeric - set(categorical)],
        "if its values are categories, name the column with --cat-covar",
    )
    both = pd.DataFrame(
        {name: records[name].iloc[:1].reset_index(drop=True) for name in records}
        | {name: beside[name].iloc[:1].reset_index(drop=True) for name in beside}
    )
    both.attrs["path"] = records.attrs.get("path") if covariates is None else None
    effects = resolve_fixed_effects(both, covariate_names, categorical, formula)
    for name in effects.columns:
        if name in records and name in beside:
            raise InputError(
                f"a column '{name}' in both the records and the covariates",
                "one column of that name",
                "rename one, or leave it out",
                path=beside.attrs.get("path"),
            )
    return effects


def _require_numbers(records: pd.DataFrame, names: Iterable[str], fix: str) -> None:
    """Raise `InputError` at the first text in columns that must hold numbers."""
    for name in names:
        if name in records.attrs.get("text", ()):
            line, text = records.attrs["text"][name]
            raise InputError(
                f"{text!r} in column '{name}'", "a finite number, or NA where missing", fix,
                path=records.attrs.get("path"), line=line, column=name,
            )  # fmt: skip


def _first_text(texts: Sequence[str], lines: Sequence[int]) -> tuple[int, str]:
    """Return line and value of the first entry that is not a number."""
    for text, line in zip(texts, lines, strict=True):
        if not isinstance(column_values([text]), np.ndarray):
            return line, text if len(text) <= 40 else text[:37] + "..."
    raise AssertionError("a column of numbers")
