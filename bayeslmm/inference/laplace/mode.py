"""Posterior mode and the curvature there, by bounded quasi-Newton and finite differences.

Steps and curvature are measured at the scale of the posterior: along each coordinate the step is
the one that lowers log p by about 0.2, so a secant, which is robust where p is far from normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace.target import Target, evaluate
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run

FARTHEST = 20.0  # bound of the search from the start, in units of the coordinates
STEP = 1e-4  # of forward differences while searching
DROP = 0.2  # fall of log p that sets a step of the Hessian
FLOOR = 0.01  # smallest eigenvalue of the Hessian in steps where the diagonal is one
ENOUGH = 0.25  # expected gain of log p by another Newton step at which the search ends


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """The top of a density and the normal approximation there.

    Parameters
    ----------
    point
        Mode (d,).
    log_density
        log p there.
    covariance
        Inverse of minus the Hessian (d, d), positive definite by a floor on the eigenvalues.
    evaluations, gradients
        Numbers of density evaluations and of calls of the target's gradient.
    notes
        What was out of the ordinary, in words.
    """

    point: Floats
    log_density: float
    covariance: Floats
    evaluations: int
    gradients: int
    notes: tuple[str, ...]


class _Counted:
    """The target with counts; the one mutable thing of the search."""

    def __init__(self, target: Target, workers: int) -> None:
        self.target, self.workers = target, workers
        self.evaluations = self.gradients = 0

    def values(self, points: Floats) -> Floats:
        self.evaluations += len(points)
        return evaluate(self.target, points, self.workers)

    def value_and_gradient(self, points: Floats) -> list[tuple[float, Floats]]:
        """At each of the points (N, d); forward differences without the target's gradient."""
        gradient = self.target.gradient
        if gradient is not None:
            self.gradients += len(points)
            return run(gradient, list(points), self.workers)
        n, d = points.shape
        steps = np.concatenate([np.zeros((1, d)), STEP * np.eye(d)])
        values = self.values((points[:, None] + steps).reshape(-1, d)).reshape(n, d + 1)
        with np.errstate(invalid="ignore"):
            return [(float(v[0]), (v[1:] - v[0]) / STEP) for v in values]


def find_mode(target: Target, workers: int = 1, max_iterations: int = 100) -> Mode:
    """Find the mode from `target.start` and the curvature there.

    L-BFGS-B within ±20 of the start (a tail e^u has its mode through the Jacobian, possibly far),
    then restarts in the coordinates whitened by the Hessian until a Newton step would gain less
    than 0.25 in log p (half a standard deviation: the slices and rounds after it need no more).
    Without `target.gradient`, forward differences in parallel.

    Parameters
    ----------
    target
        The density.
    workers
        Evaluations at a time.
    max_iterations
        Of each L-BFGS-B run.

    Raises
    ------
    ModelError
        If the density is zero or not a number at the start.
    """
    counted = _Counted(target, workers)
    start = np.asarray(target.start, dtype=np.float64)
    d = start.size
    if not np.isfinite(counted.values(start[None])[0]):
        raise ModelError(
            f"the density is zero at the start {start.tolist()} of {', '.join(target.names)}: "
            "the priors exclude it or the data do; give `start` another value"
        )
    notes: list[str] = []
    value, point = _climb(counted, start, np.eye(d), start, max_iterations)
    for _ in range(3):
        value, slope, covariance, floored = _curvature(counted, point)
        gain = 0.5 * float(slope @ covariance @ slope)
        if gain < ENOUGH:
            break
        whitening = np.linalg.cholesky(covariance)
        higher, there = _climb(counted, point, whitening, start, max_iterations)
        if higher - value < ENOUGH:  # a skewed top, not a slope
            break
        point = there
    else:
        value, slope, covariance, floored = _curvature(counted, point)
        notes.append("the search for the mode stopped after three restarts")
    if floored:
        notes.append(
            f"{floored} of {d} eigenvalues of the Hessian below {FLOOR} of the axes' curvature: "
            "widths measured along the eigenvectors"
        )
    far = (np.abs(point - start) > 0.999 * FARTHEST).nonzero()[0]
    notes += [f"{target.names[i]}: no mode within {FARTHEST:g} of the start" for i in far]
    return Mode(point, value, covariance, counted.evaluations, counted.gradients, tuple(notes))


def _climb(
    counted: _Counted, point: Floats, whitening: Floats, start: Floats, iterations: int
) -> tuple[float, Floats]:
    """One L-BFGS-B run over x in u = point + whitening @ x: the best value and point seen."""
    best = (-np.inf, point)
    base = None
    identity = bool(np.all(whitening == np.eye(point.size)))

    def objective(x: Floats) -> tuple[float, Floats]:
        nonlocal best, base
        u = np.clip(point + whitening @ x, start - FARTHEST, start + FARTHEST)
        value, slope = counted.value_and_gradient(u[None])[0]
        base = value if base is None else base  # shifted, so that `ftol` is in units of log p
        if not (np.isfinite(value) and np.all(np.isfinite(slope))):
            return 1e4 * (1.0 + float(x @ x)), 2e4 * x  # a wall that points back
        if value > best[0]:
            best = (value, u)
        return base - value, -(whitening.T @ slope)

    bounds = [(-FARTHEST, FARTHEST) if identity else (-8.0, 8.0)] * point.size
    minimize(
        objective,
        np.zeros_like(point),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": iterations, "ftol": 1e-5, "gtol": 1e-3, "maxls": 30},
    )
    return best


