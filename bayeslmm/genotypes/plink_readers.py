"""Read blocks of dosages from .bed and .pgen files, through pgenlib or bed-reader."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError

# Bitmaps of individuals are words of 64 bits. If a damaged record has bits beyond the last
# individual, pgenlib writes beyond the block, by SLACK entries at most.
SLACK, UNTOUCHED = 64, 99

type Index = NDArray[np.int64]
type Block = NDArray[Any]


class Reader(Protocol):
    """Protocol of a source of dosages: a file or an array."""

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

        The arrays are int8 with -9 for missing if `integer`, else float32 with NaN. `individuals`
        is increasing; None means all.
        """
        ...

    def count_calls(self, individuals: Index | None, variants: Index) -> NDArray[np.int64] | None:
        """Return how many of the (n,) individuals have 0, 1 and 2 copies of A1, (3, m).

        None: the reader cannot tell without the dosages.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PgenlibReader:
    """Reader of a ``.bed`` or ``.pgen`` file through pgenlib.

    Parameters
    ----------
    path
        The file.
    n, m
        Numbers of individuals and variants in the file.
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
        """Yield the blocks; the file is open only meanwhile."""
        reader = self._open(individuals)
        count = self.n if individuals is None else len(individuals)
        try:
            for chunk in chunks:
                yield self._block(reader, chunk, count, integer)
        finally:
            reader.close()

    def count_calls(self, individuals: Index | None, variants: Index) -> NDArray[np.int64] | None:
        """Count the bits of a ``.bed`` file; None of a ``.pgen`` file, which may hold dosages."""
        if not self.hard_calls:
            return None
        reader = self._open(individuals)
        counts = np.zeros((len(variants), 4), np.uint32)  # the fourth are missing
        try:
            for variant, row in zip(variants.tolist(), counts, strict=True):
                self._guard(reader.count, variant, row)
        finally:
            reader.close()
        return np.ascontiguousarray(counts[:, :3].T, dtype=np.int64)

    def _open(self, individuals: Index | None) -> Any:
        from pgenlib import PgenReader

        options: dict[str, Any] = {"raw_sample_ct": self.n, "variant_ct": self.m}
        if individuals is not None:
            options["sample_subset"] = individuals.astype(np.uint32)
        if self.alleles is not None:
            options["allele_idx_offsets"] = np.append(0, np.cumsum(self.alleles)).astype(np.uintp)
        return self._guard(PgenReader, os.fsencode(self.path), **options)

    def _block(self, reader: Any, chunk: Index, count: int, integer: bool) -> Block:
        as_int = integer or self.hard_calls
        buffer: Block = np.empty(len(chunk) * count + SLACK, np.int8 if as_int else np.float32)
        block, slack = buffer[:-SLACK].reshape(len(chunk), count), buffer[-SLACK:]
        slack[:] = UNTOUCHED
        where: tuple[Any, ...]
        if chunk[-1] - chunk[0] + 1 == len(chunk):
            method = reader.read_range if as_int else reader.read_dosages_range
            where = (int(chunk[0]), int(chunk[-1]) + 1)
        else:
            method = reader.read_list if as_int else reader.read_dosages_list
            where = (chunk.astype(np.uint32),)
        self._guard(method, *where, block)
        if np.any(slack != UNTOUCHED):
            raise InputError(
                f"dosages of more than the {self.n} individuals of the file",
                "a whole PLINK file",
                "it is damaged: copy it again, or re-make it with plink2 --make-pgen",
                path=self.path,
            )
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
    """Reader of a ``.bed`` file through bed-reader, for systems without pgenlib (Windows).

    Parameters
    ----------
    path
        The file.
    n, m
        Numbers of individuals and variants in the file.
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

    def count_calls(self, individuals: Index | None, variants: Index) -> NDArray[np.int64] | None:
        """None: bed-reader reads dosages."""
        return None


def nan_for_missing(block: Block) -> NDArray[np.float32]:
    """Return float32 dosages with NaN where `block` is negative (missing); may reuse its memory."""
    dosages: NDArray[np.float32] = block.astype(np.float32, copy=False)
    missing = block < 0
    if missing.any():
        np.copyto(dosages, np.float32(np.nan), where=missing)
    return dosages
