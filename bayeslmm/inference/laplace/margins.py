"""Monotone maps of each coordinate to a normal score.

Rational quadratic splines (Gregory and Delbourgo 1982) are smooth, monotone for any positive
slopes, and have value, derivative and inverse in closed form. They are linear beyond the outer
knots. The composition of two maps is again such a map, so refitting keeps the family.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.special import ndtr, ndtri_exp

from bayeslmm.numerics.arrays import Floats

LEVELS = np.linspace(-3.5, 3.5, 15)  # normal scores of the knots
WIDER = 0.8  # slope of z beyond the knots, relative to the last interval: wider tails


@dataclass(frozen=True, slots=True, eq=False)
class Margins:
    """Maps z_i = T_i(x_i) of d coordinates.

    Parameters
    ----------
    x, z
        Knots, both increasing (d, k).
    slope
        dz/dx at the knots (d, k), positive.
    """

    x: Floats
    z: Floats
    slope: Floats

    def scores(self, points: Floats) -> tuple[Floats, Floats]:
        """Compute z (N, d) of points (N, d), and Σ_i log dz_i/dx_i (N,)."""
        z, log_slope = np.empty_like(points), np.zeros(len(points))
        for i in range(points.shape[1]):
            z[:, i], slope = _forward(points[:, i], self.x[i], self.z[i], self.slope[i])
            log_slope += np.log(slope)
        return z, log_slope

    def points(self, z: Floats) -> Floats:
        """Compute the points (N, d) with given scores (N, d)."""
        points = np.empty_like(z)
        for i in range(z.shape[1]):
            points[:, i] = _inverse(z[:, i], self.x[i], self.z[i], self.slope[i])
        return points

    def then(self, after: Margins) -> Margins:
        """Return the composition at the knots: first this map, then `after` on its scores."""
        z, slope = np.empty_like(self.z), np.empty_like(self.slope)
        for i in range(len(z)):
            z[i], slope[i] = _forward(self.z[i], after.x[i], after.z[i], after.slope[i])
        return Margins(self.x, z, self.slope * slope)


def from_knots(x: Floats, z: Floats, wider: float = WIDER) -> Margins:
    """Build margins through knots (d, k); slopes are harmonic means of neighbouring secants."""
    secant = np.diff(z, axis=1) / np.diff(x, axis=1)
    inner = 2.0 / (1.0 / secant[:, 1:] + 1.0 / secant[:, :-1])
    slope = np.concatenate([wider * secant[:, :1], inner, wider * secant[:, -1:]], axis=1)
    return Margins(x, z, slope)


def from_log_density(t: Floats, log_density: Floats) -> Floats:
    """Compute the quantiles (k,) at the normal scores `LEVELS` of a tabulated density.

    log f is interpolated by a monotone cubic, and linear beyond the table.

    Parameters
    ----------
    t, log_density
        Increasing nodes (m,) and log f at them, up to a constant; finite.
    """
    low, high = (
        (log_density[1] - log_density[0]) / (t[1] - t[0]),
        (log_density[-1] - log_density[-2]) / (t[-1] - t[-2]),
    )
    span = t[-1] - t[0]
    left = min(12.0 / max(low, 1e-3), 3 * span)
    right = min(12.0 / max(-high, 1e-3), 3 * span)
    fine = np.concatenate(
        [
            np.linspace(t[0] - left, t[0], 200)[:-1],
            np.linspace(t[0], t[-1], 1201),
            np.linspace(t[-1], t[-1] + right, 200)[1:],
        ]
    )
    inside = np.clip(fine, t[0], t[-1])
    log_f = PchipInterpolator(t, log_density)(inside)
    log_f += np.minimum(low * (fine - inside), 0.0) + np.minimum(high * (fine - inside), 0.0)
    f = np.exp(log_f - log_f.max())
    mass = 0.5 * (f[1:] + f[:-1]) * np.diff(fine)
    below = np.concatenate([[0.0], np.cumsum(mass)])
    above = np.concatenate([np.cumsum(mass[::-1])[::-1], [0.0]])
    with np.errstate(divide="ignore"):
        score = np.where(
            below < above,
            ndtri_exp(np.log(below / below[-1])),
            -ndtri_exp(np.log(above / below[-1])),
        )
    keep = np.isfinite(score)
    score, fine = score[keep], fine[keep]
    rising = np.concatenate([[True], np.diff(score) > 1e-12])
    return np.asarray(np.interp(LEVELS, score[rising], fine[rising]))


def from_weighted(z: Floats, weights: Floats, ess: float) -> Margins:
    """Fit a map that corrects non-normal scores (N, d), from weighted points.

    It maps weighted quantiles to normal quantiles at the scores 0, ±0.5, ±1, ±1.5, ±2 (as far as
    there are 10 effective points), shrunk towards the identity with the weight of 10 points.

    Returns
    -------
    Margins
        Maps z → z', for `Margins.then`.
    """
    farthest = -ndtri_exp(np.log(min(0.4, 10.0 / ess)))
    levels = np.array([k for k in np.arange(-2.5, 2.51, 0.5) if abs(k) <= max(farthest, 0.5)])
    probabilities = ndtr(levels)
    knots = np.empty((z.shape[1], levels.size))
    for i in range(z.shape[1]):
        order = np.argsort(z[:, i])
        cumulative = np.cumsum(weights[order]) - 0.5 * weights[order]
        knots[i] = np.interp(probabilities, cumulative, z[order, i])
    trust = ess / (ess + 10.0)
    knots = trust * knots + (1 - trust) * levels
    gaps = np.clip(np.diff(knots, axis=1), 0.25 * np.diff(levels), 4.0 * np.diff(levels))
    middle = levels.size // 2
    offsets = np.concatenate([np.zeros((len(knots), 1)), np.cumsum(gaps, axis=1)], axis=1)
    knots = knots[:, middle, None] + offsets - offsets[:, middle, None]
    return from_knots(knots, np.broadcast_to(levels, knots.shape).copy(), wider=1.0)


def _forward(x: Floats, at: Floats, z: Floats, slope: Floats) -> tuple[Floats, Floats]:
    """Compute value and derivative of one spline at x (N,)."""
    k = np.clip(np.searchsorted(at, x) - 1, 0, at.size - 2)
    width, height = at[k + 1] - at[k], z[k + 1] - z[k]
    s, a, b = height / width, slope[k], slope[k + 1]
    r = np.clip((x - at[k]) / width, 0.0, 1.0)
    q = r * (1 - r)
    below = s + (a + b - 2 * s) * q
    value = z[k] + height * (s * r * r + a * q) / below
    derivative = s * s * (b * r * r + 2 * s * q + a * (1 - r) ** 2) / below**2
    value += slope[0] * np.minimum(x - at[0], 0.0) + slope[-1] * np.maximum(x - at[-1], 0.0)
    return value, derivative


def _inverse(value: Floats, at: Floats, z: Floats, slope: Floats) -> Floats:
    """Compute x (N,) at which one spline has the given values."""
    k = np.clip(np.searchsorted(z, value) - 1, 0, z.size - 2)
    width, height = at[k + 1] - at[k], z[k + 1] - z[k]
    s, a, b = height / width, slope[k], slope[k + 1]
    y = np.clip(value - z[k], 0.0, height)
    bend = a + b - 2 * s
    p, q, c = height * (s - a) + y * bend, height * a - y * bend, -s * y
    r = 2 * c / (-q - np.sqrt(np.maximum(q * q - 4 * p * c, 0.0)))
    x = at[k] + width * r
    x += np.minimum(value - z[0], 0.0) / slope[0]
    return np.asarray(x + np.maximum(value - z[-1], 0.0) / slope[-1])
