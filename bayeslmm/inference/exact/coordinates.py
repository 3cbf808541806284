"""Coordinates of the exact engine's grid, in which posteriors are smooth on the whole plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from bayeslmm.numerics.arrays import Floats


@dataclass(frozen=True, slots=True)
class Coordinates:
    """Coordinates (w, v) of the grid: h² = expit(w) and τ = e^v, or logits of bounded supports.

    Parameters
    ----------
    share
        Lower and upper bound of h²; w is the logit of the relative position between them.
    scale
        Lower and upper bound of τ; v is the logit of the relative position between them if the
        upper bound is finite, otherwise log τ.
    """

    share: tuple[float, float] = (0.0, 1.0)
    scale: tuple[float, float] = (0.0, np.inf)

    @property
    def bounded(self) -> bool:
        """Whether τ has an upper bound."""
        return bool(np.isfinite(self.scale[1]))

    def z(self, w: Floats) -> Floats:
        """Compute logit h²."""
        a, b = self.share
        if (a, b) == (0.0, 1.0):
            return w
        inside = b - a
        return np.asarray(np.log(a + inside * expit(w)) - np.log(1 - b + inside * expit(-w)))

    def log_slope(self, w: Floats) -> Floats:
        """Compute ``log ∂h²/∂w``."""
        a, b = self.share
        return np.asarray(np.log(b - a) + log_expit(w) + log_expit(-w))

    def t(self, v: Floats) -> Floats:
        """Compute log τ."""
        c, d = self.scale
        if not self.bounded:
            return v
        if c == 0.0:
            return np.asarray(np.log(d) + log_expit(v))
        return np.asarray(np.log(c + (d - c) * expit(v)))

    def inverse(self, z: Floats, t: Floats) -> tuple[Floats, Floats]:
        """Compute (w, v) from (z, t)."""
        (a, b), (c, d) = self.share, self.scale
        tiny = np.finfo(float).tiny
        w, v = z, t
        if (a, b) != (0.0, 1.0):
            low = np.where(a > 0, expit(z) - a, expit(z))
            high = np.where(b < 1, b - expit(z), expit(-z))
            w = np.log(np.maximum(low, tiny)) - np.log(np.maximum(high, tiny))
        if self.bounded:
            tau = np.exp(t)
            v = np.log(np.maximum(tau - c, tiny)) - np.log(np.maximum(d - tau, tiny))
        return w, v

    def divided(self, unit: float) -> Coordinates:
        """Return the coordinates for τ in another unit."""
        return Coordinates(self.share, (self.scale[0] / unit, self.scale[1] / unit))
