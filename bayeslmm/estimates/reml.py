"""REML estimates of the variances and of h², with standard errors, for comparison with a posterior.

One kernel, from its spectrum: e are the error contrasts, s the eigenvalues, d = h² s + 1 - h². The
total variance is profiled out, ``σ²(h²) = mean(e²/d)``; the restricted log likelihood is then::

    l(h²) = -½ [ m log 2πσ²(h²) + Σ log d_i + m ]

Several kernels: V(c) = Σ c_k M_k among the contrasts, P its inverse, α = Py::

    ∂l/∂c_k = ½ [ αᵀM_kα - tr(PM_k) ]       A_kl = ½ αᵀM_k P M_lα

Newton steps ``A⁻¹∂l`` (average information) climb to the maximum; no variance goes below zero.

References
----------
Patterson & Thompson (1971) Biometrika 58:545; Gilmour, Thompson & Cullis (1995) Biometrics 51:1440;
Zhou & Stephens (2012) Nat Genet 44:821 (the standard error that GEMMA prints).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bayeslmm.estimates.boundary import expected_se
from bayeslmm.estimates.profile_likelihood import maximise_profile
from bayeslmm.likelihood.dense import half_scores
from bayeslmm.likelihood.one_kernel import LOG_2PI
from bayeslmm.numerics import lapack
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.likelihood.dense import DenseForm


EDGE = 1e-6  # h² nearer to 0 or 1 than this is at the edge
SINGULAR = 1e-12  # distance of the search from h² = 1 where V is singular there
STEPS = 60  # largest number of average information steps


@dataclass(frozen=True, slots=True, eq=False)
class Reml:
    """The maximum of the restricted likelihood.

    Parameters
    ----------
    variances
        c (K,) of every component in the model's order, the residual last; in squared units of y.
    covariance
        Sampling covariance (K, K) of `variances`: the inverse information.
    h2, se
        Share of the genetic components, and its standard error by the delta method.
    log_likelihood
        l at the maximum, the log density of the orthonormal contrasts.
    at_edge
        Whether h², or a component, is at 0 or 1. There, estimate ± 1.96 se is not a confidence
        interval.
    converged
        Whether the search ended at a maximum.
    """

    variances: Floats
    covariance: Floats
    h2: float
    se: float
    log_likelihood: float
    at_edge: bool
    converged: bool = True


def profile(eigenvalues: Floats, squares: Floats, h2: float) -> float:
    """Return the profile restricted log likelihood l(h²) from s (m,) and e² (m,).

    It is minus infinity where V is singular.
    """
    d = h2 * eigenvalues + (1.0 - h2)
    if d.min() <= 0.0:
        return -np.inf
    m = d.size
    total = float(np.mean(squares / d))
    return float(-0.5 * (m * (LOG_2PI + np.log(total) + 1.0) + np.log(d).sum()))


def reml_one_kernel(eigenvalues: Floats, contrasts: Floats) -> Reml:
    """Fit ``e_i ~ N(0, σ²_u s_i + σ²_e)`` by REML.

    The standard error of h² comes from the observed information of l(h²), as in GEMMA. At the edge
    it comes from the expected information, because the observed information means nothing there.

    Parameters
    ----------
    eigenvalues, contrasts
        s (m,) and e (m,) of `bayeslmm.likelihood.spectrum.Spectrum`.
    """
    s, e2 = np.asarray(eigenvalues), np.asarray(contrasts) ** 2
    h2, observed = _maximise(s, e2)
    d = h2 * s + 1.0 - h2
    total = float(np.mean(e2 / d))
    u = np.array([h2 * total, (1.0 - h2) * total])
    at_edge = not EDGE < h2 < 1.0 - EDGE
    information = _expected_information(s, u)
    known = not at_edge and observed > 0.0
    se = 1.0 / np.sqrt(observed) if known else expected_se(s, h2)
    top = profile(s, e2, h2)
    return Reml(u, inverse_information(information), h2, float(se), top, at_edge)


def _maximise(s: Floats, e2: Floats) -> tuple[float, float]:
    """Maximise the profile over h² in [0, 1]; return h² and the observed information there.

    A grid of logits finds the best cell, then Newton's method the maximum in it.
    """
    grid = np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-np.linspace(-14.0, 14.0, 57))), [1.0]])
    if s.min() <= 0.0:
        grid[-1] = 1.0 - SINGULAR
    best = int(np.argmax([profile(s, e2, h) for h in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, grid.size - 1)]
    found = maximise_profile(float(grid[best]), float(low), float(high), s, np.ones(s.size), e2)
    return float(found[0]), float(found[1])


def _expected_information(s: Floats, variances: Floats) -> Floats:
    """Compute ``½ Σ M_k M_l / d²`` (2, 2) for M = (s, 1)."""
    d = variances[0] * s + variances[1]
    scaled = np.stack([s, np.ones_like(s)]) / np.maximum(d, np.finfo(float).tiny)
    return np.asarray(0.5 * scaled @ scaled.T)


def inverse_information(information: Floats) -> Floats:
    """Return the sampling covariance of variances, the (pseudo-)inverse of their information."""
    scale = 1.0 / np.sqrt(np.maximum(np.diagonal(information), np.finfo(float).tiny))
    return np.asarray(np.linalg.pinv(information * np.outer(scale, scale)) * np.outer(scale, scale))


def share_with_se(
    variances: Floats, covariance: Floats, genetic: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return ``h² = Σ_genetic c / Σ c`` and its delta-method standard error; nan if Σ c <= 0.

    Parameters
    ----------
    variances, covariance
        c (K,) and its sampling covariance (K, K).
    genetic
        (K,) which components count toward h².
    """
    total = float(variances.sum())
    if total <= 0.0:
        return float("nan"), float("nan")
    h2 = float(variances[genetic].sum()) / total
    slope = (genetic - h2) / total
    return h2, float(np.sqrt(max(float(slope @ covariance @ slope), 0.0)))


