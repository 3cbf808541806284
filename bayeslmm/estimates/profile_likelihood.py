"""Slope, curvature and maximum of the restricted likelihood of h²; one kernel, σ² profiled out.

The kernel has distinct eigenvalues s_i of multiplicity n_i among m error contrasts; e²_i is the sum
of squared contrasts of each. With ``d = h² s + 1 - h²``, ``t = s - 1``, ``σ² = Σ e²/d / m``::

    l(h²)             = -½ [ m log σ² + Σ n log d ] + constant
    l'(h²)            = ½ [ Σ e²t/d² / σ² - Σ n t/d ]
    -l''(h²)          = ½ [ 2 Σ e²t²/d³ / σ² - (Σ e²t/d²)²/(m σ⁴) - Σ n t²/d² ]     observed
    average information = ½ [ Σ e²t²/d³ / σ² - (Σ e²t/d²)²/(m σ⁴) ]

References
----------
Patterson & Thompson (1971) Biometrika 58:545; Gilmour, Thompson & Cullis (1995) Biometrics 51:1440
(average information).
"""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import math

import numba

from bayeslmm.numerics.arrays import Floats

CLOSE = 1e-7  # Newton's method stops at a step this small; the error left is its square


@numba.njit(cache=True, nogil=True)
def derivatives(h: float, s: Floats, count: Floats, squares: Floats) -> tuple[float, float, float]:
    """Return l'(h²), the observed information -l''(h²), and the average information.

    Parameters
    ----------
    h
        h², where no d is zero.
    s, count, squares
        s, n and e² (k,).
    """
    rss = first = second = trace = trace2 = m = 0.0
    for i in range(s.shape[0]):
        inverse = 1.0 / (h * s[i] + 1.0 - h)
        slope = (s[i] - 1.0) * inverse
        x = squares[i] * inverse
        rss += x
        first += x * slope
        second += x * slope * slope
        trace += count[i] * slope
        trace2 += count[i] * slope * slope
        m += count[i]
    variance = rss / m
    first, second = first / variance, second / variance
    average = 0.5 * (second - first * first / m)
    return 0.5 * (first - trace), average + 0.5 * (second - trace2), average


@numba.njit(cache=True, nogil=True)
def log_profile(h: float, s: Floats, count: Floats, squares: Floats) -> float:
    """Return ``-½ [m log σ² + Σ n log d]``, which is l(h²) up to a constant."""
    rss = logs = m = 0.0
    for i in range(s.shape[0]):
        d = h * s[i] + 1.0 - h
        rss += squares[i] / d
        logs += count[i] * math.log(d)
        m += count[i]
    return -0.5 * (m * math.log(rss / m) + logs)


@numba.njit(cache=True, nogil=True)
def maximise_profile(
    h: float, low: float, high: float, s: Floats, count: Floats, squares: Floats
) -> tuple[float, float, float]:
    """Maximise l in [low, high] from h by Newton's method; return h² and both informations.

    The maximum may be an end of the interval. No d may be zero at the ends.
    """
    seen_low, seen_high = False, False
    for _ in range(100):
        slope, observed, average = derivatives(h, s, count, squares)
        if slope > 0.0:
            low, seen_low = h, True
        else:
            high, seen_high = h, True
        if high <= low:
            return h, observed, average
        new = h + slope / observed if observed > 0.0 else (high if slope > 0.0 else low)
        if new >= high:
            new = 0.5 * (low + high) if seen_high else high
        elif new <= low:
            new = 0.5 * (low + high) if seen_low else low
        step, h = abs(new - h), new
        if step < CLOSE:
            break
    _, observed, average = derivatives(h, s, count, squares)
    return h, observed, average
