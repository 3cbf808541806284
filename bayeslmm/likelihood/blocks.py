"""Conditional distributions of blocks of records given all others, from the precision matrix.

With M = Cov(y | θ)⁻¹, β and every random effect integrated out, and r = y - E(y | θ), the records F
given all others are normal::

    y_F | y_-F, θ ~ N(y_F - (M_FF)⁻¹ (M r)_F, (M_FF)⁻¹)

References
----------
Sundararajan & Keerthi (2001) Neural Computation 13:1103; Bürkner, Gabry & Vehtari (2021)
Computational Statistics 36:1243.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.errors import InputError
from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.numerics.arrays import Codes, Floats

if TYPE_CHECKING:
    from collections.abc import Sequence


UNDETERMINED = 1e-12  # smallest relative precision of a record that is not rounding


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Blocks of records that are left out together.

    Parameters
    ----------
    members
        Records of each block. The blocks cover all records or only some.
    """

    members: tuple[Codes, ...]

    @property
    def records(self) -> Codes:
        """All records, block after block (N,)."""
        return np.concatenate(self.members)

    @property
    def starts(self) -> Codes:
        """Start of each block in `records`, and the end of the last."""
        return np.cumsum([0, *(len(one) for one in self.members)])

    @property
    def single(self) -> bool:
        """Whether every block is one record."""
        return all(len(one) == 1 for one in self.members)


@dataclass(frozen=True, slots=True, eq=False)
class Conditionals:
    """Conditional distributions of the records left out, draw by draw.

    Parameters
    ----------
    mean, sd
        Mean and sd (S, N) of each record given all records outside its block, ordered as
        `Blocks.records`.
    log_density
        Joint log density of each block (S, blocks).
    """

    mean: Floats
    sd: Floats
    log_density: Floats

    def rows(self, which: Codes) -> Conditionals:
        """Return the conditionals at draws `which`, which may repeat."""
        return Conditionals(self.mean[which], self.sd[which], self.log_density[which])


def allocate(draws: int, blocks: Blocks) -> Conditionals:
    """Allocate uninitialised conditionals."""
    shape = (draws, len(blocks.records))
    return Conditionals(np.empty(shape), np.empty(shape), np.empty((draws, len(blocks.members))))


def join(parts: Sequence[Conditionals]) -> Conditionals:
    """Concatenate conditionals along the draws."""
    return Conditionals(
        np.concatenate([one.mean for one in parts]),
        np.concatenate([one.sd for one in parts]),
        np.concatenate([one.log_density for one in parts]),
    )


def fill_singles(out: Conditionals, rows: slice, y: Floats, M: Floats, Mr: Floats) -> None:
    """Fill blocks of one record from M_ii and (M r)_i, each (draws, N), and y (N,)."""
    _require_positive(M, np.median(M, axis=1, keepdims=True))
    error = Mr / M  # y_i - E(y_i | y_-i)
    out.mean[rows] = y - error
    out.sd[rows] = 1.0 / np.sqrt(M)
    out.log_density[rows] = 0.5 * (np.log(M) - LOG_2PI - Mr * error)


def fill_block(
    out: Conditionals,
    rows: slice,
    blocks: Blocks,
    k: int,
    y: Floats,
    M: Floats,
    Mr: Floats,
) -> None:
    """Fill block k from M_FF (draws, f, f), (M r)_F (draws, f) and y_F (f,)."""
    here = slice(blocks.starts[k], blocks.starts[k + 1])
    diagonal = np.diagonal(M, axis1=1, axis2=2)
    _require_positive(diagonal, diagonal)
    try:
        L = np.linalg.cholesky(M)
    except np.linalg.LinAlgError:
        raise _not_determined() from None
    _require_positive(np.diagonal(L, axis1=1, axis2=2) ** 2, diagonal)
    inverse = np.linalg.inv(L)  # (M_FF)⁻¹ = L⁻ᵀL⁻¹
    w = np.einsum("sij,sj->si", inverse, Mr)
    out.mean[rows, here] = y - np.einsum("sji,sj->si", inverse, w)
    out.sd[rows, here] = np.sqrt(np.einsum("sji,sji->si", inverse, inverse))
    log_det = np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
    out.log_density[rows, k] = log_det - 0.5 * (len(y) * LOG_2PI + (w * w).sum(axis=1))


def _require_positive(M: Floats, beside: Floats) -> None:
    if not (np.isfinite(M).all() and (UNDETERMINED * beside < M).all() and M.min() > 0.0):
        raise _not_determined()


def _not_determined() -> InputError:
    return InputError(
        "records without which a fixed effect or a variance is not determined",
        "effects that the other records determine too, or a proper prior of β",
        "remove the covariate that only these records have, or give β a normal prior",
    )
