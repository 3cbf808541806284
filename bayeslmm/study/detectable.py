"""What h² a study can detect, from its spectrum alone: expected SE, interval width and power.

Data sets are drawn at a true h², ``e_i² = d_i χ²_1`` with ``d = h² s + 1 - h²``. Under a flat prior
of h² and of the log variance the posterior of each is::

    log p(h² | e) = -½ [ m log Σ e_i²/d_i + Σ log d_i ] + const

on a grid around the truth. This takes a few hundredths of a second. ``bayeslmm power`` is more
thorough and takes any prior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.special import expit, logit

from bayeslmm.estimates.boundary import expected_se
from bayeslmm.numerics.arrays import Floats

TRUTHS = (0.1, 0.3, 0.5)
REPS = 200
REACH = 8.0  # half-width of the grid around the truth, in expected standard errors
NODES, FINER = 121, 8
LEAST = 1e-6  # smallest h² and 1 - h² on the grid
NUMBERS = 4e6  # normal numbers drawn at once


@dataclass(frozen=True, slots=True)
class ExpectedInterval:
    """Expected SE, interval width and power at one true h².

    Parameters
    ----------
    h2
        The truth.
    se
        Expected standard error (REML information).
    width
        Mean width of the highest density interval.
    excludes_0
        Share of data sets whose interval begins above 0.
    """

    h2: float
    se: float
    width: float
    excludes_0: float


def expected_intervals(
    eigenvalues: Floats,
    truths: Sequence[float] = TRUTHS,
    *,
    prob: float = 0.95,
    reps: int = REPS,
    seed: int = 1,
) -> list[ExpectedInterval]:
    """Return expected SE, interval width and how often the interval excludes 0, for true h².

    Parameters
    ----------
    eigenvalues
        s (m,) of the scaled kernel among the error contrasts.
    truths
        True values of h², each in (0, 1).
    prob
        Probability of the highest density interval; default 0.95.
    reps
        Data sets for each true value.
    seed
        Seed of the simulation.

    Returns
    -------
    list of ExpectedInterval
        One for each true value.
    """
    rng = np.random.default_rng(seed)
    out = []
    for truth in truths:
        se = expected_se(eigenvalues, truth)
        widths, excluded = _simulated(eigenvalues, truth, se, prob, reps, rng)
        out.append(ExpectedInterval(truth, se, float(widths.mean()), float(excluded.mean())))
    return out


def _simulated(
    s: Floats, truth: float, se: float, prob: float, reps: int, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Simulate data sets; return interval widths (reps,) and whether they exclude 0 (reps,)."""
    reach = min(REACH * se, 1.0)
    low, high = max(truth - reach, LEAST), min(truth + reach, 1 - LEAST)
    z = np.linspace(logit(low), logit(high), NODES)
    h = np.concatenate([[0.0], expit(z)])
    d = h[:, None] * s + (1.0 - h)[:, None]
    log_d, weights = np.log(d).sum(axis=1), (1.0 / d).T
    at = truth * s + 1.0 - truth
    parts = []
    block = max(1, int(NUMBERS // s.size))
    for start in range(0, reps, block):
        squares = at * rng.standard_normal((min(block, reps - start), s.size)) ** 2
        parts.append(-0.5 * (s.size * np.log(squares @ weights) + log_d))
    return _intervals(np.concatenate(parts), z, prob)


def _intervals(log_density: Floats, z: Floats, prob: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Measure highest density regions from log p (reps, 1 + nodes), at h² = 0 and then at z."""
    fine = np.linspace(z[0], z[-1], (z.size - 1) * FINER + 1)
    values = CubicSpline(z, log_density[:, 1:], axis=1)(fine)
    top = values.max(axis=1)
    density, at_zero = np.exp(values - top[:, None]), np.exp(log_density[:, 0] - top)
    length = expit(fine) * expit(-fine) * (fine[1] - fine[0])  # dh² of a node
    mass = density * length
    mass /= mass.sum(axis=1, keepdims=True)
    order = np.argsort(-density, axis=1)
    reached = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1)
    width = np.where(reached <= prob, length[order], 0.0).sum(axis=1)
    above = np.where(density > at_zero[:, None], mass, 0.0).sum(axis=1)
    return width, above >= prob
