"""Phenotype, covariate and keep files in the conventions of PLINK, REGENIE and GCTA.

With a header (``FID IID ...``, ``#FID IID ...``, ``#IID ...``, ``IID ...``, in any case) or without
one (``FID IID value ...``); columns parted by tabs, or by blanks, or, if the first line has
neither, by commas. UTF-8 with or without a byte order mark, any line ends. ``NA``, ``NaN``, ``.``
and an empty field are missing; ``-9`` is a number here (it is missing only in a ``.fam``), unless
`missing_code` says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError, warn_user
from bayeslmm.system.files import PathArg
from bayeslmm.tables.text import HEADER_RULE, Rows, check_printable, individuals_of, read_rows

MISSING = frozenset({"NA", "na", "NaN", "nan", "NAN", ".", ""})
_CODE = re.compile(r"[+-]?(0[0-9]+|[0-9]{16,})")  # a float would change it


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
    """Read further columns of a table with a row an individual, such as a household or a dam.

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
        text (`numbers_or_text`); ``attrs["path"]`` is the file.

    Raises
    ------
    InputError
        With the file, the line and the column, whatever is wrong.
    """
    rows = read_rows(path, "pheno")
    individuals = individuals_of(rows, path)
    wanted = list(dict.fromkeys(names))
    require_columns(wanted, rows.names, path=path)
    data, places = {}, {name: position for position, name in enumerate(rows.names)}
    for name in wanted:
        position = places[name]
        texts = [fields[position] for fields in rows.values]
        check_printable(texts, rows.lines, name, path)
        data[name] = column_values(texts, missing_code)
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
    rows = read_rows(path, "column", ids_only=True)
    frame = pd.DataFrame(index=individuals_of(rows, path))
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
    """Read any table with a row an individual; see `read_phenotypes` and `read_covariates`.

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
    rows = read_rows(path, prefix)
    individuals = individuals_of(rows, path)
    wanted = rows.names if columns is None else [*dict.fromkeys([*columns, *sorted(categorical)])]
    require_columns([*wanted, *categorical], rows.names, path=path)
    data: dict[str, object] = {}
    places = {name: position for position, name in enumerate(rows.names)}
    for name in wanted:
        position = places[name]
        texts = [fields[position] for fields in rows.values]
        if name in categorical:
            check_printable(texts, rows.lines, name, path)
            data[name] = pd.Series(_levels(texts, missing_code), index=individuals, dtype="str")
            continue
        values = _numbers(texts, name, rows, path, prefix)
        if missing_code is not None:
            values[values == missing_code] = np.nan
        data[name] = values
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


def _numbers(
    texts: list[str], name: str, rows: Rows, path: PathArg, prefix: str
) -> NDArray[np.float64]:
    """Parse a column, or raise an error that names the line of the first bad value."""
    try:
        values = np.array([math.nan if t in MISSING else _number(t) for t in texts], np.float64)
    except ValueError:
        position = next(i for i, t in enumerate(texts) if t not in MISSING and _bad(t))
    else:
        return values
    text, line = texts[position], rows.lines[position]
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


def _number(text: str) -> float:
    """Parse a finite decimal number; Python's own 1_000 and words such as inf are refused."""
    value = float(text)
    if not math.isfinite(value) or "_" in text or not text.isascii():
        raise ValueError(text)
    return value


def _bad(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return True
    return False


def _levels(texts: list[str], missing_code: float | None) -> NDArray[np.object_]:
    """Levels of a categorical column as text, None where missing."""

    def is_missing(text: str) -> bool:
        if text in MISSING:
            return True
        return missing_code is not None and not _bad(text) and float(text) == missing_code

    return np.array([None if is_missing(text) else text for text in texts], dtype=object)


def numbers_or_text(texts: Sequence[str], missing_code: float | None = None) -> pd.Series[Any]:
    """Read a column as float64 if every value is a number or missing, else as text.

    Whole numbers that a float would change, with a leading zero or more than 15 digits, are
    identifiers: then the column is text.

    Examples
    --------
    >>> numbers_or_text(["1", "NA", "2.5"]).tolist()
    [1.0, nan, 2.5]
    >>> numbers_or_text(["1", "NA", "x"]).tolist(), numbers_or_text(["1", "02"]).tolist()
    (['1', nan, 'x'], ['1', '02'])
    """
    return pd.Series(column_values(texts, missing_code))


def column_values(
    texts: Sequence[str], missing_code: float | None = None
) -> NDArray[np.float64] | pd.api.extensions.ExtensionArray:
    """Values of `numbers_or_text` as an array: tables may have very many columns."""
    if any(t not in MISSING and (_bad(t) or _CODE.fullmatch(t)) for t in texts):
        levels: pd.api.extensions.ExtensionArray
        levels = pd.Series(_levels(list(texts), missing_code), dtype="str").array
        return levels
    values = np.array([math.nan if t in MISSING else float(t) for t in texts], np.float64)
    if missing_code is not None:
        values[values == missing_code] = np.nan
    return values


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
