"""Phenotype, covariate and keep files in the conventions of PLINK, REGENIE and GCTA.

With a header (``FID IID ...``, ``#FID IID ...``, ``#IID ...``, ``IID ...``, in any case) or without
one (``FID IID value ...``); columns parted by tabs, or by blanks, or, if the first line has
neither, by commas. UTF-8 with or without a byte order mark, any line ends. ``NA``, ``NaN``, ``.``
and an empty field are missing; ``-9`` is a number here (it is missing only in a ``.fam``), unless
`missing_code` says otherwise.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.files import PathArg, read_lines
from bayeslmm.individuals import NO_FAMILY, individual_index, name_of, repeated_pairs

MISSING = frozenset({"NA", "na", "NaN", "nan", "NAN", ".", ""})
HEADER_RULE = "a header that starts with FID IID, #FID IID, #IID or IID, or none at all"


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
        from bayeslmm.formula import parse_formula

        parsed = parse_formula(formula)
        columns = parsed.columns
        categorical = {*categorical, *parsed.categorical}
    return read_table(
        path, prefix="covar", columns=columns, categorical=categorical, missing_code=missing_code
    )


def read_ids(path: PathArg) -> pd.DataFrame:
    """Read individuals to keep or to remove: ``FID IID`` or ``IID``, further columns ignored.

    Returns
    -------
    pandas.DataFrame
        Without columns; its index holds FID and IID (FID "0" if the file has none).
    """
    rows = _read_rows(path, "column", ids_only=True)
    frame = pd.DataFrame(index=_individuals(rows, path))
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
    rows = _read_rows(path, prefix)
    individuals = _individuals(rows, path)
    wanted = rows.names if columns is None else [*dict.fromkeys([*columns, *sorted(categorical)])]
    require_columns([*wanted, *categorical], rows.names, path=path)
    data: dict[str, object] = {}
    minus_nine: dict[str, int] = {}
    for name in wanted:
        texts = [fields[rows.names.index(name)] for fields in rows.values]
        if name in categorical:
            data[name] = _levels(texts, missing_code)
            continue
        values = _numbers(texts, name, rows, path, prefix)
        if missing_code is not None:
            values[values == missing_code] = np.nan
        if count := int((values == -9).sum()):
            minus_nine[name] = count
        data[name] = values
    if minus_nine:
        _warn_minus_nine(minus_nine, path)
    frame = pd.DataFrame(data, index=individuals, columns=wanted)
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


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """The fields of a table as text, without the identifiers' columns."""

    names: list[str]
    fids: list[str]
    iids: list[str]
    values: list[list[str]]
    lines: list[int]  # 1-based line of each row
    header: bool


def _read_rows(path: PathArg, prefix: str, *, ids_only: bool = False) -> _Rows:
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    start = next((i for i, line in enumerate(lines) if not line.startswith("##")), len(lines))
    if start == len(lines):
        raise InputError("an empty file", "a row for each individual", "check it", path=path)
    split = _splitter(lines[start])
    first = split(lines[start])
    _check_first_line(first, path, start + 1)
    keys = [field.lower().removeprefix("#") for field in first[:2]]
    header = keys[0] in ("fid", "iid")
    if header and keys[0] == "fid" and keys[1:] != ["iid"]:
        raise InputError(
            "a header with FID but without IID after it", HEADER_RULE, "add IID", path=path, line=1
        )
    has_fid = keys[0] == "fid" if header else not (ids_only and len(first) == 1)
    n_ids = 2 if has_fid else 1
    if (
        header
        and first[0].startswith("#")
        and [f.lower() for f in first[n_ids : n_ids + 1]] == ["sid"]
    ):
        n_ids += 1
    if not ids_only and len(first) <= n_ids:
        raise InputError(
            f"{len(first)} columns",
            "FID, IID and at least one more",
            HEADER_RULE,
            path=path,
            line=start + 1,
        )
    names = (
        _column_names(first[n_ids:], path, start + 1)
        if header and not ids_only
        else [f"{prefix}{i + 1}" for i in range(len(first) - n_ids)]
    )
    body = start + 1 if header else start
    fields = [
        _fields(split(line), line, len(first), path, number)
        for number, line in enumerate(lines[body:], body + 1)
    ]
    if not fields:
        raise InputError(
            "a header and no rows", "a row for each individual", "check it", path=path, line=body
        )
    return _Rows(
        names=names,
        fids=[row[0] for row in fields] if has_fid else [NO_FAMILY] * len(fields),
        iids=[row[1 if has_fid else 0] for row in fields],
        values=[] if ids_only else [row[n_ids:] for row in fields],
        lines=list(range(body + 1, body + 1 + len(fields))),
        header=header,
    )


