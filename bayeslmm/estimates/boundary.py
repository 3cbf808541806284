"""Heritability at the boundary: the exact restricted likelihood ratio test and the expected SE.

Both depend on the spectrum alone (eigenvalues s of the kernel among the error contrasts) and, for
the test, on the contrasts e. With d = h² s + 1 - h² the profile restricted log likelihood is::

    l(h²) = -½ [ m log Σ e_i²/d_i + Σ log d_i ]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import one_thread

WEAK = 0.15  # expected SE beyond which the prior matters
SPREAD = 1e-4  # variance of the eigenvalues below which h² is not identified


@dataclass(frozen=True, slots=True)
class RestrictedLRT:
    """Restricted likelihood ratio test of h² = 0.

    Parameters
    ----------
    statistic
        ``2 [max l(h²) - l(0)]`` over h² in [0, 1].
    p_value
        Probability of at least this statistic under h² = 0, at this very sample size and
        spectrum, without the chi-square mixture.
    standard_error
        Monte Carlo standard error of the p-value.
    simulations
        How many data sets were drawn.
    """

    statistic: float
    p_value: float
    standard_error: float
    simulations: int


def expected_se(eigenvalues: Floats, h2: float = 0.0) -> float:
    """Standard error of h² that a study with this spectrum can expect (REML information).

    Parameters
    ----------
    eigenvalues
        s (m,), of the scaled kernel among the error contrasts.
    h2
        True h² at which it holds. At 0 it is ``√(2 / (m var(s)))``.

    Returns
    -------
    float
        Infinite if the kernel is proportional to the identity: h² is not identified.
    """
    slope = (eigenvalues - 1.0) / (h2 * eigenvalues + 1.0 - h2)
    information = 0.5 * slope.size * float(np.var(slope))
    return float(1.0 / np.sqrt(information)) if information > 0 else float("inf")


def spectrum_problem(eigenvalues: Floats, n: int) -> str | None:
    """What is wrong with the eigenvalues s (m,) of a kernel of n individuals; None if nothing.

    Either all are (nearly) the same, so that the data cannot tell g from ε; or some are zero: the
    kernel comes from fewer variants than individuals (or from duplicates).
    """
    spread = float(np.var(eigenvalues))
    if spread < SPREAD:
        return (
            f"h² is not identified: the eigenvalues of the relationship matrix hardly differ "
            f"(variance {spread:.1e}), as if nobody were related; the posterior is the prior "
            f"(expected standard error of h² {expected_se(eigenvalues):.3g})"
        )
    rank = int(np.count_nonzero(eigenvalues))
    if rank < eigenvalues.size:
        return (
            f"GRM rank {rank} of {eigenvalues.size} after the {n - eigenvalues.size} fixed effects "
            f"(n = {n}): fewer independent variants than individuals, or duplicates; a part of the "
            "phenotype that the variants cannot reach counts against h² near 1"
        )
    return None


@one_thread()
def restricted_lrt(
    eigenvalues: Floats, contrasts: Floats, *, simulations: int | None = None, seed: int = 1
) -> RestrictedLRT:
    """Exact test of h² = 0, by simulation from the spectrum.

    The statistic depends on the direction of e only, whose density under h² is proportional to
    ``exp l(h²)``. Half of the data sets are drawn under h² = 0, half under the estimate ĥ²;
    weighted by ``2 / (1 + exp[l(ĥ²) - l(0)])`` they give p-values of any size with a small
    relative error.

    Parameters
    ----------
    eigenvalues, contrasts
        s (m,) and e (m,).
    simulations
        Data sets drawn (only m normal numbers each). Default: 10 000 to 50 000, as m allows.
    seed
        Seed of the simulation.

    References
    ----------
    Crainiceanu & Ruppert (2004) J R Stat Soc B 66:165 (the exact null distribution).
    """
    m = eigenvalues.size
    count = simulations or int(np.clip(4e7 // m, 10_000, 50_000))
    h = np.concatenate([[0.0], expit(np.linspace(-9.0, 9.0, 73))])
    d = h[:, None] * eigenvalues + (1.0 - h)[:, None]
    weights, log_d = 1.0 / d, np.log(d).sum(axis=1)

    def gain(squares: Floats) -> Floats:
        """l(h²) - l(0) at every node (draws, nodes)."""
        likelihood = -0.5 * (m * np.log(squares @ weights.T) + log_d)
        return np.asarray(likelihood - likelihood[:, :1])

    found = gain(contrasts[None, :] ** 2)[0]
    best, observed = int(np.argmax(found)), float(found.max())
    if observed <= 1e-9:
        return RestrictedLRT(0.0, 1.0, 0.0, 0)
    rng = np.random.default_rng(seed)
    total = squares = 0.0
    block = max(2, int(4e6 // m))
    for start in range(0, count, block):
        size = min(block, count - start)
        e2 = rng.standard_normal((size, m)) ** 2
        e2[::2] *= d[best]  # every other data set under the estimate
        gains = gain(e2)
        counted = np.where(gains.max(axis=1) >= observed - 1e-9, 2.0 * expit(-gains[:, best]), 0.0)
        total += float(counted.sum())
        squares += float((counted**2).sum())
    p = total / count
    error = float(np.sqrt(max(squares / count - p * p, 0.0) / count))
    return RestrictedLRT(2.0 * observed, min(p, 1.0), error, count)
