"""Simulation-based calibration of the models with more data sets than the tests have time for.

    uv run python tests/benchmarks/sbc.py [--simulations 1000] [--seed 2] [MODEL ...]

One line a model, as `tests/test_sbc_models.py` judges it: the smallest p-value of uniformity of
the ranks and whose it is; the largest mean error of a share, correlation or total sd, in standard
errors; the largest k̂; how many fits fell back to NUTS; density evaluations a fit; seconds a fit.
Last table: sbc.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sbc_models import served, study
from test_sbc_models import FAST, errors, ranks, uniformity

COLUMNS = (
    *("model", "engine", "data sets", "quantities", "smallest p", "largest mean error"),
    *("k̂ at most", "to NUTS", "densities a fit", "seconds a fit"),
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=[*FAST, "bivariate, some missing"])
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=2)
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{' --- |' * len(COLUMNS)}")
    for name in given.models:
        engine = served(name)
        start = time.perf_counter()
        found = study(name, given.simulations, seed=given.seed)
        seconds = (time.perf_counter() - start) / given.simulations
        p = {q: uniformity(r) for q, r in zip(found.names, ranks(found).T, strict=True)}
        z = {q: v for q, v in errors(found).items() if not q.startswith(("beta", "log_like"))}
        worst, off = min(p, key=lambda q: p[q]), max(z, key=lambda q: abs(z[q]))
        cells = [
            *(name, engine, given.simulations, len(p), f"{p[worst]:.3g} ({worst})"),
            *(f"{z[off]:+.2f} ({off})", f"{found.pareto_k.max():.2f}", found.fallen_back.sum()),
            *(f"{found.evaluations.mean():.0f}", f"{seconds:.2f}"),
        ]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
