"""Genotypes: individuals, variants and lazy blocks of dosages, from PLINK files or an array."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, DTypeLike, NDArray

from bayeslmm.errors import InputError
from bayeslmm.files import PathArg, atomic_path
from bayeslmm.ledger import Ledger
from bayeslmm.plink import BED_MAGIC, Block, Index, Opened, Reader, open_bfile, open_pfile
from bayeslmm.plink_tables import VARIANT_COLUMNS, individuals_index

type Kind = Literal["bfile", "pfile"]

SUFFIXES: dict[Kind, tuple[str, str, str]] = {
    "bfile": (".bed", ".bim", ".fam"),
    "pfile": (".pgen", ".pvar", ".psam"),
}
HARD_CALL = 0.1  # a dosage this near to 0, 1 or 2 is a hard call, as in plink2
BED_CODES = np.array([3, 2, 0, 1], dtype=np.uint8)  # of 0, 1, 2 copies of A1 and missing


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where the dosages of a `Genotypes` are.

    Parameters
    ----------
    reader
        The file or array.
    individuals
        (n,) increasing numbers in the file of the individuals selected; None for all.
    variants
        (m,) increasing numbers in the file of the variants selected.
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
        pairs), ID, A1, A0 (str). A1 is the effect allele, the one that dosages count: A1 of a
        ``.bim`` (column 5), ALT of a ``.pvar``.
    source
        Where the dosages are.
    ledger
        What has been dropped so far.
    """

    individuals: pd.MultiIndex
    variants: pd.DataFrame
    source: Source
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def n(self) -> int:
        """Number of individuals."""
        return len(self.individuals)

    @property
    def m(self) -> int:
        """Number of variants."""
        return len(self.variants)

    def blocks(
        self, size: int = 1024, dtype: DTypeLike = np.float32
    ) -> Iterator[tuple[slice, Block]]:
        """Read the dosages of A1 in blocks of consecutive selected variants.

        Parameters
        ----------
        size
            Variants in a block (the last one may have fewer); default 1024.
        dtype
            float32 (default) or float64: dosages in [0, 2], NaN for missing; int8: hard calls 0,
            1, 2, and -9 for missing or for a dosage farther than 0.1 from a whole number.

        Yields
        ------
        where, block
            Positions in `variants`, and their dosages, (b, n), C order, a new array each time.

        Raises
        ------
        InputError
            If the file has been damaged since it was opened.
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
            most once; None for all. The order stays that of the file, whatever the order given.
        ledger
            Ledger of the result; by default that of this object.

        Raises
        ------
        InputError
            Nothing selected, positions out of range or repeated, a mask of another length.
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
        )


@dataclass(frozen=True, slots=True, eq=False)
class ArrayReader:
    """Blocks of an array.

    Parameters
    ----------
    dosages
        (m, n) counts of A1; missing is NaN, or -9 for integers.
    hard_calls
        Whether all are 0, 1, 2 or missing.
    """

    dosages: Block
    hard_calls: bool

    @property
    def name(self) -> str:
        """Always "array"."""
        return "array"

    def read(
        self, individuals: Index | None, chunks: Sequence[Index], *, integer: bool
    ) -> Iterator[Block]:
        """Yield the blocks, copied."""
        for chunk in chunks:
            block = self.dosages[chunk]
            if individuals is not None:
                block = block[:, individuals]
            block = np.ascontiguousarray(block)
            if integer:
                yield hard_calls(block)
            elif block.dtype.kind == "f":
                yield block.astype(np.float32)
            else:
                yield np.where(block < 0, np.float32(np.nan), block.astype(np.float32))


def hard_calls(dosages: Block) -> NDArray[np.int8]:
    """Hard calls 0, 1, 2; -9 for missing and for what is farther than 0.1 from a whole number."""
    if dosages.dtype.kind != "f":
        return np.where(dosages < 0, np.int8(-9), dosages).astype(np.int8)
    nearest = np.rint(dosages)
    # float32 dosages such as 1.1 must pass, as they do in double precision
    sure = np.abs(dosages - nearest) <= HARD_CALL + 1e-6  # False for NaN
    return np.where(sure, nearest, -9).astype(np.int8)


def read_genotypes(path: PathArg, *, kind: Kind | None = None) -> Genotypes:
    """Open PLINK 1 (.bed .bim .fam) or PLINK 2 (.pgen .pvar .psam) files.

    The tables are read and checked, and the sizes compared; dosages are read later, in blocks.
    Multiallelic variants of a ``.pvar`` are dropped and counted in the ledger.

    Parameters
    ----------
    path
        Prefix of the three files, or the name of one of them.
    kind
        "bfile" or "pfile"; found from what exists by default.

    Raises
    ------
    InputError
        A missing, damaged or ambiguous file set; the message names file, line, and remedy.
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
    """Genotypes of an array.

    Parameters
    ----------
    dosages
        (n, m) counts of A1 in [0, 2]; missing is NaN, or -9 in an array of integers. Not copied.
    individuals
        (n,) MultiIndex (FID, IID), or IIDs (then FID is "0"); default IIDs "1", "2", ...
    variants
        (m,) columns CHROM, POS, ID, A1, A0; default chromosome "1", positions 1, 2, ..., IDs
        "v1", "v2", ..., alleles "1" and "2".

    Raises
    ------
    InputError
        Another shape, a value outside [0, 2] or infinite (the message names individual and
        variant), duplicate individuals, missing columns.
    """
    array = np.asarray(dosages)
    if array.dtype == np.bool_ or array.dtype.kind not in "iuf":
        raise InputError(f"an array of {array.dtype}", "numbers", "convert the dosages to float")
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(
            f"dosages of shape {array.shape}", "(individuals, variants)", "pass a matrix"
        )
    n, m = array.shape
    index = _as_individuals(individuals, n)
    table = _as_variants(variants, m)
    hard = _check_dosages(array, index, table)
    return Genotypes(index, table, Source(ArrayReader(array.T, hard), None, np.arange(m)))


