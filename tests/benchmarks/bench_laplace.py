"""Speed of the Laplace engine, each figure a ratio to something measured in the same run.

    uv run python tests/benchmarks/bench_laplace.py [--n 1410] [--nuts-n 500] [--threads 1]

Two GRMs on unrelated sets of variants, half of the variance explained, two fixed effects, the
dense likelihood (model `partitioned`), nothing left to compile:

- 1 000 effective draws of the hyperparameters and β (mode, Hessian, rounds and all), over one bare
  LAPACK Cholesky factorisation of that size with as many threads (the goal is at most 3 000);
- effective draws per second over those of NUTS (nutpie) on the same PyMC model (the goal is at
  least 50). NUTS takes 20 draws in each of two chains after 20 of warm-up, the usual halves, and
  every one of them counts as effective: its rate is an upper bound.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd
from bench_engines import best
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.inference import nuts
from bayeslmm.inference.laplace import laplace
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.relationship.relationship import Relationship

EFFECTIVE = 1000


def two_grms(n: int, seed: int = 1) -> Any:
    """The model `partitioned` on families of five, with shares 0.35 and 0.15."""
    rng = np.random.default_rng(seed)
    ids = [f"i{i}" for i in range(n)]
    individuals = pd.MultiIndex.from_arrays([ids, ids], names=["FID", "IID"])
    x, kernels, y = rng.standard_normal(n), [], np.sqrt(0.5) * rng.standard_normal(n)
    for name, share in (("first", 0.35), ("second", 0.15)):
        parents = rng.standard_normal((n // 5 + 1, 2000))
        Z = np.sqrt(0.5) * (rng.standard_normal((n, 2000)) + parents[np.arange(n) // 5])
        Z -= Z.mean(axis=0)
        kernels.append(Relationship(Z @ Z.T / 2000, individuals, name=name))
        y += np.sqrt(share / 2000) * Z @ rng.standard_normal(2000)
    cohort = cohort_from_arrays(y + 0.3 * x, x, individuals=individuals, covariates=["x"])
    return models.partitioned(cohort, *kernels)


def laplace_seconds(model: Any, threads: int) -> tuple[float, laplace.Laplace]:
    """Seconds for `EFFECTIVE` effective draws of a compiled model, and the fit."""
    split = hyper(model)  # compiles
    target = laplace.target_of(split, split.effects_prior(*split.data))
    target.log_density(target.start)
    start = time.perf_counter()
    found = laplace.fit_one(model, EFFECTIVE, 4, np.random.default_rng(2), workers=threads)
    return time.perf_counter() - start, found


def describe(found: laplace.Laplace) -> str:
    weighted = found.weighted
    return (
        f"ESS {weighted.ess:.0f}, k̂ {weighted.pareto_k:.2f}, {weighted.evaluations} densities, "
        f"{weighted.gradients} gradients{', FELL BACK TO NUTS' * found.chains}"
    )


def cholesky_seconds(n: int, threads: int) -> float:
    """One bare dpotrf, of the triangle that is faster."""
    Z = np.random.default_rng(1).standard_normal((n, n))
    V = np.asfortranarray(Z @ Z.T / n + np.eye(n))
    with threadpool_limits(limits=threads):
        return min(
            best(lambda: lapack.dpotrf(V, lower=lower, clean=0, overwrite_a=0), 7)  # noqa: B023
            for lower in (0, 1)
        )


def bench_cholesky(n: int, threads: int) -> None:
    """1 000 effective draws in factorisations of the same size."""
    model = two_grms(n)
    # the machine is shared: the factorisation is timed before and after, and the fastest counts
    one = cholesky_seconds(n, threads)
    seconds, found = laplace_seconds(model, threads)
    one = min(one, cholesky_seconds(n, threads))
    title = f"two GRMs, n = {n}, {threads} threads"
    print(f"{title:<48}{'seconds':>10}{'ratio':>10}")
    print(f"{'  one Cholesky (dpotrf)':<48}{one:>10.4f}{1.0:>10.1f}")
    print(f"{f'  {EFFECTIVE} effective draws':<48}{seconds:>10.2f}{seconds / one:>10.0f}")
    print(f"  ({describe(found)})")


def bench_nuts(n: int, threads: int) -> None:
    """Effective draws per second against NUTS on the same dense model."""
    model = two_grms(n)
    seconds, found = laplace_seconds(model, threads)
    nuts.sample(model, 2, 1, 1, tune=2)
    start = time.perf_counter()
    with threadpool_limits(limits=1):
        variables, _ = nuts.sample(model, 20, 2, 2, tune=20, cores=threads)
    theirs = time.perf_counter() - start
    draws = variables["total_sd"][1].size
    rates = found.weighted.ess / seconds, draws / theirs
    title = f"two GRMs, n = {n}, {threads} threads"
    print(f"{title:<32}{'ESS':>12}{'seconds':>10}{'ESS/s':>10}{'ratio':>10}")
    print(f"{'  NUTS (at most)':<32}{draws:>12.0f}{theirs:>10.2f}{rates[1]:>10.2f}{1.0:>10.1f}")
    print(
        f"{'  laplace':<32}{found.weighted.ess:>12.0f}{seconds:>10.2f}{rates[0]:>10.2f}"
        f"{rates[0] / rates[1]:>10.1f}"
    )
    print(f"  ({describe(found)})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=1410, help="size against Cholesky")
    parser.add_argument("--nuts-n", type=int, default=500, help="size against NUTS")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    bench_cholesky(given.n, given.threads)
    bench_nuts(given.nuts_n, given.threads)
