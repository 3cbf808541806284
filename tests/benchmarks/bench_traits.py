"""Speed of the likelihood of several traits, as a ratio to that of one trait in the same run.

    uv run python tests/benchmarks/bench_traits.py

Value and gradient at n = 1 410, p = 3, in the eigenbasis: microseconds a call and the ratio to
one trait; for T traits the arithmetic is T times that of one trait and the products of pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from bayeslmm.likelihood.decompose import decompose
from bayeslmm.likelihood.one_kernel import spectral_logp
from bayeslmm.likelihood.traits import multi_trait_logp, multi_trait_quadratic


def microseconds(run: Callable[[], Any], calls: int = 500, repeats: int = 7) -> float:
    """Shortest mean time of a call over several blocks of calls."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            run()
        times.append((time.perf_counter() - start) / calls)
    return 1e6 * min(times)


def main() -> None:
    """One, two, three and five traits."""
    n, p = 1410, 3
    rng = np.random.default_rng(1)
    Z = rng.standard_normal((n, 3000))
    K = Z @ Z.T / 3000
    X = np.column_stack([np.ones(n), rng.standard_normal((n, p - 1))])
    S = decompose(K, X)
    parts = S.arrays
    Y = S.rotate(rng.standard_normal((n, 5)))
    B = np.zeros((p, 5))
    y, beta, variance = np.ascontiguousarray(Y[:, 0]), B[:, 0].copy(), np.array([0.6, 0.4])
    one = microseconds(lambda: spectral_logp(y, beta, variance, *parts))
    print(f"{f'value and gradient, n = {n}, p = {p}':<48}{'µs':>10}{'ratio':>10}")
    print(f"{'  one trait':<48}{one:>10.1f}{1.0:>10.2f}")
    for T in (2, 3, 5):
        A = rng.standard_normal((2, T, T + 2)) / np.sqrt(T + 2)
        G, R = A @ A.transpose(0, 2, 1)
        Y_T, B_T = np.ascontiguousarray(Y[:, :T]), np.ascontiguousarray(B[:, :T])
        found = microseconds(lambda data=(Y_T, B_T, G, R): multi_trait_logp(*data, *parts))
        print(f"{f'  {T} traits':<48}{found:>10.1f}{found / one:>10.2f}")
        found = microseconds(lambda data=(Y_T, G, R): multi_trait_quadratic(*data, *parts))
        print(f"{f'  {T} traits, as a quadratic in β':<48}{found:>10.1f}{found / one:>10.2f}")


if __name__ == "__main__":
    main()
