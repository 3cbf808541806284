"""Speed of the engines, each figure a ratio to something measured in the same run.

    uv run python tests/benchmarks/bench_engines.py

- exact: n = 2 000, p = 10, 4 000 draws without g, after the eigendecomposition, against that
  eigendecomposition; and 1 000 traits in one call against 1 000 times one trait.
- NUTS on the marginal model (n = 1 410, p = 1): effective draws of h² per second once compiled,
  against `additive_cholesky` on the same data.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import arviz as az
import numpy as np
import pandas as pd

from bayeslmm import models
from bayeslmm.cohort.arrays import cohort_from_arrays
from bayeslmm.inference import nuts
from bayeslmm.inference.exact import exact
from bayeslmm.inference.traits import fit_traits
from bayeslmm.likelihood.decompose import decompose
from bayeslmm.relationship.relationship import Relationship


def simulated(
    n: int, p: int, families: bool, seed: int, h2: float = 0.5
) -> tuple[Any, Relationship]:
    """A cohort of one trait and a GRM of sibships of five, or of unrelated."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, 4000))
    if families:
        parents = rng.standard_normal((n // 5 + 1, 4000))
        Z = np.sqrt(0.5) * (Z + parents[np.arange(n) // 5])
    Z -= Z.mean(axis=0)
    K = Z @ Z.T / 4000
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    g = Z @ rng.standard_normal(4000) / np.sqrt(4000)
    y = X @ rng.standard_normal(p) + np.sqrt(h2) * g + np.sqrt(1 - h2) * rng.standard_normal(n)
    ids = [f"i{i}" for i in range(n)]
    individuals = pd.MultiIndex.from_arrays([ids, ids], names=["FID", "IID"])
    names = [f"x{j}" for j in range(1, p)]
    cohort = cohort_from_arrays(y, X[:, 1:], individuals=individuals, covariates=names)
    return cohort, Relationship(K, individuals)


def best(run: Callable[[], Any], repeats: int) -> float:
    """Shortest wall time of several runs, in seconds."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def bench_exact() -> None:
    """One trait and a thousand by quadrature."""
    cohort, additive = simulated(2000, 10, families=True, seed=1)
    K = additive.on(cohort.individuals).matrix
    eigen = best(lambda: decompose(K, cohort.X), 2)
    model = models.additive(cohort, additive)
    one = best(lambda: exact.fit_one(model, 4000, np.random.default_rng(1)), 7)
    rng = np.random.default_rng(2)
    traits = pd.DataFrame(cohort.y[:, None] + rng.standard_normal((2000, 1000)))
    start = time.perf_counter()
    fit_traits(model, traits)
    many = time.perf_counter() - start
    print(f"{'exact, n = 2000, p = 10, 4000 draws':<48}{'seconds':>10}{'ratio':>10}")
    print(f"{'  eigendecomposition':<48}{eigen:>10.3f}{1.0:>10.3f}")
    print(f"{'  one trait, once compiled':<48}{one:>10.3f}{one / eigen:>10.3f}")
    print(f"{'  1000 traits in one call':<48}{many:>10.3f}{many / eigen:>10.3f}")
    print(f"{'  1000 traits / (1000 x one trait)':<48}{'':>10}{many / (1000 * one):>10.3f}")


def effective_per_second(
    model: Any, draws: int, tune: int, *, generous: bool = False
) -> tuple[float, float, float]:
    """ESS (bulk) of h², seconds, and their ratio for a second run, nothing left to compile.

    `generous` takes every draw of h² for an independent one, where so few are drawn that their
    ESS cannot be estimated: the rate is then an upper bound.
    """
    nuts.sample(model, 2, 2, 1, tune=2)
    start = time.perf_counter()
    variables, _ = nuts.sample(model, draws, 4, 2, tune=tune)
    seconds = time.perf_counter() - start
    h2 = variables["h2"][1]
    ess = float(h2.size) if generous else float(az.ess(h2, method="bulk"))
    return ess, seconds, ess / seconds


def bench_nuts() -> None:
    """NUTS with g integrated out against NUTS with g as parameters."""
    cohort, additive = simulated(1410, 1, families=True, seed=3)
    print(f"{'NUTS, n = 1410':<32}{'ESS of h²':>12}{'seconds':>10}{'ESS/s':>10}{'ratio':>10}")
    marginal = effective_per_second(models.additive(cohort, additive), 1000, 1000)
    model = models.additive_cholesky(cohort, additive)
    latent = effective_per_second(model, 20, 40, generous=True)
    for name, (ess, seconds, rate) in {
        "  additive_cholesky (at most)": latent,
        "  additive": marginal,
    }.items():
        print(f"{name:<32}{ess:>12.0f}{seconds:>10.2f}{rate:>10.2f}{rate / latent[2]:>10.1f}")


if __name__ == "__main__":
    bench_exact()
    bench_nuts()
