"""The text halves of PLINK file sets: .fam, .bim, .psam and .pvar, checked line by line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from math import isinf
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.individuals import NO_FAMILY, individual_index, name_of, repeated_pairs
from bayeslmm.system.files import PathArg, read_lines

VARIANT_COLUMNS = ["CHROM", "POS", "ID", "A1", "A0"]
FAM_MISSING = {"-9", "na", "nan"}


def read_fam(path: PathArg) -> pd.MultiIndex:
    """Individuals of a ``.fam`` file, in its order.

    Parameters
    ----------
    path
        Blank- or tab-separated ``FID IID PAT MAT SEX PHENO ...``, no header; further phenotype
        columns are allowed, as GEMMA's users write them.

    Returns
    -------
    individuals
        (n,) with the levels ``FID`` and ``IID``.

    Raises
    ------
    InputError
        Blank line, ragged or too few columns, duplicate (FID, IID), no row at all.
    """
    rows = list(_fam_rows(path, least=6))
    return _individuals([(row[0], row[1]) for _, row in rows], path, [line for line, _ in rows])


def read_fam_phenotypes(path: PathArg) -> pd.DataFrame:
    """Phenotypes of a ``.fam`` file: its columns 6 and up.

    Returns
    -------
    phenotypes
        (n, k) float64, indexed by (FID, IID), columns ``pheno1`` ... ``phenok``; ``-9``, ``NA``
        and ``nan`` are missing (NaN), which holds for ``.fam`` only.

    Raises
    ------
    InputError
        Whatever `read_fam` rejects; a value that is no finite number, with line and column.
    """
    rows = list(_fam_rows(path, least=6))
    values = [
        [_fam_value(text, path, line, number) for number, text in enumerate(row[5:], 6)]
        for line, row in rows
    ]
    columns = [f"pheno{k + 1}" for k in range(len(values[0]))]
    names = [(row[0], row[1]) for _, row in rows]
    index = _individuals(names, path, [line for line, _ in rows])
    frame = pd.DataFrame(np.array(values, dtype=np.float64), index=index, columns=columns)
    frame.attrs["path"] = os.fspath(path)
    return frame


def read_bim(path: PathArg) -> pd.DataFrame:
    """Variants of a ``.bim`` file, in its order.

    Parameters
    ----------
    path
        Blank- or tab-separated ``CHROM ID CM POS A1 A2``, no header. A1 (column 5) is the counted
        or effect allele, A2 is our A0. A position may be negative (unknown), and is kept.

    Returns
    -------
    variants
        (m,) rows with the columns ``CHROM`` (str), ``POS`` (int), ``ID``, ``A1``, ``A0`` (str).

    Raises
    ------
    InputError
        Blank line, not 6 columns, a position that is no integer, no row.
    """
    return _bim_like(_rows(path, read_lines(path), columns=(6,)), path)


def read_psam(path: PathArg) -> pd.MultiIndex:
    """Individuals of a ``.psam`` file, in its order.

    The header is ``#FID IID ...`` or ``#IID ...`` (then FID is "0", as in plink2); without a
    header the columns are those of a ``.fam``.

    Raises
    ------
    InputError
        As `read_fam`; a header without an ``IID`` column.
    """
    lines = read_lines(path)
    start, header = _header(path, lines, ("#FID", "#IID"))
    if header is None:
        rows = list(_fam_rows(path, least=5))
        names = [(row[0], row[1]) for _, row in rows]
    else:
        if "IID" not in header:
            raise InputError(
                f"header {' '.join(header)!r} without IID",
                "a header '#FID IID ...' or '#IID ...'",
                "add the column, or re-make the file with plink2 --make-pgen",
                path=path,
                line=start,
            )
        rows = list(_rows(path, lines, columns=(len(header),), start=start))
        at = header.index("IID")
        families = header[0] == "FID"
        names = [(row[0] if families else NO_FAMILY, row[at]) for _, row in rows]
    return _individuals(names, path, [line for line, _ in rows])


def read_pvar(path: PathArg) -> tuple[pd.DataFrame, np.ndarray]:
    """Variants of a ``.pvar`` file, in its order.

    Lines that begin with ``##`` are skipped; the header is ``#CHROM POS ID REF ALT ...``; without
    a header the columns are those of a ``.bim`` (CM may be left out). ALT is A1, REF is A0.

    Returns
    -------
    variants
        As `read_bim`; a multiallelic row has its ALT alleles in A1, separated by commas.
    alleles
        (m,) number of alleles of each variant, at least 2.

    Raises
    ------
    InputError
        As `read_bim`; a header without one of the five columns.
    """
    lines = read_lines(path)
    start, header = _header(path, lines, ("#CHROM",))
    if header is None:
        variants = _bim_like(_rows(path, lines, columns=(5, 6), start=start), path)
    else:
        missing = [name for name in ("POS", "ID", "REF", "ALT") if name not in header]
        if missing:
            raise InputError(
                f"header without {', '.join(missing)}",
                "#CHROM POS ID REF ALT",
                "re-make the file with plink2 --make-pgen",
                path=path,
                line=start,
            )
        order = [header.index(name) for name in ("CHROM", "POS", "ID", "ALT", "REF")]
        rows = _rows(path, lines, columns=(len(header),), start=start)
        variants = _variant_table(((line, [row[k] for k in order]) for line, row in rows), path)
    return variants, variants["A1"].str.count(",").to_numpy(dtype=np.int64) + 2


def _individuals(rows: list[tuple[str, str]], path: PathArg, lines: list[int]) -> pd.MultiIndex:
    """MultiIndex (FID, IID); repeated ones are an error that shows the first five."""
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
    """Refuse names that would change how a table, a terminal or a report is read."""
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


def warn_duplicate_variants(variants: pd.DataFrame, path: PathArg) -> None:
    """Warn of variant IDs that occur more than once ("." is no ID and may repeat)."""
    repeated = variants["ID"].duplicated() & (variants["ID"] != ".")
    if repeated.any():
        shown = ", ".join(variants["ID"][repeated].head(5))
        warnings.warn(
            f"{Path(path)}: {int(repeated.sum())} variant IDs occur more than once ({shown}); "
            "they cannot be chosen by --extract or --exclude",
            BayesLMMWarning,
            stacklevel=3,
        )


def _fam_rows(path: PathArg, *, least: int) -> Iterator[tuple[int, list[str]]]:
    lines = read_lines(path)
    width = max(least, len(lines[0].split())) if lines else least
    return _rows(path, lines, columns=(width,), kind=f"{least} or more")


def _rows(
    path: PathArg,
    lines: list[str],
    *,
    columns: tuple[int, ...],
    start: int = 0,
    kind: str = "",
) -> Iterator[tuple[int, list[str]]]:
    """Yield (1-based line number, fields) of the lines after `start`; the width is that of all."""
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


def _header(
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


def _bim_like(rows: Iterable[tuple[int, list[str]]], path: PathArg) -> pd.DataFrame:
    return _variant_table(
        ((line, [row[0], row[-3], row[1], row[-2], row[-1]]) for line, row in rows), path
    )


def _variant_table(rows: Iterable[tuple[int, list[str]]], path: PathArg) -> pd.DataFrame:
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


def _fam_value(text: str, path: PathArg, line: int, column: int) -> float:
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
