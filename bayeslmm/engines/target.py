"""A posterior density of few hyperparameters, and its evaluation at many points in parallel."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayeslmm.errors import ModelError

type Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """An unnormalised posterior density p(u, y) over d unconstrained coordinates.

    Parameters
    ----------
    names
        Names of the unconstrained coordinates (d,): log-ratios of variance shares, log sd,
        logits, atanh of correlations; one unit is a change that matters.
    start
        A point of positive density (d,).
    log_density
        (d,) → log p(u, y), Jacobian included, β integrated; -inf where impossible. Thread-safe,
        releases the GIL in its Cholesky.
    gradient
        (d,) → (log p(u, y), gradient (d,)), or None.
    """

    names: tuple[str, ...]
    start: Floats
    log_density: Callable[[Floats], float]
    gradient: Callable[[Floats], tuple[float, Floats]] | None = None


def evaluate(target: Target, points: Floats, workers: int = 1) -> Floats:
    """Evaluate log p(u, y) at every point, `workers` at a time with one BLAS thread each.

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
        (N,) in the order of the points, so independent of the number of workers; NaN counts as
        -inf.

    Raises
    ------
    ModelError
        If a value is +inf.
    """
    values = np.array(run(target.log_density, points, workers), dtype=np.float64)
    if np.any(np.isposinf(values)):
        where = points[int(np.argmax(values))]
        at = ", ".join(f"{n} = {v:.4g}" for n, v in zip(target.names, where, strict=True))
        raise ModelError(f"the log density is +inf at {at}: the model's posterior is improper")
    return np.where(np.isnan(values), -np.inf, values)


def run[T](function: Callable[[Floats], T], points: Floats, workers: int = 1) -> list[T]:
    """``[function(u) for u in points]`` by threads, each with one BLAS thread."""
    with threadpool_limits(limits=1):
        if workers <= 1 or len(points) < 2:
            return [function(point) for point in points]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(function, points))
