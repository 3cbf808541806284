"""LD scores: the sum of squared correlations of a variant with those near it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.genotypes.codings import additive, encode, moments
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.numerics.arrays import Floats
from bayeslmm.system.memory import require_memory

BLOCK = 256  # variants correlated at once


def ld_scores(genotypes: Genotypes, *, window_kb: float = 200.0) -> Floats:
    """Compute the LD score of every variant, in one pass over the genotypes.

    ``l_j = 1 + Σ_k [r²_jk - (1 - r²_jk) / (n - 2)]`` over the other variants k of the chromosome
    within the window on either side. r is the correlation of the dosages, missing ones at the mean.
    Because of the subtracted term a variant in no LD scores 1 on average (Bulik-Sullivan et al.
    2015; GCTA's ``--ld-score``).

    Parameters
    ----------
    genotypes
        n individuals, at least 3; m variants, each chromosome in one piece and in order.
    window_kb
        Half-width of the window in 1000 base pairs; default 200, as in GCTA's GREML-LDMS
        (``--ld-score-region 200``).

    Returns
    -------
    scores
        (m,) scores, NaN for variants that do not vary or have an unknown position (0 or less).
        Those do not count in the windows of others.

    Raises
    ------
    InputError
        If variants are out of order (the message names the first), or memory is too small for a
        window.

    Notes
    -----
    Memory: the float32 genotypes of n individuals at the variants in a window. Rounding changes a
    score by less than 1e-5 of it.
    """
    n = genotypes.n
    if n < 3:
        raise InputError(f"{n} individuals", "three or more", "LD needs more individuals")
    if not window_kb > 0:
        raise InputError(f"window {window_kb:g} kb", "more than 0", "choose a larger window")
    position, chromosome = _places(genotypes)
    known = np.flatnonzero(position > 0)
    scores = np.full(genotypes.m, np.nan)
    if known.size == 0:
        return scores
    reach = 1000.0 * window_kb
    first = _first_in_window(position[known], chromosome[known], reach)
    widest = int((np.arange(known.size) - first).max())
    require_memory(
        4 * (n + BLOCK) * (widest + 3 * BLOCK),
        f"{widest} variants of {n} individuals in a window of {window_kb:g} kb",
        "choose a smaller window",
    )
    scores[known] = _scores(genotypes.select(variants=known), first)
    return scores


def _scores(genotypes: Genotypes, first: NDArray[np.intp]) -> Floats:
    """Compute the scores; `first` (m,) is the first variant in the window of each."""
    n = genotypes.n
    scores = np.ones(genotypes.m)
    varied = np.zeros(genotypes.m, dtype=np.bool_)
    rows: NDArray[np.float32] = np.empty((0, n), np.float32)  # variants from `start` on
    start = 0
    dtype = np.int8 if genotypes.source.hard_calls else np.float32
    for where, dosages in genotypes.blocks(BLOCK, dtype):
        z, varied[where] = _unit_rows(dosages)
        rows = np.concatenate([rows[first[where.start] - start :], z])
        start = int(first[where.start])
        earlier = np.arange(start, where.stop)
        later = np.arange(where.start, where.stop)
        r2 = (z @ rows.T).astype(np.float64) ** 2
        pairs = (earlier >= first[where, None]) & (earlier < later[:, None])
        pairs &= varied[earlier] & varied[where, None]
        terms = np.where(pairs, r2 - (1.0 - r2) / (n - 2), 0.0)
        scores[where] += terms.sum(axis=1)
        scores[start : where.stop] += terms.sum(axis=0)
    scores[~varied] = np.nan
    return scores


def _unit_rows(dosages: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Centre dosages (b, n) and scale them to length one; return them and which vary."""
    mean, about_mean, varies = moments(dosages)
    which = np.flatnonzero(varies)
    coefficients = np.zeros((mean.size, 3))
    # with ddof 1 rows have the length √(n-1)
    n = dosages.shape[1]
    coefficients[which] = additive(mean[which], about_mean[which], n, "sample") / np.sqrt(n - 1)
    z = np.empty(dosages.shape, np.float32)
    encode(z, dosages, np.arange(mean.size), coefficients)
    return z, varies


def _places(genotypes: Genotypes) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """Return positions and chromosome codes (m,); raise `InputError` if they are out of order."""
    table = genotypes.variants
    position = table["POS"].to_numpy(dtype=np.int64)
    codes, names = table["CHROM"].factorize()
    known = np.flatnonzero(position > 0)
    place, code = position[known], codes[known]
    pieces = np.flatnonzero(np.diff(code, prepend=-1))
    back = np.flatnonzero((np.diff(place) < 0) & (np.diff(code) == 0)) + 1
    again = pieces[np.setdiff1d(np.arange(pieces.size), np.unique(code[pieces], True)[1])]
    wrong = np.union1d(back, again)
    if wrong.size:
        one = table.iloc[known[wrong[0]]]
        raise InputError(
            f"variant {one['ID']} ({names[code[wrong[0]]]}:{one['POS']}) comes after a later one",
            "the variants of a chromosome together, by position, for LD scores",
            "sort them: plink2 --make-pgen --sort-vars",
            path=genotypes.source.name,
        )
    return position, codes


def _first_in_window(
    position: NDArray[np.int64], chromosome: NDArray[np.intp], reach: float
) -> NDArray[np.intp]:
    """Return the first variant (m,) of each one's chromosome at most `reach` before it."""
    first = np.empty(position.size, dtype=np.intp)
    begins = np.flatnonzero(np.diff(chromosome, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], position.size], strict=True):
        here = position[begin:end]
        first[begin:end] = begin + np.searchsorted(here, here - reach)
    return first
