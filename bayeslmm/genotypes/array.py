"""An array as a source of dosages: its reader, and checks of its values and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.plink_readers import Block, Index
from bayeslmm.genotypes.plink_tables import VARIANT_COLUMNS
from bayeslmm.individuals import as_individuals, names_of

HARD_CALL = 0.1  # largest distance of a hard call from 0, 1 or 2, as in plink2


@dataclass(frozen=True, slots=True, eq=False)
class ArrayReader:
    """Reader of an array, in blocks.

    Parameters
    ----------
    dosages
        (m, n) counts of A1; missing is NaN, or -9 for integers.
    hard_calls
        Whether every dosage is 0, 1, 2 or missing.
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
        """Yield copies of the blocks."""
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

    def count_calls(self, individuals: Index | None, variants: Index) -> NDArray[np.int64] | None:
        """None: the array is there to be counted."""
        return None


def hard_calls(dosages: Block) -> NDArray[np.int8]:
    """Convert to hard calls 0, 1, 2; -9 if missing or farther than 0.1 from a whole number."""
    if dosages.dtype.kind != "f":
        return np.where(dosages < 0, np.int8(-9), dosages).astype(np.int8)
    nearest = np.rint(dosages)
    # float32 dosages such as 1.1 must pass, as they do in double precision
    sure = np.abs(dosages - nearest) <= HARD_CALL + 1e-6  # False for NaN
    return np.where(sure, nearest, -9).astype(np.int8)


def array_individuals(individuals: Any, n: int) -> pd.MultiIndex:
    """Return the individuals of n rows: as given (MultiIndex or IIDs), or "1", "2", ..."""
    if individuals is None:
        individuals = [str(k + 1) for k in range(n)]
    if not isinstance(individuals, pd.Index):
        individuals = pd.Index(list(individuals))
    if len(individuals) != n:
        raise InputError(
            f"{len(individuals)} individuals for dosages with {n} rows",
            "one individual per row",
            "dosages are (individuals, variants): check the orientation",
        )
    return as_individuals(individuals, "the dosages")


def array_variants(variants: pd.DataFrame | None, m: int) -> pd.DataFrame:
    """Return the variants of m columns: as given, or "v1", "v2", ... on chromosome 1."""
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


def check_dosages(array: Block, individuals: pd.MultiIndex, variants: pd.DataFrame) -> bool:
    """Raise `InputError` for dosages outside [0, 2]; return whether all are hard calls."""
    hard = True
    for start in range(0, array.shape[1], 1024):
        part = array[:, start : start + 1024]
        allowed = (part >= 0) & (part <= 2)
        allowed |= np.isnan(part) if part.dtype.kind == "f" else part == -9
        if not allowed.all():
            row, column = (int(k[0]) for k in np.nonzero(~allowed))
            individual, variant = (
                names_of(individuals[[row]])[0],
                variants["ID"].iloc[start + column],
            )
            raise InputError(
                f"dosage {part[row, column]} of individual {individual} at {variant}",
                "0 to 2 copies of A1, NaN for missing",
                "repair the value",
            )
        if hard and part.dtype.kind == "f":
            hard = bool(((part == np.rint(part)) | np.isnan(part)).all())
    return hard
