"""The text of a table, line by line: identifiers and fields, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from bayeslmm.errors import InputError
from bayeslmm.individuals import NO_FAMILY, individual_index, name_of, repeated_pairs
from bayeslmm.system.files import PathArg, read_lines
from bayeslmm.tables.layout import check_first_fields, column_names, splitter, table_layout


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The fields of a table as text, without the identifiers' columns."""

    names: list[str]
    fids: list[str]
    iids: list[str]
    values: list[list[str]]
    lines: list[int]  # 1-based line of each row
    header: bool


def read_rows(path: PathArg, prefix: str, *, ids_only: bool = False) -> Rows:
    """Read a table's text; columns without a header are named prefix1, prefix2, ..."""
    lines, start, split, first = _open(path)
    layout = table_layout(first, prefix, path, start + 1, ids_only=ids_only)
    body = start + 1 if layout.header else start
    fields = _body(lines, body, split, len(first), path)
    fid, iid, n_ids = layout.fid, layout.iid, layout.n_ids
    return Rows(
        names=layout.names,
        fids=[NO_FAMILY if fid is None else row[fid] for row in fields],
        iids=[row[iid] for row in fields],
        values=[] if ids_only else [row[n_ids:] for row in fields],
        lines=list(range(body + 1, body + 1 + len(fields))),
        header=layout.header,
    )


def read_record_rows(path: PathArg, id_column: str) -> Rows:
    """Read the text of a table with one row per record; the header names the individual's column.

    If `id_column` is IID and there is a column FID, both name the individual.
    """
    lines, start, split, first = _open(path)
    names = column_names([first[0].removeprefix("#"), *first[1:]], path, start + 1)
    folded = [name.lower() for name in names]
    is_iid = id_column.lower().removeprefix("#") == "iid"
    if id_column not in names and not (is_iid and "iid" in folded):
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise InputError(
            f"no column '{id_column}' in the first line",
            f"a header that names the individuals' column; it has: {shown}",
            "correct the name (--id-column)",
            path=path,
            line=start + 1,
        )
    iid = names.index(id_column) if id_column in names else folded.index("iid")
    fid = folded.index("fid") if is_iid and "fid" in folded else None
    fields = _body(lines, start + 1, split, len(first), path)
    rest = [position for position in range(len(names)) if position not in (iid, fid)]
    return Rows(
        names=[names[position] for position in rest],
        fids=[NO_FAMILY if fid is None else row[fid] for row in fields],
        iids=[row[iid] for row in fields],
        values=[[row[position] for position in rest] for row in fields],
        lines=list(range(start + 2, start + 2 + len(fields))),
        header=True,
    )


def _open(path: PathArg) -> tuple[list[str], int, Callable[[str], list[str]], list[str]]:
    """Lines, where the first one after comments (##) stands, how to split them, its fields."""
    lines = read_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    start = next((i for i, line in enumerate(lines) if not line.startswith("##")), len(lines))
    if start == len(lines):
        raise InputError("an empty file", "a row for each individual", "check it", path=path)
    split = splitter(lines[start])
    first = _fields(split(lines[start]), lines[start], None, path, start + 1)
    check_first_fields(first, path, start + 1)
    return lines, start, split, first


def _body(
    lines: list[str], body: int, split: Callable[[str], list[str]], expected: int, path: PathArg
) -> list[list[str]]:
    """Fields of the rows from the line `body` (0-based) on."""
    fields = [
        _fields(split(line), line, expected, path, number)
        for number, line in enumerate(lines[body:], body + 1)
    ]
    if not fields:
        raise InputError(
            "a header and no rows", "a row for each individual", "check it", path=path, line=body
        )
    if body and (header := split(lines[body - 1])) in fields:
        raise InputError(
            f"the header again ({' '.join(header)[:60]})",
            "one header, in the first line",
            "the file is two tables in one: remove the line, and rows that stand twice",
            path=path,
            line=body + 1 + fields.index(header),
        )
    return fields


def _fields(
    fields: list[str], line: str, expected: int | None, path: PathArg, number: int
) -> list[str]:
    if not line.strip():
        raise InputError(
            "a blank line", "a row for each individual", "remove the line", path=path, line=number
        )
    if expected is not None and len(fields) != expected:
        raise InputError(
            f"{len(fields)} fields",
            f"{expected}, as in the first line",
            "complete the line (NA for a missing value), or remove it",
            path=path,
            line=number,
        )
    return fields


def check_identifiers(rows: Rows, path: PathArg, id_column: str = "IID") -> None:
    """Refuse identifiers that are empty, unprintable or hold blanks, with the line."""
    for ids, column in ((rows.fids, "FID"), (rows.iids, id_column)):
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


def check_printable(
    texts: Sequence[str], lines: Sequence[int], name: str, path: PathArg | None
) -> None:
    """Raise `InputError`, with the line, for text with unprintable characters in a column."""
    for text, line in zip(texts, lines, strict=True):
        if not text.isprintable():
            shown = ascii(text if len(text) <= 40 else text[:37] + "...")
            raise InputError(
                f"{shown} in column '{name}'",
                "printable text (no control characters, no marks of writing direction)",
                "write it anew",
                path=path,
                line=line,
                column=name,
            )


def individuals_of(rows: Rows, path: PathArg) -> pd.MultiIndex:
    """Index the rows by FID and IID; unusable or repeated identifiers are errors."""
    check_identifiers(rows, path)
    if repeated := repeated_pairs(rows.fids, rows.iids):
        shown = ", ".join(
            f"{name_of(rows.fids[r.again], rows.iids[r.again])} "
            f"(lines {rows.lines[r.first]} and {rows.lines[r.again]})"
            for r in repeated[:5]
        )
        raise InputError(
            f"{len(repeated)} repeated individuals: {shown}",
            "one row per individual",
            "remove or rename the repeated rows",
            path=path,
            line=rows.lines[repeated[0].again],
        )
    return individual_index(rows.fids, rows.iids)
