"""Read and write relationship matrices in the formats of GCTA, GEMMA and plink2."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from bayeslmm.errors import InputError
from bayeslmm.genotypes.plink_tables import read_fam
from bayeslmm.individuals import individual_index, name_of, repeated_pairs
from bayeslmm.relationship.files_gcta import (
    read_binary_triangle,
    read_pair_list,
    read_variant_count,
    write_binary_triangle,
    write_variant_count,
)
from bayeslmm.relationship.files_labelled import is_labelled, read_labelled_matrix
from bayeslmm.relationship.files_matrix import (
    read_binary_matrix,
    read_text_matrix,
    write_text_matrix,
)
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.system.atomic import atomic_paths, require_space
from bayeslmm.system.files import PathArg, read_lines, require_file

type Format = Literal["gcta", "gemma", "plink"]

# suffix of the matrix -> suffix of its file of IDs (GEMMA has none)
ID_SUFFIX = {
    ".grm.bin": ".grm.id",
    ".grm.gz": ".grm.id",
    ".rel.bin": ".rel.id",
    ".rel": ".rel.id",
    ".cXX.txt": "",
    ".sXX.txt": "",
}


class Found(NamedTuple):
    """The file of a matrix: prefix, and suffix (a key of `ID_SUFFIX`, or "" for other names)."""

    prefix: str
    suffix: str

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.prefix + self.suffix)


def read_grm(path: PathArg, *, fam: PathArg | None = None) -> Relationship:
    """Read a relationship matrix that GCTA, GEMMA, plink2 or bayeslmm wrote.

    Parameters
    ----------
    path
        The file, or its prefix. Known formats are

        - GCTA and ``plink2 --make-grm-bin``: ``.grm.bin`` (float32, lower triangle) and
          ``.grm.gz`` (rows ``i j N value``), with ``.grm.id``, and ``.grm.N.bin`` if present;
        - plink2: ``.rel`` (text, square or lower triangle) and ``.rel.bin`` (float64 or float32,
          square or lower triangle, recognised by the size), with ``.rel.id``;
        - R, pandas: any other name, text with names of columns, or of rows and columns
          (`bayeslmm.relationship.files_labelled`);
        - GEMMA: ``.cXX.txt`` and ``.sXX.txt``, or any other name: text without IDs.
    fam
        The ``.fam`` that GEMMA was given, because GEMMA's files have no IDs. The rows of the matrix
        are all rows of the ``.fam``, in the same order. For a matrix with names it gives the FIDs.

    Returns
    -------
    Relationship
        Unscaled (factor 1.0), estimator "file". `n_variants` is the largest number in
        ``.grm.N.bin`` or ``.grm.gz``, None for the other files.

    Raises
    ------
    InputError
        If the prefix has no matrix or several, IDs are absent or repeat, sizes disagree, a value
        is not a finite number, the matrix is not symmetric, or memory is too small. The message
        names file, line and individuals.
    """
    found = _find(os.fspath(path))
    if found.suffix == "" and is_labelled(found.path):
        matrix, individuals = read_labelled_matrix(found.path, fam)
        return Relationship(matrix, individuals, estimator="file", source=str(found.path))
    individuals = _read_ids(found, fam)
    n_variants = None
    match found.suffix:
        case ".grm.bin":
            matrix = read_binary_triangle(found.path, individuals)
            n_variants = read_variant_count(Path(found.prefix + ".grm.N.bin"), len(individuals))
        case ".grm.gz":
            matrix, n_variants = read_pair_list(found.path, individuals)
        case ".rel.bin":
            matrix = read_binary_matrix(found.path, individuals)
        case _:
            matrix = read_text_matrix(found.path, individuals)
    return Relationship(
        matrix, individuals, estimator="file", n_variants=n_variants, source=str(found.path)
    )


def write_grm(relationship: Relationship, prefix: PathArg, format: Format = "gcta") -> list[Path]:
    """Write a relationship matrix, at its present scale, in another program's format.

    Parameters
    ----------
    relationship
        The matrix to write.
    prefix
        Path of the files without suffix.
    format
        - "gcta" (default): ``.grm.bin`` and ``.grm.N.bin`` (float32), ``.grm.id``, for GCTA and
          plink; without ``.grm.N.bin`` if the number of variants is unknown.
        - "gemma": ``.cXX.txt``, 12 digits. GEMMA matches by position: the rows must be all rows
          of the ``.fam`` that GEMMA is given. The IDs are written beside it as ``.cXX.fam``; use
          that with ``read_grm(fam=)`` or to check the order.
        - "plink": ``.rel`` (text, square, 12 digits, as ``plink2 --make-rel square``) and
          ``.rel.id``.

    Returns
    -------
    paths
        The files. Either all are written or none.

    Raises
    ------
    InputError
        If the format is unknown, an ID has blanks or begins with #, or the disk is full.
    """
    ids = [_safe(*pair) for pair in relationship.individuals]
    base = os.fspath(prefix)
    suffixes = {
        "gcta": [".grm.bin", ".grm.id"] + [".grm.N.bin"] * (relationship.n_variants is not None),
        "gemma": [".cXX.txt", ".cXX.fam"],
        "plink": [".rel", ".rel.id"],
    }
    if format not in suffixes:
        raise InputError(f"format {format!r}", "'gcta', 'gemma' or 'plink'", "choose one of these")
    written = [Path(base + suffix) for suffix in suffixes[format]]
    require_space(written[0], matrix_bytes(relationship.n, format), f"the matrix {written[0].name}")
    with atomic_paths(written) as (matrix, names, *counts):
        match format:
            case "gcta":
                write_binary_triangle(matrix, relationship.matrix)
                for path in counts:
                    write_variant_count(path, relationship.n, relationship.n_variants or 0)
                _write_ids(names, ids)
            case "gemma":
                write_text_matrix(matrix, relationship.matrix)
                _write_ids(names, ids, end="\t0\t0\t0\t-9")
            case _:
                write_text_matrix(matrix, relationship.matrix)
                _write_ids(names, ids, header="#FID\tIID\n")
    if format == "gcta" and relationship.n_variants is None:
        Path(base + ".grm.N.bin").unlink(missing_ok=True)  # left by an earlier matrix
    return written


def matrix_bytes(n: int, format: Format) -> int:
    """Return the bytes that a matrix of n individuals takes on disk; for text a lower bound."""
    return n * n * {"gcta": 2, "gemma": 8, "plink": 8}[format]


def _find(text: str) -> Found:
    if Path(text).is_file():
        suffix = next((end for end in ID_SUFFIX if text.endswith(end)), "")
        if suffix == "" and text.endswith((".id", ".N.bin")):
            raise InputError(
                "a file that accompanies a matrix",
                "the matrix's file or its prefix",
                f"give {text.removesuffix('.id').removesuffix('.N.bin').removesuffix('.grm')}",
                path=text,
            )
        return Found(text.removesuffix(suffix), suffix)
    named = any(Path(text + end).is_file() for end in (".bin", ".gz"))
    prefix = text.removesuffix(".grm") if named else text
    present = [end for end in ID_SUFFIX if Path(prefix + end).is_file()]
    if prefix != text:  # "x.grm" for x.grm.bin or x.grm.gz
        present = [end for end in present if end.startswith(".grm.")]
    if len(present) == 1:
        return Found(prefix, present[0])
    if present:
        raise InputError(
            f"{len(present)} matrices: {', '.join(prefix + end for end in present)}",
            "one relationship matrix under a prefix",
            "give the full name of one of them",
            path=text,
        )
    packed = [text + end for end in (".rel.zst", ".grm.zst") if Path(text + end).is_file()]
    raise InputError(
        f"only the compressed {packed[0]}" if packed else "no relationship matrix",
        "a file, or a prefix with one of " + ", ".join(ID_SUFFIX),
        "make it again without 'zs'" if packed else "check the path",
        path=text,
    )


def _read_ids(found: Found, fam: PathArg | None) -> pd.MultiIndex:
    suffix = ID_SUFFIX.get(found.suffix, "")
    if suffix == "" and fam is None:
        raise InputError(
            "a matrix without individual IDs (GEMMA's format)",
            "the .fam file that GEMMA was given, whose rows are the rows of the matrix; or names "
            "of rows and columns (R: write.csv(K))",
            "add --fam FILE (Python: fam=)",
            path=found.path,
        )
    if suffix == "" and fam is not None:
        return read_fam(fam)
    if fam is not None:
        raise InputError(
            f"a .fam ({os.fspath(fam)}) for a matrix that has its own IDs",
            f"IDs from {found.prefix}{suffix}",
            "leave --fam out (Python: fam=)",
            path=found.path,
        )
    return read_grm_ids(Path(found.prefix + suffix))


def read_grm_ids(path: PathArg) -> pd.MultiIndex:
    """Read the individuals of a ``.grm.id`` or ``.rel.id`` file, in its order.

    The columns are ``FID IID``, or ``IID`` alone (FID is then "0", as in plink2). A header
    ``#FID IID`` or ``#IID`` is optional; a column ``SID`` is ignored.

    Raises
    ------
    InputError
        If the file is missing, a line is blank or has another number of columns, or individuals
        repeat.
    """
    require_file(path)
    rows = [line.split() for line in read_lines(path)]
    header = rows[0] if rows and (rows[0][:1] and rows[0][0][0] == "#") else None
    names = [name.lstrip("#") for name in header or []]
    if header is not None and ("IID" not in names or {*names} - {"FID", "IID", "SID"}):
        raise InputError(
            f"header {' '.join(header)!r}", "#FID IID or #IID", "repair it", path=path, line=1
        )
    first = 2 if header else 1
    rows = rows[first - 1 :]
    width = len(names) or (len(rows[0]) if rows else 0)
    for number, row in enumerate(rows, first):
        if len(row) != width or not (header or 1 <= width <= 2):
            raise InputError(
                f"{len(row)} columns" if row else "a blank line",
                f"{width} columns as above" if number > first else "FID and IID, or IID",
                "repair the line; names must not contain blanks",
                path=path,
                line=number,
            )
    if not rows:
        raise InputError("no individuals", "one row per individual", "check the file", path=path)
    names = names or ["FID", "IID"][-width:]
    iid = [row[names.index("IID")] for row in rows]
    fid = [row[names.index("FID")] for row in rows] if "FID" in names else ["0"] * len(rows)
    for number, pair in enumerate(zip(fid, iid, strict=True), first):
        for text in pair:
            if not text.isprintable():
                raise InputError(
                    f"the name {text[:60]!r}",
                    "printable text (no control characters, no marks of writing direction)",
                    "rename the individual",
                    path=path,
                    line=number,
                )
    if repeated := repeated_pairs(fid, iid):
        shown = ", ".join(
            f"{name_of(fid[r.again], iid[r.again])} (lines {r.first + first} and {r.again + first})"
            for r in repeated[:5]
        )
        raise InputError(
            f"{len(repeated)} repeated individuals: {shown}",
            "every (FID, IID) once",
            "rename or remove the duplicates",
            path=path,
            line=repeated[0].again + first,
        )
    return individual_index(fid, iid)


def _safe(fid: str, iid: str) -> str:
    """Return ``FID<tab>IID``; raise `InputError` for an ID that would break the file."""
    for name in (fid, iid):
        if not name or name.split() != [name] or name.startswith("#"):
            raise InputError(
                f"the individual ID {name!r}",
                "IDs without blanks that do not begin with #, to be written to a file",
                "rename the individual",
            )
    return f"{fid}\t{iid}"


def _write_ids(path: Path, ids: list[str], *, header: str = "", end: str = "") -> None:
    text = header + "".join(f"{pair}{end}\n" for pair in ids)
    path.write_text(text, encoding="utf-8", newline="\n")
