"""Sum of outer products of rows that arrive a few at a time: the n² m work of every kernel."""

# numba carries no types
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk, ssyrk

from bayeslmm.codings import encode
from bayeslmm.relationship import Floats, mirror, row_blocks


class CrossProduct:
    """``Σ z zᵀ`` over rows z of length n, summed in float64 whatever the type of the products.

    Rows are gathered until there are `width` of them, so that BLAS always multiplies large
    blocks, however few rows of a block of variants belong to this sum.

    Parameters
    ----------
    n
        Length of the rows.
    products
        (n, n) float32 where the products of one set of rows are put, before they are added to the
        float64 sum; several sums may share it, one thread at a time. None: all is done in float64.
    width
        Rows multiplied at once.

    Attributes
    ----------
    count
        Number of rows added.
    """

    def __init__(self, n: int, products: NDArray[np.float32] | None, width: int = 1024) -> None:
        self.count = 0
        self._products = products
        dtype = np.float64 if products is None else np.float32
        self._rows: NDArray[Any] = np.empty((width, n), dtype)
        self._gathered = 0
        # C order: the lower triangle, which BLAS, in Fortran order, calls the upper one
        self._total = np.zeros((n, n))

    def add(self, dosages: NDArray[Any], rows: NDArray[np.intp], coefficients: Floats) -> None:
        """Add variants in a coding.

        Parameters
        ----------
        dosages
            (b, n), int8 or float, missing below zero or NaN.
        rows
            (k,) which of them.
        coefficients
            (k, 3) their coding, see `bayeslmm.codings`.
        """
        start, width = 0, len(self._rows)
        while start < rows.size:
            part = slice(start, start + width - self._gathered)
            taken = rows[part].size
            space = self._rows[self._gathered : self._gathered + taken]
            encode(space, dosages, rows[part], coefficients[part])
            self._gathered += taken
            start += taken
            if self._gathered == width:
                self._multiply()
        self.count += rows.size

    def mean(self) -> Floats:
        """Mean of the products, (n, n) symmetric; ends the sum (its memory is the result's)."""
        self._multiply()
        matrix, nothing = self._total, np.zeros((0, 0))
        self._total, self._rows, self._products = nothing, nothing, None
        matrix /= self.count
        mirror(matrix)
        return matrix

    def _multiply(self) -> None:
        """Multiply the rows gathered and add the products to the sum."""
        if self._gathered == 0:
            return
        z, self._gathered = self._rows[: self._gathered].T, 0
        if self._products is None:
            whole = dsyrk(1.0, z, beta=1.0, c=self._total.T, overwrite_c=1)
            assert np.shares_memory(whole, self._total)
        else:
            part = ssyrk(1.0, z, beta=0.0, c=self._products.T, overwrite_c=1)
            assert np.shares_memory(part, self._products)
            add_lower(self._total, self._products)


@numba.njit(cache=True, nogil=True)
def add_lower(total: Floats, products: NDArray[np.float32]) -> None:
    """Add the lower triangle of float32 products (n, n) to that of their float64 sum."""
    for i in range(total.shape[0]):
        for j in range(i + 1):
            total[i, j] += products[i, j]


def centre(matrix: Floats) -> None:
    """Make the rows of a symmetric matrix (n, n) sum to zero, ``PGP`` with ``P = I - 11ᵀ/n``."""
    means = matrix.mean(axis=1)
    half = means - 0.5 * means.mean()
    for rows in row_blocks(matrix.shape[0]):
        matrix[rows] -= half[rows, None] + half  # symmetric to the last bit
