"""Genotypes: individuals, variants and lazy blocks of dosages, from PLINK files or an array."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, DTypeLike

from bayeslmm.errors import InputError
from bayeslmm.genotypes.array import ArrayReader, array_individuals, array_variants, check_dosages
from bayeslmm.genotypes.conversions import foreign_beside, foreign_file
from bayeslmm.genotypes.frequency_check import FrequencyCheck
from bayeslmm.genotypes.plink import Opened, open_bfile, open_pfile
from bayeslmm.genotypes.plink_readers import Block, Index, Reader
from bayeslmm.genotypes.plink_write import write_bfile
from bayeslmm.ledger import Ledger
from bayeslmm.system.files import PathArg

type Kind = Literal["bfile", "pfile"]

SUFFIXES: dict[Kind, tuple[str, str, str]] = {
    "bfile": (".bed", ".bim", ".fam"),
    "pfile": (".pgen", ".pvar", ".psam"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The reader behind a `Genotypes`, and the selection of its rows and columns.

    Parameters
    ----------
    reader
        Reader of the file or array.
    individuals
        (n,) positions of the selected individuals in the file, increasing; None for all.
    variants
        (m,) positions of the selected variants in the file, increasing.
    """

    reader: Reader
    individuals: Index | None
    variants: Index

    @property
    def name(self) -> str:
        """The file, or "array"."""
        return self.reader.name

    @property
    def hard_calls(self) -> bool:
        """Whether every dosage is 0, 1, 2 or missing."""
        return self.reader.hard_calls


@dataclass(frozen=True, slots=True, eq=False)
class Genotypes:
    """Genotypes of n individuals at m variants; no dosage is read before `blocks` is used.

    Parameters
    ----------
    individuals
        (n,) selected individuals with the levels FID and IID, in the order of the file.
    variants
        (m,) selected variants in the order of the file: columns CHROM (str), POS (int, base
        pairs), ID, A1, A0 (str). A1 is the effect allele, whose copies the dosages count: A1 of a
        ``.bim`` (column 5), ALT of a ``.pvar``.
    source
        Reader and selection of the dosages.
    ledger
        What was dropped so far.
    frequency_check
        Agreement with a reference panel, if `quality_control` was given one.
    """

    individuals: pd.MultiIndex
    variants: pd.DataFrame
    source: Source
    ledger: Ledger = field(default_factory=Ledger)
    frequency_check: FrequencyCheck | None = None

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.individuals)

    @property
    def m(self) -> int:
        """Number of variants."""
        return len(self.variants)

    def place(self, position: int) -> str:
        """Return the place of a variant: ``x.bim:7``, or the column of an array."""
        number = int(self.source.variants[position]) + 1
        path = Path(self.source.name)
        if path.suffix == ".bed":
            return f"{path.stem}.bim:{number}"
        if path.suffix != ".pgen":
            return f"column {number}"
        with open(path.with_suffix(".pvar"), encoding="utf-8-sig") as lines:
            header = sum(1 for _ in takewhile(lambda line: line.startswith("#"), lines))
        return f"{path.stem}.pvar:{header + number}"

    def blocks(
        self, size: int = 1024, dtype: DTypeLike = np.float32
    ) -> Iterator[tuple[slice, Block]]:
        """Read the dosages of A1 in blocks of consecutive selected variants.

        Parameters
        ----------
        size
            Variants in a block (the last one may have fewer); default 1024.
        dtype
            float32 (default) or float64 gives dosages in [0, 2], NaN for missing. int8 gives hard
            calls 0, 1, 2, and -9 if missing or farther than 0.1 from a whole number.

        Yields
        ------
        where, block
            Positions in `variants`, and their dosages (b, n), a new array in C order each time.

        Raises
        ------
        InputError
            If `size` or `dtype` is wrong, or the file was damaged after it was opened.
        """
        wanted = np.dtype(dtype)
        if wanted not in (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int8)):
            raise InputError(f"dtype {wanted}", "float32, float64 or int8", "choose one of these")
        if size < 1:
            raise InputError(f"blocks of {size} variants", "1 or more", "choose a larger size")
        starts = range(0, self.m, size)
        chunks = [self.source.variants[start : start + size] for start in starts]
        integer = wanted.kind == "i"
        blocks = self.source.reader.read(self.source.individuals, chunks, integer=integer)
        for start, block in zip(starts, blocks, strict=True):
            yield slice(start, start + len(block)), block.astype(wanted, copy=False)

    def select(
        self,
        individuals: ArrayLike | None = None,
        variants: ArrayLike | None = None,
        ledger: Ledger | None = None,
    ) -> Genotypes:
        """Choose individuals and variants; nothing is read.

        Parameters
        ----------
        individuals, variants
            Boolean masks of length n and m, or positions in `individuals` and `variants`, each at
            most once; None for all. The result keeps the order of the file.
        ledger
            Ledger of the result. Default: the ledger of this object.

        Raises
        ------
        InputError
            If nothing is selected, positions are out of range or repeat, or a mask has another
            length.
        """
        rows = _positions(individuals, self.n, "individuals")
        columns = _positions(variants, self.m, "variants")
        source = self.source
        index, table = self.individuals, self.variants
        chosen_rows, chosen_columns = source.individuals, source.variants
        if rows is not None:
            index = index[rows]
            chosen_rows = rows if chosen_rows is None else chosen_rows[rows]
        if columns is not None:
            table = table.iloc[columns].reset_index(drop=True)
            chosen_columns = chosen_columns[columns]
        return Genotypes(
            index,
            table,
            Source(source.reader, chosen_rows, chosen_columns),
            self.ledger if ledger is None else ledger,
            self.frequency_check,
        )


