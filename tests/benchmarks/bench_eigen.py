"""Eigendecomposition against SciPy's `eigh(driver="evd")`: seconds, and memory beside A in n².

uv run python tests/benchmarks/bench_eigen.py [--sizes 2000,5000] [--threads 1,2] [--repeats 3]

On a quiet machine: threads of BLAS that wait for a core make it many times slower.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from bayeslmm.numerics.eigen import eigh


def ours(A: np.ndarray) -> object:
    return eigh(A)


def in_place(A: np.ndarray) -> object:
    return eigh(A, overwrite=True)


def bare(A: np.ndarray) -> object:
    return scipy.linalg.eigh(A, driver="evd", check_finite=False)


WAYS: dict[str, Callable[[np.ndarray], object]] = {"ours": ours, "in place": in_place, "bare": bare}


def measure(A: np.ndarray, repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of every way, in turns, the shortest of each; and the peak of memory beside A."""
    seconds = dict.fromkeys(WAYS, np.inf)
    peaks = dict.fromkeys(WAYS, np.inf)
    for _ in range(repeats):
        for name, way in WAYS.items():
            own = A.copy()
            start = time.perf_counter()
            way(own)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    for name, way in WAYS.items():
        own = A[:500, :500].copy()
        tracemalloc.start()
        way(own)
        peaks[name] = tracemalloc.get_traced_memory()[1] / own.nbytes
        tracemalloc.stop()
    return seconds, peaks


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="2000,5000")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{'eigendecomposition, s':<26}{'ours':>8}{'in place':>10}{'dsyevd':>8}{'ratio':>7}")
    for n in map(int, options.sizes.split(",")):
        Z = np.random.default_rng(1).standard_normal((n, n // 2))
        A = Z @ Z.T / n + 0.1 * np.eye(n)
        for threads in map(int, options.threads.split(",")):
            with threadpool_limits(threads):
                seconds, peaks = measure(A, options.repeats)
            label = f"  n = {n}, {threads} thread{'s' * (threads > 1)}"
            numbers = f"{seconds['ours']:>8.2f}{seconds['in place']:>10.2f}{seconds['bare']:>8.2f}"
            print(f"{label:<26}{numbers}{seconds['ours'] / seconds['bare']:>7.2f}", flush=True)
    print(f"{'memory beside A, n²':<26}" + "".join(f"{p:>9.2f}" for p in peaks.values()))


if __name__ == "__main__":
    main()
