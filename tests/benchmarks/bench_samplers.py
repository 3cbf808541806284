"""NUTS on two parameterisations of one posterior, beside its exact value, at three heritabilities.

    uv run python tests/benchmarks/bench_samplers.py

Families, n = 500, p = 3, 4 chains of 1000 draws after 1000 of warm-up, once compiled: with g
integrated out (``models/additive.py``) and with g = Lz as parameters
(``models/additive_cholesky.py``). z is the error of the mean of h² in Monte Carlo standard errors,
against quadrature (`bayeslmm.inference.exact.exact`) of the same model. An R-hat above 1.01 or few
effective draws come without a single divergence: `bayeslmm.diagnose` asks for all three.
"""

from __future__ import annotations

import time

import arviz as az
import numpy as np
from bench_engines import simulated

from bayeslmm import fit, models

HERITABILITIES = (0.05, 0.3, 0.8)


def row(name: str, h2: float) -> str:
    """One fit, as a line of the table."""
    cohort, additive = simulated(500, 3, families=True, seed=5, h2=h2)
    exact = fit(models.additive(cohort, additive), draws=4000, seed=1)["posterior"]["h2"]
    model = getattr(models, name)(cohort, additive)
    fit(model, engine="nuts", draws=40, tune=10, seed=1, genetic_values=False)  # compiles
    start = time.perf_counter()
    tree = fit(model, engine="nuts", draws=4000, tune=1000, seed=2, genetic_values=False)
    seconds = time.perf_counter() - start
    draws = tree["posterior"]["h2"].transpose("chain", "draw").to_numpy()
    bulk, tail = float(az.ess(draws)), float(az.ess(draws, method="tail", prob=0.9))
    z = (draws.mean() - float(exact.mean())) / (draws.std() / np.sqrt(bulk))
    return (
        f"{name:<20}{h2:>6}{seconds:>10.1f}{bulk:>8.0f}{tail:>8.0f}{bulk / seconds:>9.0f}"
        f"{tail / seconds:>9.0f}{int(tree['sample_stats']['diverging'].sum()):>13}"
        f"{float(az.rhat(draws)):>8.3f}{z:>7.1f}"
    )


def main() -> None:
    """Print the table."""
    print(
        f"{'NUTS, n = 500, p = 3':<20}{'h²':>6}{'seconds':>10}{'bulk':>8}{'tail':>8}{'bulk/s':>9}"
        f"{'tail/s':>9}{'divergences':>13}{'R-hat':>8}{'z':>7}"
    )
    for name in ("additive", "additive_cholesky"):
        for h2 in HERITABILITIES:
            print(row(name, h2), flush=True)


if __name__ == "__main__":
    main()
