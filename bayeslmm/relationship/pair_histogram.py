# mypy: disable-error-code="untyped-decorator"
"""Scans of a relationship matrix over pairs of records: range, histogram, near duplicates.

No array of size n² is allocated: the loops go through the matrix row by row.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.numerics.arrays import Counts, Floats


@numba.njit(cache=True, nogil=True)
def pair_range(K: Floats, levels: NDArray[np.intp]) -> tuple[float, float]:
    """Return the smallest and the largest relationship of two individuals; ∞ and -∞ if no pair.

    Parameters
    ----------
    K
        Relationship matrix (q, q).
    levels
        (n,) individual of each record. Pairs of records of one individual do not count.
    """
    low, high = np.inf, -np.inf
    for i in range(len(levels)):
        row = K[levels[i]]
        for j in range(i):
            if levels[i] != levels[j]:
                low, high = min(low, row[levels[j]]), max(high, row[levels[j]])
    return low, high


@numba.njit(cache=True, nogil=True)
def pair_histogram(K: Floats, levels: NDArray[np.intp], edges: Floats) -> Counts:
    """Count the pairs i < j of records by relationship, as `numpy.histogram` does.

    Parameters
    ----------
    K, levels
        As for `pair_range`.
    edges
        (b + 1,) equally spaced edges, ascending. What lies beyond them counts in the first or the
        last cell.

    Returns
    -------
    counts
        (b,) pairs in each cell; all cells but the last one are half-open.
    """
    cells = len(edges) - 1
    counts = np.zeros(cells, dtype=np.int64)
    start, per_unit = edges[0], cells / (edges[-1] - edges[0])
    for i in range(len(levels)):
        row = K[levels[i]]
        for j in range(i):
            if levels[i] != levels[j]:
                x = row[levels[j]]
                cell = min(max(int((x - start) * per_unit), 0), cells - 1)
                if x < edges[cell] and cell > 0:  # the quotient was rounded across an edge
                    cell -= 1
                elif x >= edges[cell + 1] and cell < cells - 1:
                    cell += 1
                counts[cell] += 1
    return counts


@numba.njit(cache=True, nogil=True)
def pairs_above(K: Floats, weight: Floats, threshold: float) -> NDArray[np.intp]:
    """Find the pairs i < j with ``w_i w_j K_ij`` above a threshold: (k, 2), ascending."""
    found = [(np.intp(0), np.intp(0)) for _ in range(0)]
    for i in range(len(K)):
        for j in range(i + 1, len(K)):
            if K[i, j] * weight[i] * weight[j] > threshold:
                found.append((np.intp(i), np.intp(j)))
    pairs = np.empty((len(found), 2), dtype=np.intp)
    for k in range(len(found)):
        pairs[k, 0], pairs[k, 1] = found[k]
    return pairs
