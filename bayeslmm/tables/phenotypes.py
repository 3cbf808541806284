"""Phenotype, covariate and keep files in the conventions of PLINK, REGENIE and GCTA.

With a header (``FID IID ...``, ``#FID IID ...``, ``#IID ...``, ``IID ...``, in any case) or without
one (``FID IID value ...``); columns separated by tabs, or by blanks, or, if the first line has
neither, by commas. UTF-8 with or without a byte order mark, any line ends. ``NA``, ``NaN``, ``.``
and an empty field are missing; ``-9`` is a number here (it is missing only in a ``.fam``), unless
`missing_code` says otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.system.files import PathArg
from bayeslmm.tables.columns import by_distinct
from bayeslmm.tables.layout import HEADER_RULE
from bayeslmm.tables.regular import read_regular
from bayeslmm.tables.text import Rows, check_printable, individuals_of, read_rows
from bayeslmm.tables.values import MISSING, column_values, is_number, levels, numbers, without_code


def read_phenotypes(
    path: PathArg, *, columns: Sequence[str] | None = None, missing_code: float | None = None
) -> pd.DataFrame:
    """Read phenotypes.

    Parameters
    ----------
    path
        The file. Without a header its columns are named pheno1, pheno2, ...
    columns
        The traits to read; default all.
    missing_code
        A number that means missing, for instance -9; default none.

    Returns
    -------
    pandas.DataFrame
        (n, traits) float64, NaN where missing, indexed by FID and IID (FID "0" if the file has
        none); ``attrs["path"]`` is the file.

    Raises
    ------
    InputError
        With the file, the line and the column, whatever is wrong.
    """
    return read_table(path, prefix="pheno", columns=columns, missing_code=missing_code)


def read_covariates(
    path: PathArg,
    *,
    columns: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    formula: str | None = None,
    missing_code: float | None = None,
) -> pd.DataFrame:
    """Read covariates.

    Parameters
    ----------
    path
        The file. Without a header its columns are named covar1, covar2, ...
    columns
        The covariates to read; default all. Those in `categorical` are read in any case.
    categorical
        Columns whose values are levels: they are kept as text.
    formula
        Read what this formula needs instead of `columns`; columns inside ``C(...)`` are
        categorical.
    missing_code
        A number that means missing, for instance -9; default none.

    Returns
    -------
    pandas.DataFrame
        (n, covariates) float64, or text where categorical, indexed by FID and IID.

    Raises
    ------
    InputError
        With the file, the line and the column, whatever is wrong.
    """
    if formula is not None:
        from bayeslmm.tables.formula import parse_formula

        parsed = parse_formula(formula)
        columns = parsed.columns
        categorical = {*categorical, *parsed.categorical}
    return read_table(
        path, prefix="covar", columns=columns, categorical=categorical, missing_code=missing_code
    )


def read_columns(
    path: PathArg, names: Sequence[str], *, missing_code: float | None = None
) -> pd.DataFrame:
    """Read further columns of a table with one row per individual, such as a household or a dam.

    Parameters
    ----------
    path
        The file.
    names
        The columns to read.
    missing_code
        A number that means missing, for instance -9; default none.

    Returns
    -------
    pandas.DataFrame
        (n, names) indexed by FID and IID: float64 where every value is a number or missing, else
        text (`bayeslmm.tables.values.column_values`); ``attrs["path"]`` is the file.

    Raises
    ------
    InputError
        With the file, the line and the column, whatever is wrong.
    """
    wanted = list(dict.fromkeys(names))
    convert = partial(column_values, missing_code=missing_code)
    data: dict[str, object] = {}
    if regular := read_regular(path, "pheno", columns=wanted, texts=wanted):
        individuals = regular.individuals
        data = {name: by_distinct(regular.texts[name], convert) for name in wanted}
    else:
        rows = read_rows(path, "pheno")
        individuals = individuals_of(rows, path)
        require_columns(wanted, rows.names, path=path)
        places = {name: position for position, name in enumerate(rows.names)}
        data = {name: convert(_texts(rows, places[name], path)) for name in wanted}
    frame = pd.DataFrame(data, index=individuals, columns=wanted)
    warn_minus_nine(frame, path)
    frame.attrs["path"] = str(path)
    return frame


def read_ids(path: PathArg) -> pd.DataFrame:
    """Read individuals to keep or to remove: ``FID IID`` or ``IID``, further columns ignored.

    Returns
    -------
    pandas.DataFrame
        Without columns; its index holds FID and IID (FID "0" if the file has none).
    """
    if regular := read_regular(path, "column", ids_only=True):
        individuals = regular.individuals
    else:
        individuals = individuals_of(read_rows(path, "column", ids_only=True), path)
    frame = pd.DataFrame(index=individuals)
    frame.attrs["path"] = str(path)
    return frame


def read_table(
    path: PathArg,
    *,
    prefix: str = "column",
    columns: Sequence[str] | None = None,
    categorical: Collection[str] = (),
    missing_code: float | None = None,
) -> pd.DataFrame:
    """Read any table with one row per individual; see `read_phenotypes` and `read_covariates`.

    Parameters
    ----------
    path
        The file.
    prefix
        Columns of a file without a header are named prefix1, prefix2, ...
    columns
        Which to read; default all. Columns not read may hold anything.
    categorical
        Which to keep as text.
    missing_code
        A number that means missing; default none.
    """
    regular = read_regular(path, prefix, columns=columns, texts=categorical)
    names = regular.names if regular else (rows := read_rows(path, prefix)).names
    wanted = names if columns is None else [*dict.fromkeys([*columns, *sorted(categorical)])]
    data: dict[str, object] = {}
    if regular:
        individuals = regular.individuals
        for name in wanted:
            if name in categorical:
                convert = partial(levels, missing_code=missing_code)
                data[name] = by_distinct(regular.texts[name], convert)
            else:
                data[name] = without_code(regular.numbers[name], missing_code)
    else:
        individuals = individuals_of(rows, path)
        require_columns([*wanted, *categorical], names, path=path)
        places = {name: position for position, name in enumerate(names)}
        for name in wanted:
            if name in categorical:
                data[name] = levels(_texts(rows, places[name], path), missing_code)
            else:
                values = _numbers(rows, places[name], path, prefix)
                data[name] = without_code(values, missing_code)
    frame = pd.DataFrame(data, index=individuals, columns=wanted)
    warn_minus_nine(frame, path)
    frame.attrs["path"] = str(path)
    return frame


def require_columns(
    wanted: Sequence[str], available: Sequence[str], *, path: PathArg | None = None
) -> None:
    """Raise an `InputError` that lists the columns there are, if a wanted one is not there."""
    known = set(available)
    for name in wanted:
        if name not in known:
            shown = ", ".join(available[:20]) + (", ..." if len(available) > 20 else "")
            raise InputError(
                f"no column '{name}'", f"one of: {shown}", "correct the name", path=path
            )


def _texts(rows: Rows, position: int, path: PathArg) -> list[str]:
    """Return the texts of a column; raise `InputError` at the first unprintable character."""
    texts = [fields[position] for fields in rows.values]
    check_printable(texts, rows.lines, rows.names[position], path)
    return texts


def _numbers(rows: Rows, position: int, path: PathArg, prefix: str) -> NDArray[np.float64]:
    """Numbers of a column; raise `InputError` with the line of the first text that is none."""
    texts, name = [fields[position] for fields in rows.values], rows.names[position]
    try:
        return numbers(texts)
    except ValueError:
        bad = next(i for i, t in enumerate(texts) if t not in MISSING and not is_number(t))
    text, line = texts[bad], rows.lines[bad]
    fixes = ["correct it"]
    if prefix == "covar":
        fixes.append(f"if its values are categories, add --cat-covar {name}")
    if not rows.header and line == rows.lines[0]:
        fixes.append(f"if line {line} is a header, write {HEADER_RULE}")
    shown = repr(text if len(text) <= 40 else text[:37] + "...")
    raise InputError(
        f"{shown} in column '{name}'",
        "a finite number, or NA where missing",
        "; ".join(fixes),
        path=path,
        line=line,
        column=name,
    )


def warn_minus_nine(frame: pd.DataFrame, path: PathArg) -> None:
    """Warn if columns of numbers hold -9, which many programs write for missing."""
    numbers = frame.select_dtypes("number")
    found = (numbers.to_numpy(np.float64) == -9).sum(axis=0)
    counts = {str(numbers.columns[int(k)]): int(found[k]) for k in np.flatnonzero(found)}
    if not counts:
        return
    shown = ", ".join(f"{count} in '{name}'" for name, count in list(counts.items())[:5])
    more = ", ..." if len(counts) > 5 else ""
    warn_user(
        f"{path}: {sum(counts.values())} values equal -9 are used as numbers ({shown}{more}); "
        "if they mean missing, write NA or use --missing-code -9",
    )
