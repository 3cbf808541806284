"""Write PLINK 1 file sets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.genotypes.plink import BED_MAGIC
from bayeslmm.system.atomic import atomic_paths
from bayeslmm.system.files import PathArg

BED_CODES = np.array([3, 2, 0, 1], dtype=np.uint8)  # of 0, 1, 2 copies of A1 and missing


def write_bfile(
    blocks: Iterable[NDArray[np.int8]],
    individuals: pd.MultiIndex,
    variants: pd.DataFrame,
    prefix: PathArg,
    *,
    fam: pd.DataFrame | None = None,
) -> list[Path]:
    """Write ``PREFIX.bed``, ``.bim`` and ``.fam``; see `bayeslmm.genotypes.genotypes.write_plink1`.

    Parameters
    ----------
    blocks
        (b, n) hard calls 0, 1, 2 and -9, of consecutive variants.
    individuals, variants
        (n,) and (m,), as in `Genotypes`.
    prefix
        Path of the files without suffix.
    fam
        Parents and sex for the ``.fam``.

    Returns
    -------
    paths
        The three files.
    """
    paths = [Path(os.fspath(prefix) + suffix) for suffix in (".bed", ".bim", ".fam")]
    with atomic_paths(paths) as (bed, bim, family):
        family.write_text(_fam_text(individuals, fam), encoding="utf-8", newline="\n")
        columns = (variants[name] for name in ("CHROM", "ID", "POS", "A1", "A0"))
        with open(bim, "w", encoding="utf-8", newline="\n") as text:
            for chromosome, name, position, a1, a0 in zip(*columns, strict=True):
                text.write(f"{chromosome}\t{name}\t0\t{position}\t{a1}\t{a0}\n")
        with open(bed, "wb") as binary:
            binary.write(BED_MAGIC)
            for block in blocks:
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
    table = pd.DataFrame(index=individuals) if fam is None else fam.reindex(individuals)
    columns = [_texts(table, name) for name in ("PAT", "MAT", "SEX")]
    rows = zip(individuals, *columns, strict=True)
    return "".join("\t".join((*ids, *parents, "-9")) + "\n" for ids, *parents in rows)


def _texts(table: pd.DataFrame, name: str) -> list[str]:
    """Return a column of a .fam as text, "0" where it is missing or unknown."""
    if name not in table:
        return ["0"] * len(table)
    if name == "SEX":
        return table[name].fillna(0).astype(int).astype(str).tolist()
    return table[name].fillna("0").astype(str).tolist()