def write_plink1(
    genotypes: Genotypes | ArrayLike, prefix: PathArg, *, fam: pd.DataFrame | None = None
) -> list[Path]:
    """Write ``PREFIX.bed``, ``.bim`` and ``.fam``; all three or none.

    Parameters
    ----------
    genotypes
        What to write, or an array for `from_array`. Hard calls are written: a dosage farther than
        0.1 from a whole number becomes missing.
    prefix
        Names of the files without suffix.
    fam
        Indexed by (FID, IID), in any order: any of the columns PAT, MAT (default "0"), SEX (1
        male, 2 female, default 0) and PHENO (default -9) of the ``.fam``.

    Returns
    -------
    paths
        The three files.
    """
    if not isinstance(genotypes, Genotypes):
        genotypes = from_array(genotypes)
    prefix = os.fspath(prefix)
    paths = [Path(prefix + suffix) for suffix in SUFFIXES["bfile"]]
    variants = genotypes.variants
    with contextlib.ExitStack() as stack:
        bed, bim, family = (stack.enter_context(atomic_path(path)) for path in paths)
        family.write_text(_fam_text(genotypes.individuals, fam), encoding="utf-8", newline="\n")
        columns = (variants[name] for name in ("CHROM", "ID", "POS", "A1", "A0"))
        with open(bim, "w", encoding="utf-8", newline="\n") as file:
            for chromosome, name, position, a1, a0 in zip(*columns, strict=True):
                file.write(f"{chromosome}\t{name}\t0\t{position}\t{a1}\t{a0}\n")
        with open(bed, "wb") as binary:
            binary.write(BED_MAGIC)
            for _, block in genotypes.blocks(dtype=np.int8):
                binary.write(_pack(block).tobytes())
    return paths


