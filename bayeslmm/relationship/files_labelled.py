"""Matrices with names of rows and columns as text: what R and pandas write.

``write.csv(K)`` and ``K.to_csv()`` begin with a corner cell. ``write.table(K)`` has none, so that
its header is one field short. With ``row.names=FALSE`` there is the header only. Names may be
quoted; fields are separated by commas, semicolons, tabs or blanks.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.errors import InputError
from bayeslmm.genotypes.plink_tables import read_fam
from bayeslmm.individuals import NO_FAMILY, individual_index
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.files import PathArg
from bayeslmm.system.memory import require_memory
from bayeslmm.tables.text import check_printable
from bayeslmm.tables.values import is_number

FAMILY = ("FID", "IID")
CORNERS = ("", "ID", "id", "IID", "FID", "#FID", "#IID")
LONGEST = 10**8  # bytes of a line


def is_labelled(path: Path) -> bool:
    """Return whether a text file begins with the names of columns."""
    with open(path, "rb") as file:
        first, second = file.readline(LONGEST), file.readline(LONGEST)
    if b"\0" in first or not first.strip():
        return False
    names, row = (_fields(line.decode("utf-8-sig", "replace")) for line in (first, second))
    if len(names) < 2:
        return False
    corner = names[0] in CORNERS and row[:1] != [""]  # not a matrix that begins with a separator
    if b'"' in first or corner or all(name and not is_number(name) for name in names[1:]):
        return True
    return all(names) and len(row) == len(names) + 1  # names that are numbers


def read_labelled_matrix(path: Path, fam: PathArg | None) -> tuple[Floats, pd.MultiIndex]:
    """Read a square matrix with names of its columns, of its rows too, or with columns FID and IID.

    Parameters
    ----------
    path
        The file.
    fam
        Gives the families (FID) of the names (IID), in any order; default: no families.

    Returns
    -------
    matrix, individuals
        (n, n) in the order of the rows, and their IDs. Columns are matched by name.

    Raises
    ------
    InputError
        If names repeat or rows and columns have different names, an entry is not a number, or the
        ``.fam`` lacks a name. The message names line and column.
    """
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = _rows(file)
        line, header = next(lines)
        first = next(lines, None)
        if first is None:
            raise InputError("a header without rows", "a square matrix", "check it", path=path)
        before = _names_before(header, first[1], path)
        columns = header[before:] if len(header) == len(first[1]) else header
        check_printable(columns, [line] * len(columns), "names", path)
        n = len(columns)
        require_memory(16 * n * n, f"the matrix of {n} individuals", "use fewer individuals")
        matrix, names, families = np.empty((n, n)), list[str](), list[str]()
        for k, (line, row) in enumerate(chain([first], lines)):
            if k == n:
                raise _not_square(f"more than {n} rows", n, path)
            if len(row) != n + before:
                raise InputError(
                    f"{len(row)} fields", f"{n + before} as in the first row", "repair the line",
                    path=path, line=line,
                )  # fmt: skip
            names.append(row[before - 1] if before else columns[k])
            families.append(row[0] if before == 2 else NO_FAMILY)
            check_printable([names[-1], families[-1]], [line] * 2, "names", path)
            matrix[k] = _numbers(row[before:], columns, path, line)
    if len(names) < n:
        raise _not_square(f"{len(names)} rows", n, path)
    order = _matched(names, columns, path)
    if fam is not None:
        families = _families(names, fam, path)
    return np.ascontiguousarray(matrix[:, order]), individual_index(families, names)


def _not_square(found: str, n: int, path: Path) -> InputError:
    return InputError(
        f"{found} below {n} names of columns", "a square matrix",
        "write the whole matrix, with a name for each column", path=path,
    )  # fmt: skip


def _rows(file: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not blank: their numbers and fields."""
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, _fields(line)


def _fields(line: str) -> list[str]:
    line = line.rstrip("\r\n")
    mark = next((mark for mark in ("\t", ",", ";") if mark in line), " ")
    text = line.strip(" ") if mark == " " else line
    try:
        found = next(csv.reader([text], delimiter=mark, skipinitialspace=True), [])
    except csv.Error:  # a field of more than 131 072 characters
        found = text.split(mark)
    return [field.strip() for field in found]


def _names_before(header: list[str], row: list[str], path: Path) -> int:
    """Return the number of fields with names at the beginning of a row: 0, 1 or 2."""
    if tuple(name.lstrip("#") for name in header[:2]) == FAMILY and len(header) == len(row):
        return 2
    if len(row) == len(header) + 1:
        return 1
    if len(row) != len(header):
        raise InputError(
            f"{len(row)} fields below a header of {len(header)}",
            "as many, or one more for the names of the rows",
            "write the matrix with names of columns (R: write.csv(K))",
            path=path, line=2,
        )  # fmt: skip
    corner = header[0] == "" or row[0] in header[1:] or not is_number(row[0])
    return 1 if corner else 0


def _numbers(fields: list[str], columns: list[str], path: Path, line: int) -> Floats:
    try:
        return np.array(fields, dtype=np.float64)
    except ValueError:
        k = next(k for k, field in enumerate(fields) if not is_number(field))
    raise InputError(
        f"{fields[k][:40]!r} is not a number", "a relationship in every cell",
        "compute the matrix again, or leave out individuals without one",
        path=path, line=line, column=columns[k],
    )  # fmt: skip


def _matched(names: list[str], columns: list[str], path: Path) -> list[int]:
    """Return the column of each row's name."""
    where = {name: k for k, name in enumerate(columns)}
    if len(where) < len(columns) or len(set(names)) < len(names):
        twice = next(x for some in (columns, names) for x in some if some.count(x) > 1)
        raise InputError(
            f"the name {twice!r} twice", "every individual once", "rename or remove one", path=path
        )
    if "" in where or "" in names:
        raise InputError(
            "an empty name", "a name for every row and column", "complete them", path=path
        )
    if absent := [name for name in names if name not in where]:
        raise InputError(
            f"{len(absent)} rows whose names no column has: {', '.join(absent[:5])}",
            "the same names of rows and columns",
            "write the matrix with both names (R: dimnames(K) <- list(ids, ids))",
            path=path,
        )  # fmt: skip
    return [where[name] for name in names]


def _families(names: list[str], fam: PathArg, path: Path) -> list[str]:
    """Return the FID of each name from a ``.fam``."""
    individuals = read_fam(fam)
    fids, iids = (individuals.get_level_values(k) for k in (0, 1))
    known = set(iids)
    if absent := [name for name in names if name not in known]:
        raise InputError(
            f"{len(absent)} names of the matrix are not in {fam}: {', '.join(absent[:5])}",
            "the individuals of the matrix in the .fam, by IID",
            "leave --fam out: the matrix has its own IDs",
            path=path,
        )  # fmt: skip
    if iids.has_duplicates:
        raise InputError(
            f"{fam} has an IID in two families", "IIDs that name one individual each",
            "leave --fam out: the matrix has its own IDs", path=path,
        )  # fmt: skip
    return pd.Series(fids, index=iids)[names].tolist()