def _steps(
    counted: _Counted, point: Floats, top: float, axes: Floats, steps: Floats
) -> tuple[Floats, Floats]:
    """Steps along the rows of `axes` that lower log p by about `DROP`, and log p at ± them (2, d).

    `steps` (d,) are first guesses; at most 12 tries, each for the axes still open only.
    """
    steps = steps.copy()
    longest = FARTHEST / np.linalg.norm(axes, axis=1)
    values = np.full((2, steps.size), -np.inf)
    short, long = np.zeros(steps.size), np.full(steps.size, np.inf)
    open_ = np.ones(steps.size, dtype=bool)
    for tries in range(12):
        moved = steps[open_, None] * axes[open_]
        tried = counted.values(np.concatenate([point + moved, point - moved]))
        values[:, open_] = tried.reshape(2, -1)
        drop = top - values.mean(axis=0)
        open_ &= ~((drop > DROP / 4) & (drop < 4 * DROP))
        short = np.where(open_ & (drop < DROP), np.maximum(short, steps), short)
        long = np.where(open_ & (drop > DROP), np.minimum(long, steps), long)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.sqrt(DROP / np.where(np.isfinite(drop), drop, 100 * DROP))
        wanted = steps * np.where(drop > 0, np.clip(factor, 0.05, 8.0), 4.0)
        between = (short > 0) & np.isfinite(long)
        wanted = np.where(between, np.sqrt(short * np.where(between, long, 1.0)), wanted)
        wanted = np.clip(wanted, 1e-9, longest)
        open_ &= wanted != steps
        if not open_.any() or tries == 11:
            break
        steps = np.where(open_, wanted, steps)
    return steps, values


def _curvature(counted: _Counted, point: Floats) -> tuple[float, Floats, Floats, int]:
    """Value, slope, inverse of minus the Hessian, and how many eigenvalues were lifted.

    With f± = log p(u ± h_i e_i ± h_j e_j):
    H_ij = (f₊₊ + f₋₋ - f₊₀ - f₋₀ - f₀₊ - f₀₋ + 2f) / (2 h_i h_j), or central differences of the
    target's gradient. In units of steps that make the diagonal one, eigenvalues below `FLOOR` are
    lifted to it; then each eigenvalue is measured again along its eigenvector, by the step that
    lowers log p by about `DROP`, so that a wide or indefinite direction gets its real width.
    """
    d = point.size
    top = float(counted.values(point[None])[0])
    h, axis = _steps(counted, point, top, np.eye(d), np.full(d, 0.1))
    usable = np.isfinite(axis).all(axis=0)
    axis = np.where(usable, axis, top - 0.5 * DROP)
    slope = (axis[0] - axis[1]) / (2 * h)
    hessian = np.diag((2 * top - axis.sum(axis=0)) / h**2)  # of -log p
    if counted.target.gradient is not None:
        at = counted.value_and_gradient(np.concatenate([point + np.diag(h), point - np.diag(h)]))
        slopes = np.array([g for _, g in at]).reshape(2, d, d)
        full = -(slopes[0] - slopes[1]) / (2 * h[:, None])
        hessian = np.where(np.isfinite(full + full.T), 0.5 * (full + full.T), hessian)
    elif d > 1:
        i, j = np.triu_indices(d, 1)
        moved = np.diag(h)[i] + np.diag(h)[j]
        both = counted.values(np.concatenate([point + moved, point - moved])).reshape(2, -1)
        cross = both.sum(axis=0) - axis[:, i].sum(axis=0) - axis[:, j].sum(axis=0) + 2 * top
        hessian[i, j] = np.where(np.isfinite(cross), -cross / (2 * h[i] * h[j]), 0.0)
        hessian[j, i] = hessian[i, j]
    unit = 1.0 / np.sqrt(np.maximum(np.diag(hessian), 0.25 * DROP / h**2))
    values, vectors = np.linalg.eigh(hessian * np.outer(unit, unit))
    lifted = np.maximum(values, FLOOR)
    if d > 1:
        guess = np.sqrt(2 * DROP / lifted)
        steps, sides = _steps(counted, point, top, vectors.T * unit, guess)
        drop = top - sides.mean(axis=0)
        known = np.isfinite(drop) & (drop > 0)
        measured = 2 * np.where(known, drop, DROP) / steps**2
        lifted = np.where(known, measured, lifted)
    covariance = (vectors / lifted) @ vectors.T * np.outer(unit, unit)
    return top, slope, covariance, int(np.sum(values < FLOOR))
