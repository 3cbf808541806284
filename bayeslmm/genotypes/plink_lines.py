"""Lines of PLINK's tables: fields, individuals and variants, each checked with its line."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from math import isinf

import numpy as np
import pandas as pd

from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index, name_of, repeated_pairs
from bayeslmm.system.files import PathArg

FAM_MISSING = {"-9", "na", "nan"}
PSAM_HEADER, PVAR_HEADER = ("#FID", "#IID"), ("#CHROM",)


def individuals_of(rows: list[tuple[str, str]], path: PathArg, lines: list[int]) -> pd.MultiIndex:
    """Index individuals; raise `InputError` that shows the first five that are repeated."""
    fid, iid = [row[0] for row in rows], [row[1] for row in rows]
    for pair, line in zip(rows, lines, strict=True):
        _check_printable(pair, ("FID", "IID"), path, line)
    repeated = repeated_pairs(fid, iid)
    if repeated:
        shown = ", ".join(
            f"{name_of(fid[k], iid[k])} (lines {lines[first]} and {lines[k]})"
            for first, k in repeated[:5]
        )
        raise InputError(
            f"{len(repeated)} repeated individuals: {shown}",
            "every (FID, IID) once",
            "rename or remove them, in all files of the set",
            path=path,
            line=lines[repeated[0].again],
        )
    return individual_index(fid, iid)


def _check_printable(
    texts: Iterable[str], columns: tuple[str, ...], path: PathArg, line: int
) -> None:
    """Raise `InputError` for names with hidden characters, which could mislead readers."""
    for text, column in zip(texts, columns, strict=True):
        if not text.isprintable():
            raise InputError(
                f"the name {text[:60]!r}",
                "printable text (no control characters, no marks of writing direction)",
                "rename it, in all files of the set",
                path=path,
                line=line,
                column=column,
            )


def fam_rows(
    path: PathArg, lines: list[str], *, least: int, start: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a ``.fam``, which may have more columns than `least`."""
    width = max(least, len(lines[start].split())) if len(lines) > start else least
    return rows_of(path, lines, columns=(width,), start=start, kind=f"{least} or more")


def rows_of(
    path: PathArg,
    lines: list[str],
    *,
    columns: tuple[int, ...],
    start: int = 0,
    kind: str = "",
) -> Iterator[tuple[int, list[str]]]:
    """Yield (1-based line number, fields) of the lines after `start`; all have the same width."""
    if len(lines) == start:
        raise InputError("no rows", "one row or more", "check the file", path=path)
    width: int | None = None
    for number, text in enumerate(lines[start:] if start else lines, start + 1):
        row = text.split()
        if len(row) != width:
            _check_width(path, number, len(row), width, columns, kind)
            width = len(row)
        yield number, row


def _check_width(
    path: PathArg, line: int, found: int, width: int | None, allowed: tuple[int, ...], kind: str
) -> None:
    if found == 0:
        raise InputError(
            "a blank line",
            "one row for every individual or variant, and nothing else",
            "delete the line (a blank line would shift or add a row)",
            path=path,
            line=line,
        )
    if found not in allowed or width is not None:
        rule = " or ".join(str(number) for number in allowed if width in (None, number))
        note = f" ({kind}, the same in every line)" if kind else ""
        raise InputError(
            f"{found} columns",
            f"{rule} columns{note}",
            "repair the line; names must not contain blanks",
            path=path,
            line=line,
        )


def header_of(
    path: PathArg, lines: list[str], names: tuple[str, ...]
) -> tuple[int, list[str] | None]:
    """Skip ``##`` lines; return the number of lines before the first row and the column names."""
    for number, text in enumerate(lines):
        if text.startswith("##"):
            continue
        if not text.startswith("#"):
            return number, None
        fields = text.split()
        if fields[0] not in names:
            raise InputError(
                f"header begins with {fields[0]!r}",
                " or ".join(names),
                "check that this is the right file",
                path=path,
                line=number + 1,
            )
        return number + 1, [fields[0][1:], *fields[1:]]
    return len(lines), None


def bim_like(rows: Iterable[tuple[int, list[str]]], path: PathArg) -> pd.DataFrame:
    """Return the variants of rows as in a ``.bim``, CM perhaps left out."""
    return variant_table(
        ((line, [row[0], row[-3], row[1], row[-2], row[-1]]) for line, row in rows), path
    )


def variant_table(rows: Iterable[tuple[int, list[str]]], path: PathArg) -> pd.DataFrame:
    """Table of rows (CHROM, POS, ID, A1, A0); few distinct strings are stored once."""
    chromosomes, positions, names, a1s, a0s = [], [], [], [], []
    for line, (chromosome, position, name, a1, a0) in rows:
        chromosomes.append(sys.intern(chromosome))
        positions.append(_position(position, path, line))
        _check_printable((chromosome, name, a1, a0), ("CHROM", "ID", "A1", "A0"), path, line)
        names.append(name)
        a1s.append(sys.intern(a1))
        a0s.append(sys.intern(a0))
    return pd.DataFrame(
        {
            "CHROM": chromosomes,
            "POS": np.array(positions, dtype=np.int64),
            "ID": names,
            "A1": a1s,
            "A0": a0s,
        }
    )


def _position(text: str, path: PathArg, line: int) -> int:
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        return int(text)
    raise InputError(
        f"position {text!r}",
        "base pairs, a whole number",
        "repair the line, or check that the columns are in order",
        path=path,
        line=line,
        column="POS",
    )


def fam_value(text: str, path: PathArg, line: int, column: int) -> float:
    """Return a phenotype of a ``.fam``, NaN where missing; raise `InputError` for other text."""
    if text.lower() in FAM_MISSING:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if isinf(value):
        raise InputError(
            f"phenotype {text!r}",
            "a finite number, or -9 or NA for missing",
            "repair the value",
            path=path,
            line=line,
            column=column,
        )
    # "-9.0" and the like mean missing, too
    return float("nan") if value == -9 else value