def _splitter(line: str) -> Callable[[str], list[str]]:
    """Tabs if the first line has one, else blanks if it has any, else commas."""
    if "\t" in line:
        return lambda text: [field.strip() for field in text.split("\t")]
    if "," in line and " " not in line.strip():
        return lambda text: [field.strip() for field in text.split(",")]
    return lambda text: text.split()


def _check_first_line(first: list[str], path: PathArg, line: int) -> None:
    if first and first[0][:1] in ("'", '"'):
        raise InputError(
            f"a quoted field {first[0]}",
            "fields without quotes",
            "write the table without quotes (R: write.table(..., quote = FALSE))",
            path=path,
            line=line,
            column=1,
        )
    if any(len(field.split()) > 1 for field in first[:2]):
        raise InputError(
            f"a blank within {first[0]!r}",
            "columns parted by tabs only, or by blanks only",
            "write the table with one kind of separator",
            path=path,
            line=line,
            column=1,
        )


def _column_names(names: list[str], path: PathArg, line: int) -> list[str]:
    for position, name in enumerate(names):
        if not name or not name.isprintable():
            raise InputError(
                f"the column name {name!r}",
                "a printable name",
                "rename the column",
                path=path,
                line=line,
                column=position + 1,
            )
        if name in names[:position]:
            raise InputError(
                f"the column '{name}' stands twice",
                "different names",
                "rename one of them",
                path=path,
                line=line,
                column=name,
            )
    return names


def _fields(fields: list[str], line: str, expected: int, path: PathArg, number: int) -> list[str]:
    if not line.strip():
        raise InputError(
            "a blank line", "a row for each individual", "remove the line", path=path, line=number
        )
    if len(fields) != expected:
        raise InputError(
            f"{len(fields)} fields",
            f"{expected}, as in the first line",
            "complete the line (NA for a missing value), or remove it",
            path=path,
            line=number,
        )
    return fields


def _individuals(rows: _Rows, path: PathArg) -> pd.MultiIndex:
    for ids, column in ((rows.fids, "FID"), (rows.iids, "IID")):
        for text, line in zip(ids, rows.lines, strict=True):
            if not text or not text.isprintable() or len(text.split()) != 1:
                raise InputError(
                    f"the identifier {text!r}",
                    "printable text without blanks, not empty",
                    "correct it",
                    path=path,
                    line=line,
                    column=column,
                )
    if repeated := repeated_pairs(rows.fids, rows.iids):
        shown = ", ".join(
            f"{name_of(rows.fids[r.again], rows.iids[r.again])} "
            f"(lines {rows.lines[r.first]} and {rows.lines[r.again]})"
            for r in repeated[:5]
        )
        raise InputError(
            f"{len(repeated)} repeated individuals: {shown}",
            "one row an individual",
            "remove or rename the repeated rows",
            path=path,
            line=rows.lines[repeated[0].again],
        )
    return individual_index(rows.fids, rows.iids)


def _numbers(
    texts: list[str], name: str, rows: _Rows, path: PathArg, prefix: str
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


def _levels(texts: list[str], missing_code: float | None) -> pd.Series[str]:
    """Levels of a categorical column as text, missing where missing."""

    def is_missing(text: str) -> bool:
        if text in MISSING:
            return True
        return missing_code is not None and not _bad(text) and float(text) == missing_code

    return pd.Series([None if is_missing(t) else t for t in texts], dtype="str").array  # type: ignore[return-value]


def _warn_minus_nine(counts: dict[str, int], path: PathArg) -> None:
    shown = ", ".join(f"{count} in '{name}'" for name, count in list(counts.items())[:5])
    more = ", ..." if len(counts) > 5 else ""
    warnings.warn(
        f"{path}: {sum(counts.values())} values equal -9 are used as numbers ({shown}{more}); "
        "if they mean missing, write NA or use --missing-code -9",
        BayesLMMWarning,
        stacklevel=4,
    )
