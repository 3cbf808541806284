"""The marginal posterior of h² on a fine grid: quantiles, mode, shortest interval.

The grid is even in logit h² (or in the logit within a part of [0, 1]), with a step of a sixtieth of
a posterior standard deviation. Between its nodes the distribution function is a monotone cubic
(`bayeslmm.numerics.monotone_cubic`): quantiles and both ends of the shortest interval have an error
below 1e-6, most often below 1e-7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import polynomial
from scipy.special import expit

from bayeslmm.numerics import monotone_cubic
from bayeslmm.numerics.arrays import Floats

NEAR_END = 1e-6  # distance of the outer nodes from 0 and 1 up to which the grid includes them
TOUCH = 1e-9  # distance of an HDI from 0 or 1 up to which it includes them
FLAT = 20.0  # |logit h²| beyond which the density of h² is flat, or monotone
RIPPLE = 1e-8  # relative error of the density
MODE_NODES = 7  # nodes of the polynomial whose maximum is the mode

_STEPS = np.arange(MODE_NODES) - MODE_NODES // 2
_POLYNOMIAL = np.linalg.inv(np.vander(_STEPS, increasing=True).astype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class ShareMarginal:
    """Exact marginal posterior of h² on a fine grid, from 0 to 1.

    Parameters
    ----------
    z
        logit h² (f,), ascending.
    cdf
        P(h² <= expit(z) | y) (f,).
    density
        Density of h² (f,), with respect to h².
    """

    z: Floats
    cdf: Floats
    density: Floats

    def quantile(self, probability: Any) -> Floats:
        """Compute quantiles of h², with the shape of `probability`."""
        u = np.asarray(probability, dtype=np.float64)
        found = monotone_cubic.quantiles(expit(self.z), self.cdf, self.density, u.ravel())
        return np.asarray(found.reshape(u.shape))

    def moments(self) -> tuple[float, float]:
        """Compute the posterior mean and sd of h²."""
        weight = node_masses(self.z, self.density)
        weight /= weight.sum()
        h = expit(self.z)
        mean = float(weight @ h)
        return mean, float(np.sqrt(weight @ (h - mean) ** 2))

    def below(self, h: float) -> float:
        """Compute P(h² < h | y)."""
        nodes = expit(self.z)
        if not nodes[0] < h < nodes[-1]:
            return float(h >= nodes[-1])
        return float(monotone_cubic.probability(nodes, self.cdf, self.density, float(h)))

    def mode(self) -> float:
        """Compute the mode of h² on [0, 1]; 0 or 1 if the density is largest at the boundary.

        A density that is infinite at a boundary is evaluated at |logit h²| = `FLAT`.
        """
        core = np.abs(self.z) < FLAT
        z, density = (self.z[core], self.density[core]) if core.any() else (self.z, self.density)
        best = int(np.argmax(density))
        edge = density[best] * (1.0 - RIPPLE)
        if density[0] >= edge and expit(z[0]) < NEAR_END:
            return 0.0
        if density[-1] >= edge and expit(-z[-1]) < NEAR_END:
            return 1.0
        half = MODE_NODES // 2
        if not half <= best < z.size - half:
            return float(expit(z[best]))
        near = slice(best - half, best + half + 1)
        return float(expit(_polynomial_mode(z[near], np.log(density[near]))))

    def hdi(self, probability: float) -> tuple[float, float]:
        """Compute the shortest interval of h² with the given posterior probability.

        The densities at its ends are equal, or it ends at 0 or 1, where the density is larger than
        at its other end. If the density has several maxima, it is the shortest single interval, not
        a union of intervals.
        """
        h = expit(self.z)
        lower, upper = monotone_cubic.shortest(h, self.cdf, self.density, float(probability))
        return (lower if lower > TOUCH else 0.0), (upper if 1.0 - upper > TOUCH else 1.0)


def _polynomial_mode(z: Floats, log_density: Floats) -> float:
    """Find z that maximises the polynomial through `MODE_NODES` nodes, near the middle one."""
    middle = z.size // 2
    curve = _POLYNOMIAL @ (log_density - log_density[middle])
    slope = polynomial.polyder(curve)
    bend = polynomial.polyder(slope)
    at = 0.0  # in steps from the middle node
    for _ in range(4):
        down = float(polynomial.polyval(at, bend))
        if down >= 0.0:
            return float(z[middle])
        at = float(np.clip(at - polynomial.polyval(at, slope) / down, -1.0, 1.0))
    return float(polynomial.polyval(at, _POLYNOMIAL @ z))


def node_masses(z: Floats, density: Floats) -> Floats:
    """Compute ``p(h²) ∂h²/∂i`` at the nodes (f,), which are even in a smooth coordinate i.

    Their sum is ∫ p(h²) dh² up to the exponentially small error of the trapezoid rule. ∂z/∂i comes
    from central differences of sixth order, at the ends of first order.
    """
    slope = np.gradient(z)
    near, far, farthest = (z[3 + k : z.size - 3 + k] - z[3 - k : z.size - 3 - k] for k in (1, 2, 3))
    slope[3:-3] = (45.0 * near - 9.0 * far + farthest) / 60.0
    return np.asarray(density * slope * expit(z) * expit(-z))


def cumulate(values: Floats) -> Floats:
    """Integrate a smooth function from the first of evenly spaced nodes to each node (f,).

    The unit is the distance of the nodes and the order is six. The cells at the ends, where a
    density is negligible, use the trapezoid rule.
    """
    f = values
    cell = 0.5 * (f[1:] + f[:-1])
    cell[2:-2] = (
        802.0 * (f[2:-3] + f[3:-2]) - 93.0 * (f[1:-4] + f[4:-1]) + 11.0 * (f[:-5] + f[5:])
    ) / 1440.0
    return np.concatenate([[0.0], np.cumsum(np.maximum(cell, 0.0))])
