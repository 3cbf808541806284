"""GCTA's relationship files: ``.grm.bin``, ``.grm.N.bin`` and ``.grm.gz``."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.relationship import mirror, pair_name
from bayeslmm.system.memory import require_memory

FEWER = "write the matrix of fewer individuals (gcta64 --keep, plink2 --keep)"
CHUNK = 1 << 22  # bytes of text read at once


def read_binary_triangle(path: Path, individuals: pd.MultiIndex) -> Floats:
    """Read ``.grm.bin``: float32, lower triangle with diagonal, row by row.

    Returns
    -------
    matrix
        (n, n) float64, symmetric.

    Raises
    ------
    InputError
        If the size is not ``4 n(n+1)/2`` bytes, or memory is too small.
    """
    n = len(individuals)
    _check_size(path, n)
    require_memory(8 * n * n, f"the matrix of {n} individuals", FEWER)
    matrix = np.empty((n, n))
    with open(path, "rb") as file:
        for i in range(n):
            matrix[i, : i + 1] = _floats(file, i + 1)
    mirror(matrix)
    return matrix


def read_variant_count(path: Path, n: int) -> int | None:
    """Return the largest number of variants in ``.grm.N.bin``, or None without the file."""
    if not path.is_file():
        return None
    _check_size(path, n)
    with open(path, "rb") as file:
        largest = max(float(_floats(file, i + 1).max()) for i in range(n))
    return round(largest) if np.isfinite(largest) and largest > 0 else None


def write_binary_triangle(path: Path, matrix: Floats) -> None:
    """Write the lower triangle of a matrix (n, n) as ``.grm.bin``."""
    with open(path, "wb") as file:
        for i, row in enumerate(matrix):
            file.write(row[: i + 1].astype("<f4").tobytes())


def write_variant_count(path: Path, n: int, n_variants: int) -> None:
    """Write ``.grm.N.bin`` with the same number of variants for every pair."""
    row = np.full(n, n_variants, dtype="<f4")
    with open(path, "wb") as file:
        for i in range(n):
            file.write(row[: i + 1].tobytes())


def read_pair_list(path: Path, individuals: pd.MultiIndex) -> tuple[Floats, int]:
    """Read ``.grm.gz``: rows ``i j N value``, i and j from 1, every pair once.

    Returns
    -------
    matrix, n_variants
        (n, n) float64, symmetric, and the largest N.

    Raises
    ------
    InputError
        If the file is damaged, a row is not four numbers, a pair does not exist, repeats or is
        missing, or memory is too small. The message names the line.
    """
    n = len(individuals)
    require_memory(9 * n * n, f"the matrix of {n} individuals", FEWER)
    matrix = np.zeros((n, n))  # memory is taken on writing, and the file may be short
    seen = np.zeros((n, n), dtype=np.bool_)
    largest = 0.0
    for start, lines in _text_chunks(path):
        table = _pair_table(path, start, lines, n)
        high = np.maximum(table[:, 0], table[:, 1]).astype(np.intp) - 1
        low = np.minimum(table[:, 0], table[:, 1]).astype(np.intp) - 1
        keys, first = np.unique(high * n + low, return_index=True)
        again = np.setdiff1d(np.arange(len(lines)), first)
        again = np.union1d(again, np.flatnonzero(seen[high, low]))
        if again.size:
            i, j = int(high[again[0]]), int(low[again[0]])
            raise InputError(
                f"the pair {i + 1} {j + 1} ({pair_name(individuals, i, j)}) a second time",
                "every pair once",
                "make the file again",
                path=path,
                line=start + int(again[0]),
            )
        seen.ravel()[keys] = True
        matrix[high, low] = table[:, 3]
        largest = max(largest, float(table[:, 2].max()))
    _check_complete(path, seen, individuals)
    mirror(matrix)
    return matrix, round(largest)


def _text_chunks(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the 1-based number of the first line, and lines, in bounded memory."""
    number, rest = 1, b""
    try:
        with gzip.open(path, "rb") as file:
            while data := file.read(CHUNK):
                *lines, rest = (rest + data).split(b"\n")
                if not lines:
                    raise InputError(
                        f"a line of more than {CHUNK} bytes",
                        "rows 'i j N value'",
                        "check the file",
                        path=path,
                        line=number,
                    )
                yield number, lines
                number += len(lines)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(
            f"damaged after line {number - 1}: {error}",
            "a whole gzip file",
            "copy it again",
            path=path,
        ) from None
    if rest.strip():
        yield number, [rest]


def _pair_table(path: Path, start: int, lines: list[bytes], n: int) -> Floats:
    """Parse k lines to numbers (k, 4), with indices and values checked."""
    rows = [line.split() for line in lines]
    try:
        table = np.array(rows, dtype=np.float64)
        pairs = table[:, :2]
        valid = (pairs == np.round(pairs)).all(axis=1) & (pairs >= 1).all(axis=1)
        valid &= (pairs <= n).all(axis=1) & np.isfinite(table[:, 2:]).all(axis=1)
        valid &= np.full(len(lines), table.shape[1] == 4)
    except (ValueError, IndexError):
        valid = np.array([_is_row(row) for row in rows])
        table = np.empty((0, 4))
    bad = np.flatnonzero(~valid)
    if bad.size:
        text = lines[bad[0]][:60].decode("utf-8", "replace").rstrip("\r")
        raise InputError(
            f"{text!r}",
            f"'i j N value' with i and j from 1 to {n} (rows of the .grm.id) and a finite value",
            "check that .grm.gz and .grm.id belong together, and repair the line",
            path=path,
            line=start + int(bad[0]),
        )
    return table


def _is_row(row: list[bytes]) -> bool:
    try:
        return len([float(field) for field in row]) == 4
    except ValueError:
        return False


def _check_complete(path: Path, seen: NDArray[np.bool_], individuals: pd.MultiIndex) -> None:
    n = len(individuals)
    expected, actual = n * (n + 1) // 2, int(np.count_nonzero(seen))
    if actual == expected:
        return
    i = next(i for i in range(n) if not seen[i, : i + 1].all())
    j = int(np.argmin(seen[i, : i + 1]))
    raise InputError(
        f"{actual} pairs; the first missing pair is {i + 1} {j + 1} "
        f"({pair_name(individuals, i, j)})",
        f"{expected} pairs of the {n} individuals in the .grm.id",
        "the file is truncated, or .grm.id belongs to another: copy both again",
        path=path,
    )


def _check_size(path: Path, n: int) -> None:
    expected, actual = 2 * n * (n + 1), path.stat().st_size
    if actual != expected:
        raise InputError(
            f"{actual} bytes",
            f"{expected} bytes = 4 x {n} x {n + 1} / 2 for the {n} individuals of the .grm.id",
            "the file is truncated, or .grm.id belongs to another: copy both again",
            path=path,
        )


def _floats(file: BinaryIO, count: int) -> NDArray[np.float32]:
    return np.frombuffer(file.read(4 * count), dtype="<f4", count=count)
