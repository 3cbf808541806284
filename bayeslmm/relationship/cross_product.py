"""Sum of outer products of rows that arrive in blocks: the n² m work of every kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.genotypes.codings import Precision, encode
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.relationship import mirror, row_blocks

type Share = Callable[
    ..., Iterator[Any]
]  # `map`, or what `bayeslmm.numerics.threads.sharing` gives

TILE = 512  # rows of a tile; threads share the tiles of a product
WIDTH = 2048  # columns of a tile left of the diagonal
ROWS = 128  # variants that a thread encodes at once


class CrossProduct:
    """``Σ z zᵀ`` over rows z of length n, summed in float64 for any type of the products.

    Rows are gathered until there are `width` of them. So BLAS always multiplies large blocks, even
    if few variants of each block belong to this sum.

    Parameters
    ----------
    n
        Length of the rows.
    dtype
        Type of the products.
    width
        Rows multiplied at once.
    share
        Maps a function over pieces of the work, see `bayeslmm.numerics.threads.sharing`. The bits
        of the sum do not depend on it.

    Attributes
    ----------
    count
        Number of rows added.
    """

    def __init__(
        self, n: int, dtype: Precision = np.float64, width: int = 1024, share: Share = map
    ) -> None:
        self.count = 0
        self._share = share
        self._rows: NDArray[Any] = np.empty((width, n), dtype)
        self._gathered = 0
        self._total = np.zeros((n, n))  # its lower triangle

    def add(self, dosages: NDArray[Any], rows: NDArray[np.intp], coefficients: Floats) -> None:
        """Add variants with a coding.

        Parameters
        ----------
        dosages
            (b, n), int8 or float, missing below zero or NaN.
        rows
            (k,) which rows of `dosages` to add.
        coefficients
            (k, 3) coding of each, see `bayeslmm.genotypes.codings`.
        """
        start, width = 0, len(self._rows)
        while start < rows.size:
            part = slice(start, start + width - self._gathered)
            taken = rows[part].size
            space = self._rows[self._gathered : self._gathered + taken]
            self._encode(space, dosages, rows[part], coefficients[part])
            self._gathered += taken
            start += taken
            if self._gathered == width:
                self._multiply()
        self.count += rows.size

    def root(self) -> Floats | None:
        """G (n, count) with GGᵀ = the mean, where all rows are still gathered; else None."""
        if self.count != self._gathered or self._rows.dtype != np.float64:
            return None
        return np.ascontiguousarray(self._rows[: self.count].T / np.sqrt(max(self.count, 1)))

    def mean(self) -> Floats:
        """Return the mean of the products (n, n), symmetric, in the memory of the ended sum."""
        self._multiply()
        matrix, nothing = self._total, np.zeros((0, 0))
        self._total, self._rows = nothing, nothing
        matrix /= self.count
        mirror(matrix)
        return matrix

    def _encode(
        self,
        space: NDArray[Any],
        dosages: NDArray[Any],
        rows: NDArray[np.intp],
        coefficients: Floats,
    ) -> None:
        def some(part: slice) -> None:
            encode(space[part], dosages, rows[part], coefficients[part])

        list(self._share(some, row_blocks(rows.size, ROWS)))

    def _multiply(self) -> None:
        """Multiply the gathered rows and add the products to the sum."""
        add_products(self._total, self._rows[: self._gathered], self._share)
        self._gathered = 0


def add_products(total: Floats, rows: NDArray[Any], share: Share = map) -> None:
    """Add ``ZᵀZ`` of rows Z (k, n) to the lower triangle of total (n, n), tile by tile."""

    def add(tile: tuple[slice, slice]) -> None:
        total[tile] += rows[:, tile[0]].T @ rows[:, tile[1]]

    below = list(row_blocks(len(total), TILE))
    tiles = [(i, j) for i in below for j in row_blocks(i.start, WIDTH)]
    tiles += [(i, i) for i in below]  # the least work, so they go last
    list(share(add, tiles))


def centre(matrix: Floats) -> None:
    """Make the rows of a symmetric matrix (n, n) sum to zero, ``PGP`` with ``P = I - 11ᵀ/n``."""
    means = matrix.mean(axis=1)
    half = means - 0.5 * means.mean()
    for rows in row_blocks(matrix.shape[0]):
        matrix[rows] -= half[rows, None] + half  # symmetric to the last bit
