"""NUTS on the target, preconditioned by the Hessian: the fallback if k̂ remains high.

u = mode + L x,   L Lᵀ = covariance at the mode;   chains over x from nutpie
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayeslmm.inference.laplace.mode import Mode, find_mode
from bayeslmm.inference.laplace.target import Target
from bayeslmm.numerics.arrays import Floats

STEP = 1e-3  # step of central differences, in standard deviations at the mode


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """Draws of NUTS.

    Parameters
    ----------
    points
        (chains, draws, d), in the target's coordinates.
    log_density
        log p(u, y) (chains, draws).
    diverging, energy, steps
        Divergence, energy and number of leapfrog steps of each draw (chains, draws).
    evaluations, gradients
        Density evaluations and gradient calls spent, warm-up included.
    """

    points: Floats
    log_density: Floats
    diverging: NDArray[np.bool_]
    energy: Floats
    steps: NDArray[np.int64]
    evaluations: int
    gradients: int


def sample(
    target: Target,
    *,
    draws: int = 1000,
    chains: int = 4,
    tune: int = 1000,
    seed: int = 0,
    workers: int = 1,
    target_accept: float = 0.9,
    mode: Mode | None = None,
) -> Chains:
    """Run NUTS in coordinates whitened by the Hessian, starting within one sd of the mode.

    Parameters
    ----------
    target
        The density; without gradient, central differences (2 d evaluations per step).
    draws, chains, tune, seed, target_accept
        As in `bayeslmm.inference.nuts`.
    workers
        Number of concurrent chains, with one BLAS thread each.
    mode
        Mode and Hessian, if already known.

    Returns
    -------
    Chains
        The caller has to check R-hat, ESS, divergences and energies.
    """
    import nutpie  # only when chains are run: it imports ArviZ with its plots
    from nutpie.compiled_pyfunc import from_pyfunc

    mode = find_mode(target, workers) if mode is None else mode
    d = mode.point.size
    root = np.linalg.cholesky(mode.covariance)
    counts = {"evaluations": 0, "gradients": 0}
    value_and_slope = _whitened(target, mode.point, root, counts)
    compiled = from_pyfunc(
        ndim=d,
        make_logp_fn=lambda: value_and_slope,
        make_expand_fn=lambda *_: lambda x: {"x": np.array(x, dtype=np.float64)},
        expanded_dtypes=[np.dtype("float64")],
        expanded_shapes=[(d,)],
        expanded_names=["x"],
        make_initial_point_fn=lambda stream: _start(target, mode.point, root, stream),
    )
    with threadpool_limits(limits=1):
        sampler = nutpie.sample(
            compiled,
            draws=draws,
            tune=tune,
            chains=chains,
            cores=workers,
            seed=seed,
            save_warmup=False,
            progress_bar=False,
            target_accept=target_accept,
            blocking=False,
        )
        try:
            trace = sampler.wait()
        except BaseException:  # after Ctrl-C nutpie's wait returns incomplete chains as complete
            sampler.cancel()
            raise
    stats = trace["sample_stats"]
    return Chains(
        points=mode.point + np.asarray(trace["posterior"]["x"].values) @ root.T,
        log_density=np.asarray(stats["logp"].values),
        diverging=np.asarray(stats["diverging"].values, dtype=bool),
        energy=np.asarray(stats["energy"].values),
        steps=np.asarray(stats["n_steps"].values, dtype=np.int64),
        evaluations=counts["evaluations"],
        gradients=counts["gradients"],
    )


def _start(target: Target, centre: Floats, root: Floats, stream: int) -> Floats:
    """Draw the start of a chain: x around 0, shrunk towards 0 until the density is positive."""
    rng = np.random.default_rng(stream)
    for size in 0.5 ** np.arange(10):
        x: Floats = size * rng.standard_normal(len(centre))
        if np.isfinite(target.log_density(centre + root @ x)):
            return x
    return np.zeros(len(centre))


def _whitened(
    target: Target, centre: Floats, root: Floats, counts: dict[str, int]
) -> Callable[[Floats], tuple[float, Floats]]:
    """Return value and gradient as a function of x; a zero density is a failed step."""
    lock = threading.Lock()

    def count(what: str, by: int) -> None:
        with lock:
            counts[what] += by

    def exact(x: Floats) -> tuple[float, Floats]:
        assert target.gradient is not None
        count("gradients", 1)
        value, slope = target.gradient(centre + root @ x)
        return float(value), np.ascontiguousarray(root.T @ slope, dtype=np.float64)

    def differences(x: Floats) -> tuple[float, Floats]:
        count("evaluations", 2 * x.size + 1)
        u = centre + root @ x
        points = np.concatenate([u[None], u + STEP * root.T, u - STEP * root.T])
        at = target.prepare(points) if target.prepare is not None else None
        values = [target.log_density(p) if at is None else at(i) for i, p in enumerate(points)]
        ahead, behind = np.split(np.array(values[1:], dtype=np.float64), 2)
        return float(values[0]), (ahead - behind) / (2 * STEP)

    inner = exact if target.gradient is not None else differences

    def value_and_slope(x: Floats) -> tuple[float, Floats]:
        with np.errstate(invalid="ignore"):
            value, slope = inner(np.asarray(x, dtype=np.float64))
        if not (np.isfinite(value) and np.all(np.isfinite(slope))):
            return -np.inf, np.zeros_like(slope)
        return value, slope

    return value_and_slope
