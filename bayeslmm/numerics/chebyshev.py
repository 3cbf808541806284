"""Interpolation between Chebyshev points of functions that are analytic in a strip.

A function analytic for |Im z| < π is interpolated on an interval of half-width w by a polynomial of
degree N with an error of about ρ^-N, ``ρ = π/w + √(1 + (π/w)²)``.

References
----------
Berrut & Trefethen (2004) Barycentric Lagrange interpolation. SIAM Rev 46:501.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayeslmm.numerics.arrays import Floats

DIGITS = 34.0  # -log of the error aimed at
HIGHEST = 8.0  # log a/b beyond which digits of φ, which falls as e^-z, would be lost
SAVING = 3  # points are worth it where there are so many times more draws


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Chebyshev points of the second kind.

    Parameters
    ----------
    z
        (N + 1,) from one end of the interval to the other.
    """

    z: Floats

    def weights(self, at: Floats) -> Floats:
        """(r, N + 1) by which values at the points are combined to values at `at` (r,)."""
        barycentric = np.where(np.arange(self.z.size) % 2, -1.0, 1.0)
        barycentric[[0, -1]] *= 0.5
        distance = at[:, None] - self.z
        hit = distance == 0.0
        terms = barycentric / np.where(hit, 1.0, distance)
        terms = np.where(hit.any(axis=1, keepdims=True), hit.astype(np.float64), terms)
        return np.asarray(terms / terms.sum(axis=1, keepdims=True))


def chebyshev(a: Floats, b: Floats) -> Nodes | None:
    """Points for all log a/b of the draws; None where each draw by itself is cheaper or safer."""
    if not (np.min(a) > 0.0 and np.min(b) > 0.0):
        return None
    z = np.log(a / b)
    low, high = float(z.min()), float(z.max())
    if not (np.isfinite(low) and high < HIGHEST):
        return None
    half = max(0.5 * (high - low), 1e-3)
    count = int(np.ceil(DIGITS / np.arcsinh(np.pi / half))) + 3
    if SAVING * count > z.size:
        return None
    return Nodes(0.5 * (low + high) + half * np.cos(np.pi * np.arange(count + 1) / count))
