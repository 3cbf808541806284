"""Open and check PLINK file sets: .bed .bim .fam and .pgen .pvar .psam."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.errors import BayesLMMWarning, InputError
from bayeslmm.genotypes.plink_readers import BedReaderReader, Index, PgenlibReader, Reader
from bayeslmm.genotypes.plink_tables import (
    read_bim,
    read_fam,
    read_fam_phenotypes,
    read_psam,
    read_pvar,
    warn_duplicate_variants,
)
from bayeslmm.system.files import PathArg, require_file

__all__ = ["Opened", "open_bfile", "open_pfile", "read_fam_phenotypes"]

BED_MAGIC = b"\x6c\x1b\x01"
CHECK_BYTES = 1 << 22  # .bed bytes checked at once
PHANTOM_VARIANTS = 10  # with fewer variants, a last individual of only 00 is a warning


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A checked file set.

    Parameters
    ----------
    reader
        Reader of blocks of dosages.
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


def open_bfile(bed: PathArg, bim: PathArg, fam: PathArg) -> Opened:
    """Open and check a PLINK 1 file set.

    Parameters
    ----------
    bed, bim, fam
        The three files.

    Raises
    ------
    InputError
        If a file is missing, `read_fam` or `read_bim` rejects a table, the magic bytes are wrong,
        the file is sample-major, its size is not ``3 + m * ceil(n / 4)``, padding bits are not zero
        (the ``.fam`` has too few rows), or the last individual has code 00 everywhere (too many
        rows).
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
        If a file is missing, `read_psam` or `read_pvar` rejects a table, the numbers of individuals
        or variants differ from the ``.pgen``, the file is truncated, or pgenlib is absent.
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
        pass  # reading the last variant fails in a truncated file
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
    """Find a .fam with up to three rows too few or too many; the size does not show them."""
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
    """Compare the counts in a .pgen's header with its two tables."""
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
        return  # .bed-like, or with a separate index (.pgen.pgi): pgenlib checks the counts
    variants, individuals = (int(k) for k in np.frombuffer(header, "<u4", 2, 3))
    if (individuals, variants) != (n, m):
        raise InputError(
            f"{individuals} individuals and {variants} variants",
            f"the {n} individuals of the .psam and the {m} variants of the .pvar",
            "use the three files that were written together",
            path=pgen,
        )
