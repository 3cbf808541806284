# mypy: disable-error-code="untyped-decorator"
"""Pairs of records binned by relationship, and sums of products over the pairs of each bin.

No array of size n² is allocated: the loops go through the relationship matrix row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.numerics.arrays import Counts, Floats

FINE = 4096  # cells of the histogram from which the bins are made
# Limits between unrelated, fourth- to first-degree relatives and duplicates (Manichaikul et al.
# 2010 Bioinformatics 26:2867): geometric means of 1/32, 1/16, 1/8, 1/4, 1/2 and 1.
DEGREES = tuple(2.0**-k for k in (4.5, 3.5, 2.5, 1.5, 0.5))
QUANTILES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 0.998, 0.9998)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Pairs of records in bins of their relationship.

    Parameters
    ----------
    edges
        (bins - 1,) edges between the bins, ascending, in units where full sibs have about 0.5.
    relationship
        (bins,) mean relationship of each bin, in these units.
    count
        (bins,) number of pairs of each bin.
    same
        Does the last bin hold the pairs of records of the same individual?
    """

    edges: Floats
    relationship: Floats
    count: Counts
    same: bool


def sum_by_relationship(
    K: Floats, levels: NDArray[np.intp], values: Floats, factor: float = 1.0, least: int = 30
) -> tuple[Pairs, Floats]:
    """Bin the pairs i < j of n records by relationship; sum v_i v_j over the pairs of each bin.

    Parameters
    ----------
    K
        Relationship matrix (q, q).
    levels
        (n,) individual of each record. Pairs of records of one individual have their own bin.
    values
        v (n, r), r sets of values, each with mean zero over the records.
    factor
        Bins are made on the scale of ``factor × K``.
    least
        Smallest number of pairs of a bin; smaller bins join their neighbour.

    Returns
    -------
    Pairs, sums (bins, r)
    """
    low, high = _range(K, levels)
    width = max(high - low, 1e-6 * max(abs(low), abs(high), 1e-6))
    start, step = low - 0.0137 * width, 1.0313 * width / FINE  # no edge on 0, 1/4, 1/2
    counts = _histogram(K, levels, start, step, FINE)
    cell_edges = start + step * np.arange(FINE + 1)
    edges = bin_edges(cell_edges * factor, counts, least)
    values = np.ascontiguousarray(values)
    same = np.unique(levels).size < levels.size
    bins = edges.size + 1 + same
    count, total, sums = _sums(K, levels, values, edges / factor, bins, same)
    mean = factor * total / np.maximum(count, 1)
    return Pairs(edges, mean, count, same), sums


def bin_edges(cell_edges: Floats, counts: Counts, least: int) -> Floats:
    """Choose bin edges from a fine histogram: limits of degrees of relationship, and quantiles.

    Parameters
    ----------
    cell_edges, counts
        Histogram of the relationships (f + 1,) and (f,).
    least
        Smallest number of pairs of a bin.
    """
    cumulative = np.concatenate([[0], np.cumsum(counts)])
    if cumulative[-1] == 0:
        return np.empty(0)
    wanted = [np.searchsorted(cell_edges, degree) for degree in DEGREES]
    wanted += [np.searchsorted(cumulative, q * cumulative[-1]) for q in QUANTILES]
    kept: list[int] = []
    before = 0
    for cell in sorted({int(np.clip(cell, 0, counts.size)) for cell in wanted}):
        inside, after = cumulative[cell] - before, cumulative[-1] - cumulative[cell]
        if inside >= least and after >= least:
            kept.append(cell)
            before = int(cumulative[cell])
    return np.asarray(cell_edges[kept])


@numba.njit(cache=True, nogil=True)
def _range(K: Floats, levels: NDArray[np.intp]) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for i in range(len(levels)):
        row = K[levels[i]]
        for j in range(i):
            if levels[i] != levels[j]:
                low, high = min(low, row[levels[j]]), max(high, row[levels[j]])
    if low > high:
        return 0.0, 0.0
    return low, high


@numba.njit(cache=True, nogil=True)
def _histogram(
    K: Floats, levels: NDArray[np.intp], start: float, step: float, cells: int
) -> Counts:
    counts = np.zeros(cells, dtype=np.int64)
    for i in range(len(levels)):
        row = K[levels[i]]
        for j in range(i):
            if levels[i] != levels[j]:
                cell = int((row[levels[j]] - start) / step)
                counts[min(max(cell, 0), cells - 1)] += 1
    return counts


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sums(
    K: Floats, levels: NDArray[np.intp], values: Floats, edges: Floats, bins: int, same: bool
) -> tuple[Counts, Floats, Floats]:
    """Compute the number of pairs (bins,), ΣK (bins,) and Σ v_i v_j (bins, r) of each bin."""
    n, r = values.shape
    count, total = np.zeros(bins, dtype=np.int64), np.zeros(bins)
    sums, row_sums = np.zeros((bins, r)), np.zeros((bins, r))
    for i in range(n):
        row = K[levels[i]]
        row_sums[:] = 0.0
        for j in range(i):
            if same and levels[i] == levels[j]:
                b = bins - 1
            else:
                b = 0
                x = row[levels[j]]
                while b < len(edges) and x > edges[b]:
                    b += 1
            count[b] += 1
            total[b] += row[levels[j]]
            for k in range(r):
                row_sums[b, k] += values[j, k]
        for b in range(bins):
            for k in range(r):
                sums[b, k] += values[i, k] * row_sums[b, k]
    return count, total, sums
