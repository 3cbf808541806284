"""Codings of genotypes: the values of 0, 1 and 2 copies of an allele in a kernel."""

# numba carries no types
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Literal, get_args

import numba
import numpy as np
from numpy.typing import NDArray

from bayeslmm.numerics.arrays import Floats

type Scale = Literal["gcta", "sample", "centred"]
type Coding = Literal["additive", "dominance", "x"]
type Precision = type[np.float32] | type[np.float64]

CODINGS: tuple[str, ...] = get_args(Coding.__value__)
VARIES = 1e-10  # variances of dosages below this are rounding


def coefficients(coding: Coding, mean: Floats, about_mean: Floats, n: int, scale: Scale) -> Floats:
    """Return a coding as coefficients (b, 3) of 1, x and x², see `additive` and `dominance`.

    Variants on X have the additive coding at GCTA's scale; `bayeslmm.relationship.x_chromosome`
    sets the dosage of a male's genotype.
    """
    match coding:
        case "dominance":
            return dominance(mean)
        case "x":
            return additive(mean, about_mean, n, "gcta")
        case _:
            return additive(mean, about_mean, n, scale)


def additive(mean: Floats, about_mean: Floats, n: int, scale: Scale) -> Floats:
    """Return the additive coding ``z = (x - 2p) / c`` as coefficients of 1, x and x².

    Parameters
    ----------
    mean
        (b,) mean dosage 2p of each variant, strictly between 0 and 2.
    about_mean
        (b,) ``Σ (x - 2p)²`` over the observed individuals.
    n
        Number of individuals.
    scale
        c is ``√(2p(1-p))`` ("gcta"), the sd (ddof 1) with missing dosages at the mean ("sample"),
        or 1 ("centred").

    Returns
    -------
    coefficients
        (b, 3) of 1, x and x².
    """
    weight = np.ones_like(mean)
    if scale == "gcta":
        weight = (mean * (1.0 - mean / 2.0)) ** -0.5
    elif scale == "sample":
        weight = (about_mean / (n - 1)) ** -0.5
    return np.column_stack([-mean * weight, weight, np.zeros_like(mean)])


def dominance(mean: Floats) -> Floats:
    """Return the dominance coding as coefficients of 1, x and x².

    ``z = d / (2p(1-p))`` with d = -2p², 2p(1-p), -2(1-p)² for 0, 1, 2 copies of an allele of
    frequency p, which is (0, 2p, 4p-2) - 2p² (Vitezica et al. 2013; GCTA's ``--make-grm-d``).
    Counting the other allele gives the same coding. In Hardy-Weinberg proportions, and only then,
    it has mean 0, variance 1 and no correlation with the additive coding.

    Dosages x that are not whole take the value of the parabola through the three points,
    ``d = (2p+1)x - x² - 2p²``.

    Parameters
    ----------
    mean
        (b,) mean dosage 2p of each variant, strictly between 0 and 2.

    Returns
    -------
    coefficients
        (b, 3) of 1, x and x².

    References
    ----------
    Vitezica, Varona & Legarra (2013) Genetics 195:1223. Zhu et al. (2015) AJHG 96:377.
    """
    variance = mean * (1.0 - mean / 2.0)  # 2p(1-p)
    return np.column_stack([-(mean**2) / 2.0, mean + 1.0, -np.ones_like(mean)]) / variance[:, None]


def moments(dosages: NDArray[Any]) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return the mean 2p, ``Σ (x - 2p)²`` and whether it varies, for each variant: (b,) each.

    Missing dosages are below zero (int8) or NaN (float).
    """
    observed, total, squares = tally(dosages)
    mean = total / np.maximum(observed, 1)
    about_mean = squares - total * mean  # exact for whole dosages
    return mean, about_mean, about_mean > VARIES * np.maximum(observed, 1)


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def tally(dosages: NDArray[Any]) -> tuple[Floats, Floats, Floats]:
    """Return number, sum and sum of squares of each variant's observed dosages: (b,) each.

    Missing dosages are below zero (int8) or NaN (float).
    """
    rows, n = dosages.shape
    observed, total, squares = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    for k in range(rows):
        count, x1, x2 = 0, 0.0, 0.0
        for i in range(n):
            x = dosages[k, i]
            seen = x >= 0
            value = np.float64(x) if seen else 0.0
            count += seen
            x1 += value
            x2 += value * value
        observed[k], total[k], squares[k] = count, x1, x2
    return observed, total, squares


@numba.njit(cache=True, nogil=True)
def encode(
    z: NDArray[Any], dosages: NDArray[Any], rows: NDArray[np.intp], coefficients: Floats
) -> None:
    """Set ``z[k] = c0 + c1 x + c2 x²`` with x = ``dosages[rows[k]]``; zero where x is missing.

    The arithmetic is in float64 for any type of z.
    """
    n = dosages.shape[1]
    for k in range(rows.size):
        row = rows[k]
        c0, c1, c2 = coefficients[k, 0], coefficients[k, 1], coefficients[k, 2]
        for i in range(n):
            x = np.float64(dosages[row, i])
            z[k, i] = c0 + x * (c1 + x * c2) if x >= 0 else 0.0
