"""Nodes of h² for one kernel, spaced by the expected standard error.

The nodes are even in the coordinate φ with ``dφ = dh²/SE(h²)``. In φ every posterior has a
standard deviation of about one, for any true h², kernel and sample size. So only the nodes within
`WINDOW` of the true φ can carry probability.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import expit

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Floats

STEP = 0.125  # distance between nodes, in expected standard errors
FINE = 8  # points of the distribution function for each node
LEAST = 48  # smallest number of nodes, where the data say little
WINDOW = 12.0  # expected standard errors from the truth that can carry probability
TOP = 1e-6  # distance of the last node from h² = 1, where the kernel is singular
CLOSE = 0.02  # width, in sd(s), of the bins in which eigenvalues are merged
SPAN = 22.0  # |logit h²| up to which φ is computed


@dataclass(frozen=True, slots=True, eq=False)
class ShareGrid:
    """Nodes of h² for the eigenvalues of one kernel.

    Parameters
    ----------
    eigenvalues, count
        Distinct eigenvalues s (k,) of the scaled kernel among the error contrasts, ascending, and
        the multiplicity of each.
    phi, h
        φ and h² of the fine points, ascending from h² = 0; every `FINE`-th is a node.
    """

    eigenvalues: Floats
    count: Floats
    phi: Floats
    h: Floats

    @property
    def m(self) -> int:
        """Number of error contrasts."""
        return int(self.count.sum())

    @property
    def singular(self) -> bool:
        """Whether the kernel is singular, so that h² = 1 is impossible."""
        return bool(self.eigenvalues[0] <= 0.0)

    def window(self, low: float, high: float) -> slice:
        """Return the nodes that can carry probability if the true h² is in [`low`, `high`]."""
        phi = np.interp([low, high], self.h, self.phi)
        step = self.phi[FINE] - self.phi[0]
        last = (self.phi.size - 1) // FINE
        first = int(np.clip(np.floor((phi[0] - WINDOW) / step), 0, last - LEAST // 2))
        end = int(np.clip(np.ceil((phi[1] + WINDOW) / step), LEAST // 2, last))
        return slice(first, end + 1)


def check_eigenvalues(eigenvalues: Floats) -> Floats:
    """Return the eigenvalues (m,) in ascending order.

    Raises
    ------
    InputError
        If they cannot belong to a kernel: fewer than two, not finite, negative, or all zero.
    """
    s = np.sort(np.asarray(eigenvalues, dtype=np.float64).ravel())
    if s.size < 2:
        raise InputError(
            f"{s.size} eigenvalues", "two or more error contrasts", "use more individuals"
        )
    if not np.isfinite(s).all() or s[0] < 0 or s[-1] <= 0:
        raise InputError(
            f"eigenvalues from {s[0]:.3g} to {s[-1]:.3g}",
            "finite, non-negative numbers, not all zero",
            "give the eigenvalues of the kernel among the error contrasts (Spectrum.eigenvalues)",
        )
    return s


def merge_eigenvalues(eigenvalues: Floats, closeness: float = CLOSE) -> tuple[Floats, Floats]:
    """Merge eigenvalues that lie close together; return the merged (k,) and their counts (k,).

    The bins of log s have the width `closeness` × sd(s). So the variance of s, which carries the
    information on h², loses a relative `closeness`²/12. Zeros stay zeros.

    Parameters
    ----------
    eigenvalues
        s (m,), ascending.
    closeness
        Width of the bins in sd(s); 0 merges nothing. Default: 0.02.
    """
    width = closeness * min(float(np.std(eigenvalues)), 0.5)
    if width <= 0.0:
        return eigenvalues, np.ones(eigenvalues.size)
    floor = np.finfo(float).tiny
    bins = np.floor(np.log(np.maximum(eigenvalues, floor)) / width)
    _, start, count = np.unique(bins, return_index=True, return_counts=True)
    return np.add.reduceat(eigenvalues, start) / count, count.astype(np.float64)


def share_grid(eigenvalues: Floats, count: Floats | None = None) -> ShareGrid:
    """Place nodes of h² for a kernel with eigenvalues s (k,) of multiplicity `count` (k,)."""
    s = check_eigenvalues(eigenvalues)
    count = np.ones(s.size) if count is None else count
    coarse = np.linspace(-SPAN, SPAN, 353)
    rate = np.array([_information(s, count, expit(z), expit(-z)) for z in coarse])
    z = np.linspace(-SPAN, SPAN, 16 * 352 + 1)
    # at least LEAST nodes on [0, 1], also where SE(h²) is infinite
    slope = np.exp(CubicSpline(coarse, np.log(np.sqrt(rate) + LEAST * STEP))(z))
    slope *= expit(z) * expit(-z)
    phi = np.concatenate([[0.0], np.cumsum(0.5 * (slope[1:] + slope[:-1]) * np.diff(z))])
    h = expit(z)
    h[0], h[-1] = 0.0, 1.0
    if s[0] <= 0.0:
        keep = expit(-z) >= TOP
        phi, h = phi[keep], h[keep]
    nodes = max(LEAST, int(np.ceil(phi[-1] / STEP)) + 1)
    fine = np.linspace(0.0, phi[-1], FINE * (nodes - 1) + 1)
    return ShareGrid(s, count, fine, np.interp(fine, phi, h))


def _information(s: Floats, count: Floats, h: float, rest: float) -> float:
    """Return the expected information on h² in the restricted likelihood, σ² profiled out."""
    slope = (s - 1.0) / (h * s + rest)
    m = count.sum()
    mean = float(count @ slope) / m
    return 0.5 * float(count @ (slope - mean) ** 2)
