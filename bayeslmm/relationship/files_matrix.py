"""Whole matrices as text (GEMMA, plink2 ``.rel``) and binary (plink2 ``.rel.bin``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.relationship import mirror
from bayeslmm.system.memory import require_memory

FEWER = "write the matrix of fewer individuals (gcta64 --keep, plink2 --keep)"
WIDEST = 64  # most bytes of a number in a text file


def read_text_matrix(path: Path, individuals: pd.MultiIndex) -> Floats:
    """Read a square or lower-triangular matrix of numbers separated by blanks or tabs.

    Parameters
    ----------
    path
        The file; row i of a triangle has i numbers. A square with a zero upper triangle
        (``plink2 --make-rel square0``) is read as a triangle.
    individuals
        (n,) individuals of the rows.

    Returns
    -------
    matrix
        (n, n) float64.

    Raises
    ------
    InputError
        If the number of rows or columns is wrong, an entry is not a number (the message names line
        and column), or memory is too small.
    """
    n = len(individuals)
    if path.stat().st_size < n * (n + 1):  # a digit and a separator each
        raise _wrong_size(path, f"{path.stat().st_size} bytes", n)
    require_memory(24 * n * n, f"the matrix of {n} individuals", FEWER)
    matrix = np.zeros((n, n))
    triangle = False
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(WIDEST * n + 2):
            if len(line) > WIDEST * n + 1:
                raise _wrong_size(path, f"a line of more than {WIDEST * n} bytes", n, number + 1)
            fields = line.split()
            if number == n:
                if fields:
                    raise _wrong_size(path, f"more than {n} rows", n, number + 1)
                continue
            triangle = triangle or (number == 0 and len(fields) == 1 and n > 1)
            expected = number + 1 if triangle else n
            if len(fields) != expected:
                found = f"{len(fields)} columns where {expected} belong"
                raise _wrong_size(path, found, n, number + 1)
            matrix[number, :expected] = _numbers(path, number + 1, fields)
            number += 1
    if number < n:
        raise _wrong_size(path, f"{number} rows", n)
    return _filled(matrix, triangle)


def read_binary_matrix(path: Path, individuals: pd.MultiIndex) -> Floats:
    """Read ``.rel.bin``: float64 or float32 (bin4), square or lower triangle.

    The size of the file tells which.

    Returns
    -------
    matrix
        (n, n) float64.

    Raises
    ------
    InputError
        If the size fits none of the four forms, or memory is too small.
    """
    n = len(individuals)
    sizes = {8 * n * n: "<f8", 4 * n * n: "<f4"}
    triangles = {4 * n * (n + 1): "<f8", 2 * n * (n + 1): "<f4"}
    actual = path.stat().st_size
    if actual not in sizes and actual not in triangles:
        raise _wrong_size(path, f"{actual} bytes", n)
    require_memory(24 * n * n, f"the matrix of {n} individuals", FEWER)
    square = actual in sizes
    dtype = sizes[actual] if square else triangles[actual]
    matrix = np.zeros((n, n))
    with open(path, "rb") as file:
        for i in range(n):
            count = n if square else i + 1
            data = file.read(count * np.dtype(dtype).itemsize)
            matrix[i, :count] = np.frombuffer(data, dtype, count)
    return _filled(matrix, not square)


def write_text_matrix(path: Path, matrix: Floats) -> None:
    """Write a square matrix as text, separated by tabs, 12 significant digits."""
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for row in matrix:
            file.write("\t".join(map("%.12g".__mod__, row.tolist())) + "\n")


def _filled(matrix: Floats, triangle: bool) -> Floats:
    """Mirror a triangle, or a square with a zero upper triangle."""
    n = matrix.shape[0]
    if triangle or not any(matrix[i, i + 1 :].any() for i in range(n)):
        mirror(matrix)
    return matrix


def _numbers(path: Path, line: int, fields: list[bytes]) -> NDArray[np.float64]:
    try:
        return np.array(fields, dtype=np.float64)
    except ValueError:
        column = next(k for k, field in enumerate(fields) if not _is_number(field))
    raise InputError(
        f"{fields[column][:40].decode('utf-8', 'replace')!r} is not a number",
        "numbers only, no header and no IDs",
        "check that this is a relationship matrix",
        path=path,
        line=line,
        column=column + 1,
    )


def _is_number(field: bytes) -> bool:
    try:
        np.array([field], dtype=np.float64)
    except ValueError:
        return False
    return True


def _wrong_size(path: Path, found: str, n: int, line: int | None = None) -> InputError:
    binary = path.name.endswith(".rel.bin")
    shapes = f"{n} x {n} numbers, or their lower triangle, for {n} individuals"
    sizes = f" ({8 * n * n}, {4 * n * (n + 1)}, or with bin4 {4 * n * n}, {2 * n * (n + 1)} bytes)"
    return InputError(
        found,
        shapes + (sizes if binary else ""),
        "check that the matrix and the IDs belong together (GEMMA: all rows of its .fam), and "
        "that the file is whole",
        path=path,
        line=line,
    )