def _pack(block: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Pack (b, n) hard calls into .bed rows of ceil(n / 4) bytes."""
    b, n = block.shape
    codes = np.zeros((b, -(-n // 4) * 4), dtype=np.uint8)
    codes[:, :n] = BED_CODES[np.where(block < 0, 3, block)]
    # .bed codes: 0 = A1 A1, 1 = missing, 2 = heterozygous, 3 = A0 A0
    quads = codes.reshape(b, -1, 4)
    packed: NDArray[np.uint8] = (
        quads[..., 0] | quads[..., 1] << 2 | quads[..., 2] << 4 | quads[..., 3] << 6
    )
    return packed


def _fam_text(individuals: pd.MultiIndex, fam: pd.DataFrame | None) -> str:
    columns = {"PAT": "0", "MAT": "0", "SEX": "0", "PHENO": "-9"}
    table = pd.DataFrame(index=individuals) if fam is None else fam.reindex(individuals)
    values = [
        table[name].astype(object).where(table[name].notna(), default)
        if name in table
        else [default] * len(table)
        for name, default in columns.items()
    ]
    rows = zip(individuals, *values, strict=True)
    return "".join("\t".join((*ids, *map(str, rest))) + "\n" for ids, *rest in rows)


def _find(path: str, kind: Kind | None) -> tuple[str, Kind]:
    """Prefix and kind of the file set that `path` belongs to."""
    if kind is not None and kind not in SUFFIXES:
        raise InputError(f"kind {kind!r}", "'bfile' or 'pfile'", "choose one of these")
    for known, suffixes in SUFFIXES.items():
        for suffix in suffixes:
            if path.endswith(suffix) and kind in (None, known):
                path, kind = path.removesuffix(suffix), known
                break
    if kind is None:
        there = [k for k, s in SUFFIXES.items() if any(os.path.isfile(path + x) for x in s)]
        if len(there) != 1:
            raise InputError(
                "both PLINK 1 and PLINK 2 files" if there else "no such files",
                f"{path}.bed .bim .fam or {path}.pgen .pvar .psam",
                "say --bfile or --pfile" if there else "check the path",
                path=path,
            )
        kind = there[0]
    missing = [path + suffix for suffix in SUFFIXES[kind] if not os.path.isfile(path + suffix)]
    if missing:
        fix = "check the prefix"
        if os.path.isfile(path + ".pvar.zst"):
            fix = f"decompress it: zstd -d {path}.pvar.zst"
        raise InputError(
            "no such file", "all of " + ", ".join(SUFFIXES[kind]), fix, path=missing[0]
        )
    return path, kind


def _biallelic(opened: Opened) -> Genotypes:
    """Genotypes of an opened file set; multiallelic variants are dropped and counted."""
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
    """Increasing positions of a mask or of an array of positions."""
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
                "an individual or variant that is not in the file has position -1: drop it first",
            )
        if (np.diff(positions) == 0).any():
            raise InputError(f"{what}: a position twice", "each once", "remove the duplicates")
    if positions.size == 0:
        raise InputError(f"no {what} selected", "one or more", "check the selection")
    return positions


def _as_individuals(individuals: Any, n: int) -> pd.MultiIndex:
    if individuals is None:
        individuals = [str(k + 1) for k in range(n)]
    if isinstance(individuals, pd.MultiIndex):
        fid = [str(k) for k in individuals.get_level_values(0)]
        iid = [str(k) for k in individuals.get_level_values(1)]
    else:
        iid = [str(k) for k in individuals]
        fid = ["0"] * len(iid)
    if len(iid) != n:
        raise InputError(
            f"{len(iid)} individuals for dosages with {n} rows",
            "one for each row",
            "dosages are (individuals, variants): check the orientation",
        )
    return individuals_index(fid, iid, None)


def _as_variants(variants: pd.DataFrame | None, m: int) -> pd.DataFrame:
    if variants is None:
        names = [f"v{k + 1}" for k in range(m)]
        columns = {"CHROM": "1", "POS": np.arange(1, m + 1), "ID": names, "A1": "1", "A0": "2"}
        return pd.DataFrame(columns)
    missing = [name for name in VARIANT_COLUMNS if name not in variants]
    if missing or len(variants) != m:
        raise InputError(
            f"variants: {len(variants)} rows with the columns {', '.join(map(str, variants))}",
            f"{m} rows with the columns {', '.join(VARIANT_COLUMNS)}",
            "give one row for each column of the dosages",
        )
    table = variants[VARIANT_COLUMNS].reset_index(drop=True)
    return table.astype({"CHROM": str, "POS": np.int64, "ID": str, "A1": str, "A0": str})


def _check_dosages(array: Block, individuals: pd.MultiIndex, variants: pd.DataFrame) -> bool:
    """Reject what is not in [0, 2]; return whether all are hard calls."""
    hard = True
    for start in range(0, array.shape[1], 1024):
        part = array[:, start : start + 1024]
        allowed = (part >= 0) & (part <= 2)
        allowed |= np.isnan(part) if part.dtype.kind == "f" else part == -9
        if not allowed.all():
            row, column = (int(k[0]) for k in np.nonzero(~allowed))
            individual, variant = individuals[row], variants["ID"].iloc[start + column]
            raise InputError(
                f"dosage {part[row, column]} of individual {' '.join(individual)} at {variant}",
                "0 to 2 copies of A1, NaN for missing",
                "repair the value",
            )
        if hard and part.dtype.kind == "f":
            hard = bool(((part == np.rint(part)) | np.isnan(part)).all())
    return hard
