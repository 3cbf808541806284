"""The text of a table: separator, header, identifiers and fields, each with its line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from bayeslmm.errors import InputError
from bayeslmm.individuals import NO_FAMILY, individual_index, name_of, repeated_pairs
from bayeslmm.system.files import PathArg, read_lines

HEADER_RULE = "a header that starts with FID IID, #FID IID, #IID or IID, or none at all"


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
        _column_names(first[n_ids:], path, start + 1, n_ids)
        if header and not ids_only
        else [f"{prefix}{i + 1}" for i in range(len(first) - n_ids)]
    )
    body = start + 1 if header else start
    fields = _body(lines, body, split, len(first), path)
    return Rows(
        names=names,
        fids=[row[0] for row in fields] if has_fid else [NO_FAMILY] * len(fields),
        iids=[row[1 if has_fid else 0] for row in fields],
        values=[] if ids_only else [row[n_ids:] for row in fields],
        lines=list(range(body + 1, body + 1 + len(fields))),
        header=header,
    )


def read_record_rows(path: PathArg, id_column: str) -> Rows:
    """Read the text of a table with a row a record; the header names the individual's column.

    If `id_column` is IID and there is a column FID, both name the individual.
    """
    lines, start, split, first = _open(path)
    names = _column_names([first[0].removeprefix("#"), *first[1:]], path, start + 1)
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
    split = _splitter(lines[start])
    first = _fields(split(lines[start]), lines[start], None, path, start + 1)
    _check_first_line(first, path, start + 1)
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


def _column_names(names: list[str], path: PathArg, line: int, before_them: int = 0) -> list[str]:
    before = set[str]()
    for position, name in enumerate(names):
        if not name or not name.isprintable():
            raise InputError(
                f"the column name {name!r}",
                "a printable name",
                "rename the column",
                path=path,
                line=line,
                column=before_them + position + 1,
            )
        if name in before:
            raise InputError(
                f"the column '{name}' stands twice",
                "different names",
                "rename one of them",
                path=path,
                line=line,
                column=name,
            )
        before.add(name)
    return names


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
    """Refuse text in a column that does not show what it is, with its line."""
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
            "one row an individual",
            "remove or rename the repeated rows",
            path=path,
            line=rows.lines[repeated[0].again],
        )
    return individual_index(rows.fids, rows.iids)
