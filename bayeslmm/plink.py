"""The binary halves of PLINK file sets: .bed and .pgen, checked when opened, read in blocks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.files import PathArg, require_file
from bayeslmm.plink_tables import (
    fam_phenotypes,
    read_bim,
    read_fam,
    read_psam,
    read_pvar,
    warn_duplicate_variants,
)

__all__ = ["Opened", "Reader", "fam_phenotypes", "open_bfile", "open_pfile"]

type Index = NDArray[np.int64]
type Block = NDArray[Any]

BED_MAGIC = b"\x6c\x1b\x01"
CHECK_BYTES = 1 << 22  # .bed bytes looked at in one go when the file is checked
PHANTOM_VARIANTS = 10  # below, a last individual of only 00 is a warning, not an error


class Reader(Protocol):
    """Where dosages come from: a file or an array."""

    @property
    def name(self) -> str:
        """The file, or "array"."""
        ...

    @property
    def hard_calls(self) -> bool:
        """Whether every dosage is 0, 1, 2 or missing."""
        ...

    def read(
        self, individuals: Index | None, chunks: Sequence[Index], *, integer: bool
    ) -> Iterator[Block]:
        """Yield (b, n) arrays of counts of A1, one for each chunk of increasing variant numbers.

        int8 with -9 for missing if `integer`, else float32 with NaN. `individuals` is increasing;
        None stands for all.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A checked file set.

    Parameters
    ----------
    reader
        Reads blocks of dosages.
    individuals
        (n,) all individuals of the files.
    variants
        (m,) all variants of the files: CHROM, POS, ID, A1, A0.
    alleles
        (m,) number of alleles of each variant.
    """

    reader: Reader
    individuals: pd.MultiIndex
    variants: pd.DataFrame
    alleles: Index


@dataclass(frozen=True, slots=True, eq=False)
class PgenlibReader:
    """Blocks of a ``.bed`` or ``.pgen`` file through pgenlib.

    Parameters
    ----------
    path
        The file.
    n, m
        Individuals and variants in the file.
    hard_calls
        True for ``.bed``.
    alleles
        (m,) number of alleles, or None if all variants have two.
    """

    path: Path
    n: int
    m: int
    hard_calls: bool
    alleles: Index | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return os.fspath(self.path)

    def read(
        self, individuals: Index | None, chunks: Sequence[Index], *, integer: bool
    ) -> Iterator[Block]:
        """Yield the blocks; the file is open only while this runs."""
        from pgenlib import PgenReader

        options: dict[str, Any] = {"raw_sample_ct": self.n, "variant_ct": self.m}
        if individuals is not None:
            options["sample_subset"] = individuals.astype(np.uint32)
        if self.alleles is not None:
            options["allele_idx_offsets"] = np.append(0, np.cumsum(self.alleles)).astype(np.uintp)
        reader = self._guard(PgenReader, os.fsencode(self.path), **options)
        count = self.n if individuals is None else len(individuals)
        try:
            for chunk in chunks:
                yield self._block(reader, chunk, count, integer)
        finally:
            reader.close()

    def _block(self, reader: Any, chunk: Index, count: int, integer: bool) -> Block:
        as_int = integer or self.hard_calls
        block: Block = np.empty((len(chunk), count), np.int8 if as_int else np.float32)
        where: tuple[Any, ...]
        if chunk[-1] - chunk[0] + 1 == len(chunk):
            method = reader.read_range if as_int else reader.read_dosages_range
            where = (int(chunk[0]), int(chunk[-1]) + 1)
        else:
            method = reader.read_list if as_int else reader.read_dosages_list
            where = (chunk.astype(np.uint32),)
        self._guard(method, *where, block)
        return block if integer else nan_for_missing(block)

    def _guard(self, call: Any, *args: Any, **options: Any) -> Any:
        try:
            return call(*args, **options)
        except (RuntimeError, OSError, ValueError, MemoryError) as error:
            text = error.args[0] if error.args else str(error)
            if isinstance(text, bytes):
                text = text.decode("utf-8", "replace")
            raise InputError(
                f"pgenlib cannot read it: {str(text).strip()}",
                "a whole PLINK file",
                "copy the file again, or re-make it with plink2 "
                + ("--make-bed" if self.hard_calls else "--make-pgen"),
                path=self.path,
            ) from None


@dataclass(frozen=True, slots=True, eq=False)
class BedReaderReader:
    """Blocks of a ``.bed`` file through bed-reader, where there is no pgenlib (Windows).

    Parameters
    ----------
    path
        The file.
    n, m
        Individuals and variants in the file.
    """

    path: Path
    n: int
    m: int

    @property
    def name(self) -> str:
        """Name of the file."""
        return os.fspath(self.path)

    @property
    def hard_calls(self) -> bool:
        """True: ``.bed`` files have no dosages."""
        return True

    def read(
        self, individuals: Index | None, chunks: Sequence[Index], *, integer: bool
    ) -> Iterator[Block]:
        """Yield the blocks."""
        from bed_reader import open_bed

        rows = slice(None) if individuals is None else individuals
        with open_bed(self.path, iid_count=self.n, sid_count=self.m, count_A1=True) as bed:
            for chunk in chunks:
                try:
                    block = bed.read((rows, chunk), dtype="int8", order="F", num_threads=1).T
                except (ValueError, OSError, IndexError, RuntimeError) as error:
                    raise InputError(
                        f"bed-reader cannot read it: {error}",
                        "a whole .bed file",
                        "copy the file again, or re-make it with plink2 --make-bed",
                        path=self.path,
                    ) from None
                np.copyto(block, np.int8(-9), where=block < 0)
                yield block if integer else nan_for_missing(block)


def nan_for_missing(block: Block) -> NDArray[np.float32]:
    """float32 dosages with NaN where `block` is negative (missing); may reuse its memory."""
    dosages: NDArray[np.float32] = block.astype(np.float32, copy=False)
    missing = block < 0
    if missing.any():
        np.copyto(dosages, np.float32(np.nan), where=missing)
    return dosages


def open_bfile(bed: PathArg, bim: PathArg, fam: PathArg) -> Opened:
    """Open and check a PLINK 1 file set.

    Parameters
    ----------
    bed, bim, fam
        The three files.

    Raises
    ------
    InputError
        A missing file, whatever `read_fam` and `read_bim` reject, wrong magic bytes, a
        sample-major file, a size other than ``3 + m * ceil(n / 4)``, non-zero padding bits (a
        ``.fam`` with too few rows), a last individual with code 00 everywhere (too many rows).
    """
    paths = [require_file(path) for path in (bed, bim, fam)]
    individuals, variants = read_fam(fam), read_bim(bim)
    n, m = len(individuals), len(variants)
    _check_magic(paths[0])
    _check_size(paths[0], paths[1], paths[2], n, m)
    _check_last_bytes(paths[0], paths[2], n, m)
    warn_duplicate_variants(variants, bim)
    reader: Reader
    if _has_pgenlib():
        reader = PgenlibReader(paths[0], n, m, hard_calls=True)
    else:
        reader = BedReaderReader(paths[0], n, m)
    return Opened(reader, individuals, variants, np.full(m, 2))


def open_pfile(pgen: PathArg, pvar: PathArg, psam: PathArg) -> Opened:
    """Open and check a PLINK 2 file set.

    Parameters
    ----------
    pgen, pvar, psam
        The three files.

    Raises
    ------
    InputError
        A missing file, whatever `read_psam` and `read_pvar` reject, numbers of individuals or
        variants that differ from those in the ``.pgen``, a truncated file, no pgenlib.
    """
    paths = [require_file(path) for path in (pgen, pvar, psam)]
    individuals = read_psam(psam)
    variants, alleles = read_pvar(pvar)
    n, m = len(individuals), len(variants)
    if not _has_pgenlib():
        raise InputError(
            "pgenlib cannot be imported",
            "pgenlib, which reads .pgen files",
            "pip install pgenlib, or convert with plink2 --make-bed",
            path=pgen,
        )
    _check_pgen_counts(paths[0], n, m)
    reader = PgenlibReader(paths[0], n, m, False, alleles if (alleles > 2).any() else None)
    for _ in reader.read(None, [np.array([m - 1])], integer=True):
        pass  # a truncated file has lost its last variant
    warn_duplicate_variants(variants, pvar)
    return Opened(reader, individuals, variants, alleles)


def _has_pgenlib() -> bool:
    try:
        import pgenlib  # noqa: F401
    except ImportError:
        return False
    return True


def _check_magic(bed: Path) -> None:
    with open(bed, "rb") as file:
        start = file.read(3)
    if start == BED_MAGIC:
        return
    if start == BED_MAGIC[:2] + b"\0":
        found = "byte 2 is 00: the genotypes are stored individual by individual (sample-major)"
        fix = f"re-make with plink2 --make-bed (PLINK 1.9: plink --bfile {bed.stem} --make-bed)"
    else:
        shown = start.hex(" ") if start else "nothing: the file is empty"
        found, fix = f"offset 0 holds {shown}", "check that this is a PLINK .bed file"
    raise InputError(found, f"{BED_MAGIC.hex(' ')} (variant-major .bed)", fix, path=bed)


def _check_size(bed: Path, bim: Path, fam: Path, n: int, m: int) -> None:
    row = -(-n // 4)
    expected, actual = 3 + m * row, bed.stat().st_size
    if actual == expected:
        return
    whole, rest = divmod(actual - 3, row)
    holds = f"{whole} variants" if rest == 0 else f"{whole} variants and {rest} bytes"
    raise InputError(
        f"{actual} bytes, which for {n} individuals are {holds}",
        f"{expected} bytes = 3 + {m} variants of {bim.name} x {row} bytes for {n} individuals of "
        f"{fam.name}",
        "the .bed is truncated or has extra bytes, or .bim or .fam belong to another file set: "
        "copy the three files again",
        path=bed,
    )


def _check_last_bytes(bed: Path, fam: Path, n: int, m: int) -> None:
    """Find a .fam with up to three rows too few or too many, which no size check can see."""
    row = -(-n // 4)
    last = np.memmap(bed, np.uint8, "r", offset=3, shape=(m, row))[:, -1]
    step = max(1, CHECK_BYTES // row)
    used = 0
    for start in range(0, m, step):
        used |= int(np.bitwise_or.reduce(last[start : start + step]))
    if n % 4 and used >> (2 * (n % 4)):
        raise InputError(
            f"{fam.name} has {n} rows, but the .bed has genotypes of more individuals",
            f"padding bits that are 0 after individual {n} in each of the {m} variants",
            "rows are missing from the .fam: use the one that was written with this .bed",
            path=bed,
        )
    # an extra row would have changed the size where individual n begins a new byte
    if n % 4 != 1 and used >> (2 * ((n - 1) % 4)) == 0:
        found = f"individual {n}, the last of {fam.name}, has code 00 (A1 A1) in all {m} variants"
        fix = "the .fam has extra rows: use the one that was written with this .bed"
        if m < PHANTOM_VARIANTS:
            warnings.warn(f"{bed}: {found}; perhaps {fix}", BayesLMMWarning, stacklevel=4)
            return
        raise InputError(
            found,
            "genotypes; a .bed has zeros as padding after its last individual",
            fix,
            path=bed,
        )


def _check_pgen_counts(pgen: Path, n: int, m: int) -> None:
    """Compare the counts in a .pgen's header with those of its two tables."""
    with open(pgen, "rb") as file:
        header = file.read(12)
    if len(header) < 12 or header[:2] != BED_MAGIC[:2] or header[2] == 0:
        shown = header[:3].hex(" ") if header else "nothing: the file is empty"
        raise InputError(
            f"offset 0 holds {shown}",
            "6c 1b and a storage mode (PLINK 2 .pgen)",
            "check that this is a whole .pgen file",
            path=pgen,
        )
    if header[2] in (0x01, 0x20, 0x21):
        return  # a .bed in disguise or an index of its own (.pgen.pgi): pgenlib checks the counts
    variants, individuals = (int(k) for k in np.frombuffer(header, "<u4", 2, 3))
    if (individuals, variants) != (n, m):
        raise InputError(
            f"{individuals} individuals and {variants} variants",
            f"the {n} individuals of the .psam and the {m} variants of the .pvar",
            "use the three files that were written together",
            path=pgen,
        )
