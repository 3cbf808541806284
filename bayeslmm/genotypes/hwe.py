"""Exact test of Hardy-Weinberg proportions."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIE = 1e-7  # log probabilities that differ by less are equal


def hwe_p_values(hom_0: ArrayLike, het: ArrayLike, hom_1: ArrayLike) -> NDArray[np.float64]:
    """Compute exact Hardy-Weinberg p-values, without the mid-p correction.

    The p-value sums the probabilities, given the allele counts, of all numbers of heterozygotes
    that are at most as probable as the observed number.

    Parameters
    ----------
    hom_0, het, hom_1
        (m,) numbers of individuals with each genotype.

    Returns
    -------
    p
        (m,) values in [0, 1]; 1 if no genotype is called or the variant is monomorphic.

    References
    ----------
    Wigginton JE, Cutler DJ, Abecasis GR (2005) A note on exact tests of Hardy-Weinberg
    equilibrium. Am J Hum Genet 76:887-893.

    Examples
    --------
    >>> hwe_p_values([14], [57], [50]).round(7)
    array([0.8422798])
    """
    counts = np.array([hom_0, het, hom_1], dtype=np.int64)
    total = counts.sum(axis=0)
    rare = counts[1] + 2 * np.minimum(counts[0], counts[2])
    distinct, inverse = np.unique(np.stack([total, rare, counts[1]]), axis=1, return_inverse=True)
    numbers = np.arange(1.0, int(total.max(initial=0)) + 1)
    log_factorial = np.append(0.0, np.cumsum(np.log(numbers)))
    p = np.array([_p_value(int(n), int(r), int(h), log_factorial) for n, r, h in distinct.T])
    return p[inverse.reshape(-1)]


def _p_value(n: int, rare: int, het: int, log_factorial: NDArray[np.float64]) -> float:
    """Compute the p-value of `het` heterozygotes among n individuals with `rare` rarer alleles."""
    if rare < 2:
        return 1.0
    hets = _support(n, rare)
    if not hets[0] <= het <= hets[-1]:
        return 0.0
    hom_rare = (rare - hets) // 2
    log_p = (
        hets * np.log(2.0)
        - log_factorial[hom_rare]
        - log_factorial[hets]
        - log_factorial[n - hets - hom_rare]
    )
    seen = log_p[(het - hets[0]) // 2]
    weights = np.exp(log_p - log_p.max())
    return float(min(1.0, weights[log_p <= seen + TIE].sum() / weights.sum()))


def _support(n: int, rare: int) -> NDArray[np.int64]:
    """Return the numbers of heterozygotes above about 1e-300 of the mode's probability."""
    q = rare / (2 * n)
    mean, sd = 2 * n * q * (1 - q), 2 * q * (1 - q) * n**0.5
    reach = 40 * sd + 1000
    low = max(rare % 2, int(mean - reach))
    low += (low ^ rare) & 1
    return np.arange(low, min(rare, int(mean + reach)) + 1, 2)
