"""Posterior mode and curvature, by bounded quasi-Newton search and finite differences.

Finite differences have the scale of the posterior: the step along each coordinate lowers log p by
about 0.2. Such secants are robust if p is far from normal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace.target import Target, evaluate
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run

FARTHEST = 20.0  # largest distance of the search from the start, in units of the coordinates
STEP = 1e-4  # step of forward differences during the search
DROP = 0.2  # decrease of log p that defines a step of the Hessian
FLOOR = 0.01  # smallest eigenvalue of the Hessian scaled to unit diagonal
ENOUGH = 0.25  # expected gain of log p by a Newton step below which the search ends


@dataclass(frozen=True, slots=True, eq=False)
class Mode:
    """The mode of a density and the normal approximation at it.

    Parameters
    ----------
    point
        Mode (d,).
    log_density
        log p at the mode.
    covariance
        Inverse of minus the Hessian (d, d), positive definite by a floor on the eigenvalues.
    evaluations, gradients
        Numbers of density evaluations and of calls of the target's gradient.
    notes
        Remarks on irregularities of the search.
    """

    point: Floats
    log_density: float
    covariance: Floats
    evaluations: int
    gradients: int
    notes: tuple[str, ...]


class _CountingTarget:
    """The target with counts of evaluations; the only mutable state of the search."""

    def __init__(self, target: Target, workers: int) -> None:
        self.target, self.workers = target, workers
        self.evaluations = self.gradients = 0

    def values(self, points: Floats) -> Floats:
        self.evaluations += len(points)
        return evaluate(self.target, points, self.workers)

    def value_and_gradient(self, points: Floats) -> list[tuple[float, Floats]]:
        """Compute value and gradient at points (N, d); without gradient by forward differences."""
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
    """Find the mode from `target.start`, and the curvature at the mode.

    L-BFGS-B searches within ±20 of the start, because the Jacobian may shift the mode of a tail e^u
    far away. It restarts in coordinates whitened by the Hessian until a Newton step would gain less
    than 0.25 in log p, half a standard deviation, which is enough for the following slices and
    rounds. Without `target.gradient` forward differences are computed in parallel.

    Parameters
    ----------
    target
        The density.
    workers
        Number of concurrent evaluations.
    max_iterations
        Largest number of iterations of each L-BFGS-B run.

    Raises
    ------
    ModelError
        If the density is zero or not a number at the start.
    """
    counting = _CountingTarget(target, workers)
    start = np.asarray(target.start, dtype=np.float64)
    d = start.size
    if not np.isfinite(counting.values(start[None])[0]):
        raise ModelError(
            f"the density is zero at the start {start.tolist()} of {', '.join(target.names)}: "
            "the priors or the data exclude it; give `start` another value"
        )
    notes: list[str] = []
    value, point = _maximise(counting, start, np.eye(d), start, max_iterations)
    for _ in range(3):
        value, slope, covariance, floored = _curvature(counting, point)
        gain = 0.5 * float(slope @ covariance @ slope)
        if gain < ENOUGH:
            break
        whitening = np.linalg.cholesky(covariance)
        higher, there = _maximise(counting, point, whitening, start, max_iterations)
        if higher - value < ENOUGH:  # a skewed mode, not a slope
            break
        point = there
    else:
        value, slope, covariance, floored = _curvature(counting, point)
        notes.append("the search for the mode stopped after three restarts")
    if floored:
        notes.append(
            f"{floored} of {d} eigenvalues of the Hessian below {FLOOR} of the axes' curvature: "
            "widths measured along the eigenvectors"
        )
    far = (np.abs(point - start) > 0.999 * FARTHEST).nonzero()[0]
    notes += [f"{target.names[i]}: no mode within {FARTHEST:g} of the start" for i in far]
    return Mode(point, value, covariance, counting.evaluations, counting.gradients, tuple(notes))


def _maximise(
    counting: _CountingTarget, point: Floats, whitening: Floats, start: Floats, iterations: int
) -> tuple[float, Floats]:
    """Run L-BFGS-B over x, u = point + whitening @ x; return the best value and point."""
    best = (-np.inf, point)
    base = None
    identity = bool(np.all(whitening == np.eye(point.size)))

    def objective(x: Floats) -> tuple[float, Floats]:
        nonlocal best, base
        u = np.clip(point + whitening @ x, start - FARTHEST, start + FARTHEST)
        value, slope = counting.value_and_gradient(u[None])[0]
        base = value if base is None else base  # subtracted, so `ftol` is in units of log p
        if not (np.isfinite(value) and np.all(np.isfinite(slope))):
            return 1e4 * (1.0 + float(x @ x)), 2e4 * x  # a barrier with slope to the start
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
    counting: _CountingTarget, point: Floats, top: float, axes: Floats, steps: Floats
) -> tuple[Floats, Floats]:
    """Find steps along the rows of `axes` that lower log p by about `DROP`.

    Also return log p at plus and minus the steps (2, d). `steps` (d,) are initial values; at most
    12 iterations, each only for axes without a step yet.
    """
    steps = steps.copy()
    longest = FARTHEST / np.linalg.norm(axes, axis=1)
    values = np.full((2, steps.size), -np.inf)
    short, long = np.zeros(steps.size), np.full(steps.size, np.inf)
    open_ = np.ones(steps.size, dtype=bool)
    for tries in range(12):
        moved = steps[open_, None] * axes[open_]
        tried = counting.values(np.concatenate([point + moved, point - moved]))
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


def _curvature(counting: _CountingTarget, point: Floats) -> tuple[float, Floats, Floats, int]:
    """Compute value, slope, inverse of minus the Hessian, and the number of raised eigenvalues.

    With f± = log p(u ± h_i e_i ± h_j e_j):
    H_ij = (f₊₊ + f₋₋ - f₊₀ - f₋₀ - f₀₊ - f₀₋ + 2f) / (2 h_i h_j), or central differences of the
    target's gradient. In units of steps that make the diagonal one, eigenvalues below `FLOOR` are
    raised to it. Then each eigenvalue is measured again along its eigenvector, by the step that
    lowers log p by about `DROP`, so a wide or indefinite direction gets its actual width.
    """
    d = point.size
    top = float(counting.values(point[None])[0])
    h, axis = _steps(counting, point, top, np.eye(d), np.full(d, 0.1))
    usable = np.isfinite(axis).all(axis=0)
    axis = np.where(usable, axis, top - 0.5 * DROP)
    slope = (axis[0] - axis[1]) / (2 * h)
    hessian = np.diag((2 * top - axis.sum(axis=0)) / h**2)  # of -log p
    if counting.target.gradient is not None:
        at = counting.value_and_gradient(np.concatenate([point + np.diag(h), point - np.diag(h)]))
        slopes = np.array([g for _, g in at]).reshape(2, d, d)
        full = -(slopes[0] - slopes[1]) / (2 * h[:, None])
        hessian = np.where(np.isfinite(full + full.T), 0.5 * (full + full.T), hessian)
    elif d > 1:
        i, j = np.triu_indices(d, 1)
        moved = np.diag(h)[i] + np.diag(h)[j]
        both = counting.values(np.concatenate([point + moved, point - moved])).reshape(2, -1)
        cross = both.sum(axis=0) - axis[:, i].sum(axis=0) - axis[:, j].sum(axis=0) + 2 * top
        hessian[i, j] = np.where(np.isfinite(cross), -cross / (2 * h[i] * h[j]), 0.0)
        hessian[j, i] = hessian[i, j]
    unit = 1.0 / np.sqrt(np.maximum(np.diag(hessian), 0.25 * DROP / h**2))
    values, vectors = np.linalg.eigh(hessian * np.outer(unit, unit))
    lifted = np.maximum(values, FLOOR)
    if d > 1:
        guess = np.sqrt(2 * DROP / lifted)
        steps, sides = _steps(counting, point, top, vectors.T * unit, guess)
        drop = top - sides.mean(axis=0)
        known = np.isfinite(drop) & (drop > 0)
        measured = 2 * np.where(known, drop, DROP) / steps**2
        lifted = np.where(known, measured, lifted)
    covariance = (vectors / lifted) @ vectors.T * np.outer(unit, unit)
    return top, slope, covariance, int(np.sum(values < FLOOR))