def read_genotypes(path: PathArg, *, kind: Kind | None = None) -> Genotypes:
    """Open PLINK 1 (.bed .bim .fam) or PLINK 2 (.pgen .pvar .psam) files.

    The tables are read and checked, and the sizes compared. Dosages are read later, in blocks.
    Multiallelic variants of a ``.pvar`` are dropped and counted in the ledger.

    Parameters
    ----------
    path
        Prefix of the three files, or the name of one of them.
    kind
        "bfile" or "pfile". Default: whichever files exist.

    Raises
    ------
    InputError
        If the file set is missing, damaged or ambiguous. The message names file, line and remedy.
    """
    prefix, kind = _find(os.fspath(path), kind)
    first, second, third = (prefix + suffix for suffix in SUFFIXES[kind])
    opened = (open_bfile if kind == "bfile" else open_pfile)(first, second, third)
    return _biallelic(opened)


def from_array(
    dosages: ArrayLike,
    individuals: pd.MultiIndex | Sequence[str] | None = None,
    variants: pd.DataFrame | None = None,
) -> Genotypes:
    """Make genotypes from an array.

    Parameters
    ----------
    dosages
        (n, m) counts of A1 in [0, 2]; missing is NaN, or -9 in an array of integers. The array is
        not copied.
    individuals
        (n,) MultiIndex (FID, IID), or IIDs (then FID is "0"). Default: IIDs "1", "2", ...
    variants
        (m,) rows with CHROM, POS, ID, A1, A0. Default: chromosome "1", positions 1, 2, ..., IDs
        "v1", "v2", ..., alleles "1" and "2".

    Raises
    ------
    InputError
        If the shape is wrong, a value is outside [0, 2] (the message names individual and variant),
        individuals repeat, or columns are absent.
    """
    array = np.asarray(dosages)
    if array.dtype == np.bool_ or array.dtype.kind not in "iuf":
        raise InputError(f"an array of {array.dtype}", "numbers", "convert the dosages to float")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"dosages of shape {array.shape}", "(individuals, variants)", "pass a matrix"
        )
    n, m = array.shape
    index = array_individuals(individuals, n)
    table = array_variants(variants, m)
    hard = check_dosages(array, index, table)
    return Genotypes(index, table, Source(ArrayReader(array.T, hard), None, np.arange(m)))


def write_plink1(
    genotypes: Genotypes | ArrayLike, prefix: PathArg, *, fam: pd.DataFrame | None = None
) -> list[Path]:
    """Write ``PREFIX.bed``, ``.bim`` and ``.fam``: either all three or none.

    Parameters
    ----------
    genotypes
        The genotypes, or an array for `from_array`. Hard calls are written, so a dosage farther
        than 0.1 from a whole number becomes missing.
    prefix
        Path of the files without suffix.
    fam
        Columns of the ``.fam``, indexed by (FID, IID) in any order: any of PAT, MAT (default "0")
        and SEX (1 male, 2 female, default 0). The phenotype column is always -9 (missing).

    Returns
    -------
    paths
        The three files.
    """
    if not isinstance(genotypes, Genotypes):
        genotypes = from_array(genotypes)
    blocks = (block for _, block in genotypes.blocks(dtype=np.int8))
    return write_bfile(blocks, genotypes.individuals, genotypes.variants, prefix, fam=fam)


