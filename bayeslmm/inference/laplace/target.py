"""A posterior density of few hyperparameters, and its evaluation at many points in parallel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayeslmm.errors import ModelError
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.executor import run


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An unnormalised posterior density p(u, y) over d unconstrained coordinates.

    Parameters
    ----------
    names
        Names of the unconstrained coordinates (d,): log-ratios of variance shares, log sd,
        logits, atanh of correlations; one unit is a relevant change.
    start
        A point of positive density (d,).
    log_density
        (d,) → log p(u, y), Jacobian included, β integrated out; -inf outside the support. It is
        thread-safe and releases the GIL in the Cholesky factorisation.
    gradient
        (d,) → (log p(u, y), gradient (d,)), or None.
    prepare
        Points (N, d) → a function of 0, ..., N - 1 that gives `log_density` at each; the priors
        are computed for all points at once. None: point by point.
    """

    names: tuple[str, ...]
    start: Floats
    log_density: Callable[[Floats], float]
    gradient: Callable[[Floats], tuple[float, Floats]] | None = None
    prepare: Callable[[Floats], Callable[[int], float]] | None = None


def evaluate(target: Target, points: Floats, workers: int = 1) -> Floats:
    """Evaluate log p(u, y) at every point, by `workers` threads with one BLAS thread each.

    Parameters
    ----------
    target
        The density.
    points
        (N, d).
    workers
        Number of threads.

    Returns
    -------
    ndarray
        log p (N,) in the order of the points, independent of the number of workers; NaN counts as
        -inf.

    Raises
    ------
    ModelError
        If a value is +inf.
    """
    one = target.prepare(points) if target.prepare is not None else None
    function = (lambda i: target.log_density(points[i])) if one is None else one
    values = np.array(run(function, range(len(points)), workers), dtype=np.float64)
    if np.any(np.isposinf(values)):
        where = points[int(np.argmax(values))]
        at = ", ".join(f"{n} = {v:.4g}" for n, v in zip(target.names, where, strict=True))
        raise ModelError(f"the log density is +inf at {at}: the model's posterior is improper")
    return np.where(np.isnan(values), -np.inf, values)
