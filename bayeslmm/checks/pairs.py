# mypy: disable-error-code="untyped-decorator"
"""Pairs of records binned by relationship, and sums of products over the pairs of each bin.

No array of size n² is allocated: the loops go through the relationship matrix row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.numerics.arrays import Counts, Floats
from bayeslmm.numerics.threads import sharing
from bayeslmm.relationship.pair_histogram import pair_histogram, pair_range

FINE = 4096  # cells of the histogram from which the bins are made
# Limits between unrelated, fourth- to first-degree relatives and duplicates (Manichaikul et al.
# 2010 Bioinformatics 26:2867): geometric means of 1/32, 1/16, 1/8, 1/4, 1/2 and 1.
DEGREES = tuple(2.0**-k for k in (4.5, 3.5, 2.5, 1.5, 0.5))
PIECE = 1 << 21  # pairs of the rows that a thread sums at once
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
    low, high = pair_range(K, levels)
    if low > high:  # no pair
        low, high = 0.0, 0.0
    width = max(high - low, 1e-6 * max(abs(low), abs(high), 1e-6))
    start, step = low - 0.0137 * width, 1.0313 * width / FINE  # no edge on 0, 1/4, 1/2
    cell_edges = start + step * np.arange(FINE + 1)
    edges = bin_edges(cell_edges * factor, pair_histogram(K, levels, cell_edges), least)
    same = np.unique(levels).size < levels.size
    arguments = np.ascontiguousarray(values), edges / factor, edges.size + 1 + same, same
    with sharing() as share:
        found = share(lambda rows: _sums(K, levels, *arguments, *rows), _pieces(levels.size))
        count, total, sums = (sum(part) for part in zip(*found, strict=True))
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


def _pieces(n: int) -> list[tuple[int, int]]:
    """Divide the rows of a lower triangle into ranges with about equally many pairs."""
    count = max(1, round(n * n / 2 / PIECE))
    cuts = np.rint(n * np.sqrt(np.arange(count + 1) / count)).astype(int).tolist()
    return list(pairwise(cuts))


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sums(
    K: Floats,
    levels: NDArray[np.intp],
    values: Floats,
    edges: Floats,
    bins: int,
    same: bool,
    first: int,
    end: int,
) -> tuple[Counts, Floats, Floats]:
    """Compute the number of pairs (bins,), ΣK (bins,) and Σ v_i v_j (bins, r) of each bin.

    Each record i from `first` to `end` makes a pair with every record j < i. The records j are
    sorted by bin first, so that four rows of v are added at once.
    """
    r = values.shape[1]
    count, total, sums = np.zeros(bins, np.int64), np.zeros(bins), np.zeros((bins, r))
    bin_of, order = np.empty(end, np.intp), np.empty(end, np.intp)
    for i in range(first, end):
        row = K[levels[i]]
        stops = np.zeros(bins + 1, np.int64)  # stops[b]: where bin b ends in `order`, once filled
        for j in range(i):
            x, b = row[levels[j]], 0
            for edge in edges:
                b += x > edge
            if same and levels[i] == levels[j]:
                b = bins - 1
            bin_of[j] = b
            total[b] += x
            stops[b + 1] += 1
        count += stops[1:]
        stops = np.cumsum(stops)
        for j in range(i):
            order[stops[bin_of[j]]] = j
            stops[bin_of[j]] += 1
        start = 0
        for b in range(bins):
            sums[b] += values[i] * _sum_of_rows(values, order[start : stops[b]])
            start = stops[b]
    return count, total, sums


@numba.njit(cache=True, nogil=True, fastmath=True)
def _sum_of_rows(values: Floats, rows: NDArray[np.intp]) -> Floats:
    """Add rows of values (n, r)."""
    sums = np.zeros(values.shape[1])
    fours = len(rows) // 4 * 4
    for t in range(0, fours, 4):
        v0, v1 = values[rows[t]], values[rows[t + 1]]
        v2, v3 = values[rows[t + 2]], values[rows[t + 3]]
        for k in range(len(sums)):
            sums[k] += (v0[k] + v1[k]) + (v2[k] + v3[k])
    for t in range(fours, len(rows)):
        sums += values[rows[t]]
    return sums
