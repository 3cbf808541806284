"""REML estimates of h² beside those of glimix-core (FaST-LMM's algorithm), on simulated data.

    uv run --with glimix-core python tests/benchmarks/peer_glimix.py

30 data sets: 10 of families, 10 of centred GRMs of fewer variants than individuals, 10 of GRMs of
more; two covariates. At most 1e-6 apart where glimix-core finds an estimate inside (0, 1). It
rotates by the eigenvectors of K and keeps X, which loses all accuracy as h² → 1 with a centred GRM;
where it fails, or ends at a lower likelihood than ours, the line says so.
"""

from __future__ import annotations

import numpy as np
from glimix_core.lmm import LMM
from numpy.typing import NDArray
from numpy_sugar.linalg import economic_qs

from bayeslmm.estimates.reml import reml_one_kernel
from bayeslmm.likelihood.decompose import decompose

type Floats = NDArray[np.float64]

N = 300


def kernel(kind: str, rng: np.random.Generator) -> Floats:
    """A kernel of 300 individuals with average semivariance one."""
    if kind == "families":
        K = np.kron(np.eye(N // 5), 0.5 + 0.5 * np.eye(5))
    else:
        Z = rng.standard_normal((N, 150 if kind == "fewer variants" else 900))
        Z -= Z.mean(axis=0)
        K = Z @ Z.T
    return np.asarray(K * (N - 1) / (np.trace(K) - K.sum() / N))


def restricted(h: float, s: Floats, e: Floats) -> float:
    """l(h²) = -½ [m log Σ e²/d + Σ log d]."""
    d = h * s + 1 - h
    return float(-0.5 * (s.size * np.log((e * e / d).sum()) + np.log(d).sum()))


def main() -> None:
    """Print the table."""
    print("kernel          h²     ours       glimix     difference   l(ours) - l(glimix)")
    largest, failed = 0.0, 0
    for i in range(30):
        rng = np.random.default_rng(100 + i)
        kind = ("families", "fewer variants", "more variants")[i % 3]
        h2 = float(rng.uniform(0.15, 0.85))
        K = kernel(kind, rng)
        X = np.column_stack([np.ones(N), rng.standard_normal((N, 2))])
        root = np.linalg.cholesky(h2 * K + (1 - h2) * np.eye(N))
        y = X @ [1.0, 0.5, -0.5] + root @ rng.standard_normal(N)
        spectrum = decompose(K, X)
        e = spectrum.rotate(y)[spectrum.p :]
        ours = reml_one_kernel(spectrum.eigenvalues, e).h2
        try:
            peer = LMM(y, X, economic_qs(K), restricted=True)
            peer.fit(verbose=False)
            theirs = float(peer.v0 / (peer.v0 + peer.v1))
        except ValueError as error:
            failed += 1
            print(f"{kind:15s} {h2:.3f}  {ours:.7f}  failed: {error}")
            continue
        gain = restricted(ours, spectrum.eigenvalues, e) - restricted(
            min(max(theirs, 1e-9), 1 - 1e-9), spectrum.eigenvalues, e
        )
        print(f"{kind:15s} {h2:.3f}  {ours:.7f}  {theirs:.7f}  {theirs - ours:+.1e}   {gain:+.1e}")
        largest = max(largest, abs(theirs - ours))
    print(f"largest difference {largest:.1e} (at most 1e-6); failed: {failed}")


if __name__ == "__main__":
    main()