def reml_several(
    form: DenseForm,
    rotated: Floats,
    start: Floats,
    genetic: NDArray[np.bool_],
    tolerance: float = 1e-4,
) -> Reml:
    """Fit several kernels, each with one variance, by average information REML.

    Parameters
    ----------
    form
        Kernel matrices in coordinates where the error contrasts come first.
    rotated
        ``Wᵀy`` (n,).
    start
        Starting values of c (K,), positive; for instance the posterior means.
    genetic
        (K,) which components count toward h².
    tolerance
        The search ends when a step would gain less than this in l.

    Raises
    ------
    ValueError
        If a term has several effects per level, because its coefficients include covariances.
    """
    if any(term.k != 1 for term in form.covariance.terms):
        raise ValueError("reml_several: every term must have one effect per level")
    m = form.n - form.p
    e = np.ascontiguousarray(rotated[:m])
    floor = 1e-9 * float(np.mean(e * e))
    c = np.maximum(np.asarray(start, dtype=np.float64), 1e3 * floor)
    value, slope, information = _evaluate(form, e, c)
    converged = False
    for _ in range(STEPS):
        free = (c > floor) | (slope > 0.0)
        step = np.zeros_like(c)
        step[free] = inverse_information(information[np.ix_(free, free)]) @ slope[free]
        found = None if 0.5 * float(slope @ step) < tolerance else _climb(form, e, c, step,
                                                                          value, floor)  # fmt: skip
        if found is None:
            converged = 0.5 * float(slope @ step) < 100 * tolerance
            break
        c, (value, slope, information) = found
    variances = np.where(c <= floor, 0.0, c)
    free = c > floor
    covariance = np.zeros_like(information)
    covariance[np.ix_(free, free)] = inverse_information(information[np.ix_(free, free)])
    h2, se = share_with_se(variances, covariance, genetic)
    return Reml(variances, covariance, h2, se, value, not free.all(), converged)


def _climb(
    form: DenseForm, e: Floats, c: Floats, step: Floats, value: float, floor: float
) -> tuple[Floats, tuple[float, Floats, Floats]] | None:
    """Halve the step until l rises; return the new point, or None if no step raises l."""
    for halving in range(8):
        there = np.maximum(c + 0.5**halving * step, floor)
        found = _evaluate(form, e, there)
        if found[0] > value:
            return there, found
    return None


def _evaluate(form: DenseForm, e: Floats, c: Floats) -> tuple[float, Floats, Floats]:
    """Compute l, its gradient (K,) and the average information (K, K) at c."""
    m, size = e.size, form.covariance.size
    full = form.factor(c)
    if full is None:
        return -np.inf, np.zeros(size), np.eye(size)
    L = np.ascontiguousarray(full[:m, :m])
    alpha = e.copy()
    lapack.solve_lower(L, alpha)
    value = -0.5 * (m * LOG_2PI + 2.0 * float(np.log(np.diagonal(L)).sum()) + float(alpha @ alpha))
    lapack.solve_lower(L, alpha, transpose=True)
    moved = np.empty((size, m))
    for k, M in enumerate(form.stack):  # the lower triangle is the upper in Fortran order
        moved[k] = scipy.linalg.blas.dsymv(1.0, M[:m, :m].T, alpha, lower=0)
    if form.identity:
        moved[-1] = alpha
    half = moved.copy()
    lapack.solve_lower(L, half)
    information = 0.5 * half @ half.T
    lapack.inverse(L)
    slope = np.zeros(size)
    half_scores(form.stack, L, alpha, slope)
    return value, slope, information