def _find(path: str, kind: Kind | None) -> tuple[str, Kind]:
    """Return prefix and kind of the file set that `path` belongs to."""
    if kind is not None and kind not in SUFFIXES:
        raise InputError(f"kind {kind!r}", "'bfile' or 'pfile'", "choose one of these")
    every = [suffix for suffixes in SUFFIXES.values() for suffix in suffixes]
    beside = any(os.path.isfile(path + suffix) for suffix in every)  # a prefix such as x.vcf
    if not beside and (foreign := foreign_file(path)) is not None:
        raise _not_read(*foreign, path)
    for known, suffixes in SUFFIXES.items():
        for suffix in suffixes:
            if path.endswith(suffix) and kind in (None, known):
                path, kind = path.removesuffix(suffix), known
                break
    if kind is None:
        there = [k for k, s in SUFFIXES.items() if any(os.path.isfile(path + x) for x in s)]
        if not there and (foreign := foreign_beside(path)) is not None:
            raise _not_read(*foreign, path)
        if len(there) != 1:
            raise InputError(
                "both PLINK 1 and PLINK 2 files" if there else "no such files",
                f"{path}.bed .bim .fam or {path}.pgen .pvar .psam",
                "add --bfile or --pfile" if there else "check the path",
                path=path,
            )
        kind = there[0]
    missing = [path + suffix for suffix in SUFFIXES[kind] if not os.path.isfile(path + suffix)]
    if missing:
        fix = "check the prefix"
        if len(missing) == 3 and (foreign := foreign_beside(path)) is not None:
            raise _not_read(*foreign, path)
        if os.path.isfile(path + ".pvar.zst"):
            fix = f"decompress it: zstd -d {path}.pvar.zst"
        raise InputError(
            "no such file", "all of " + ", ".join(SUFFIXES[kind]), fix, path=missing[0]
        )
    return path, kind


def _not_read(name: str, remedy: str, path: str) -> InputError:
    """Return the error for genotypes in a format that is not read."""
    return InputError(
        f"genotypes in the format {name}", "PLINK 1 or PLINK 2 files", f"convert them: {remedy}",
        path=path,
    )  # fmt: skip


def _biallelic(opened: Opened) -> Genotypes:
    """Make genotypes of an opened file set; drop and count multiallelic variants."""
    m = len(opened.variants)
    genotypes = Genotypes(
        opened.individuals, opened.variants, Source(opened.reader, None, np.arange(m))
    )
    keep = opened.alleles == 2
    if keep.all():
        return genotypes
    if not keep.any():
        raise InputError(
            f"all {m} variants have more than two alleles",
            "biallelic variants",
            "split them, for instance with bcftools norm -m -",
            path=opened.reader.name,
        )
    dropped = opened.variants["ID"][~keep]
    ledger = Ledger().add("variants", "more than two alleles", dropped, remaining=int(keep.sum()))
    return genotypes.select(variants=keep, ledger=ledger)


def _positions(chosen: ArrayLike | None, length: int, what: str) -> Index | None:
    """Return increasing positions for a mask or an array of positions."""
    if chosen is None:
        return None
    array = np.asarray(chosen)
    if array.dtype == np.bool_:
        if array.shape != (length,):
            raise InputError(
                f"a mask of shape {array.shape}", f"({length},), one value for each of the {what}",
                "make the mask from this object",
            )  # fmt: skip
        positions: Index = np.flatnonzero(array)
    else:
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise InputError(
                f"{what}: an array of {array.dtype} with shape {array.shape}",
                "a boolean mask or whole numbers",
                "convert IDs with individuals.get_indexer",
            )
        positions = np.sort(array.astype(np.int64))
        if positions.size and (positions[0] < 0 or positions[-1] >= length):
            raise InputError(
                f"{what}: positions {positions[0]} to {positions[-1]}",
                f"0 to {length - 1}",
                "individuals or variants absent from the file have position -1: drop them first",
            )
        if (np.diff(positions) == 0).any():
            raise InputError(f"{what}: a position twice", "each once", "remove the duplicates")
    if positions.size == 0:
        raise InputError(f"no {what} selected", "one or more", "check the selection")
    return positions
