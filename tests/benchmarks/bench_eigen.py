"""Eigendecomposition, the same bits with any number of threads, against LAPACK's bare `dsyevd`.

uv run python tests/benchmarks/bench_eigen.py [--sizes 2000,5000] [--threads 1,2]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from bayeslmm.numerics.eigen import eigh


def seconds(A: np.ndarray, threads: int, repeats: int = 2) -> tuple[float, float]:
    """Ours and `dsyevd` in turns, the shortest of each."""
    ours, bare = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        eigh(A, threads)
        ours.append(time.perf_counter() - start)
        with threadpool_limits(threads):
            start = time.perf_counter()
            scipy.linalg.eigh(A, driver="evd")
            bare.append(time.perf_counter() - start)
    return min(ours), min(bare)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="2000,5000")
    parser.add_argument("--threads", default="1,2")
    options = parser.parse_args()
    print(f"{'eigendecomposition':<28}{'ours, s':>10}{'dsyevd, s':>12}{'ratio':>10}")
    for n in map(int, options.sizes.split(",")):
        Z = np.random.default_rng(1).standard_normal((n, n // 2))
        A = Z @ Z.T / n + 0.1 * np.eye(n)
        for threads in map(int, options.threads.split(",")):
            ours, bare = seconds(A, threads)
            label = f"  n = {n}, {threads} thread{'s' * (threads > 1)}"
            print(f"{label:<28}{ours:>10.2f}{bare:>12.2f}{ours / bare:>10.2f}")


if __name__ == "__main__":
    main()
