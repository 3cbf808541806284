"""Heritability at the boundary: the exact restricted likelihood ratio test and the expected SE.

Both depend on the eigenvalues s of the kernel among the error contrasts; the test depends on the
contrasts e too. With d = h² s + 1 - h² the profile restricted log likelihood is::

    l(h²) = -½ [ m log Σ e_i²/d_i + Σ log d_i ]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import ahead, blas_threads, one_thread

WEAK = 0.15  # expected SE beyond which the prior matters
SPREAD = 1e-4  # variance of the eigenvalues below which h² is not identified
ZEROS = 1000  # eigenvalues zero from which on one χ² number stands for their contrasts


@dataclass(frozen=True, slots=True)
class RestrictedLRT:
    """Restricted likelihood ratio test of h² = 0.

    Parameters
    ----------
    statistic
        ``2 [max l(h²) - l(0)]`` over h² in [0, 1].
    p_value
        Probability of a statistic at least as large under h² = 0, for this sample size and
        spectrum. It is simulated; the asymptotic chi-square mixture is not used.
    standard_error
        Monte Carlo standard error of the p-value.
    simulations
        Number of simulated data sets.
    """

    statistic: float
    p_value: float
    standard_error: float
    simulations: int


def expected_se(eigenvalues: Floats, h2: float = 0.0) -> float:
    """Return the standard error of h² that a study with this spectrum can expect.

    It comes from the expected REML information, with t = (s - 1)/d::

        SE(h²) = √(2 / (m var(t)))

    Parameters
    ----------
    eigenvalues
        s (m,) of the scaled kernel among the error contrasts.
    h2
        True h²; default 0, where the result is ``√(2 / (m var(s)))``.

    Returns
    -------
    float
        Infinite if the kernel is proportional to the identity, because h² is not identified then.
    """
    slope = (eigenvalues - 1.0) / (h2 * eigenvalues + 1.0 - h2)
    information = 0.5 * slope.size * float(np.var(slope))
    return float(1.0 / np.sqrt(information)) if information > 0 else float("inf")


def spectrum_problem(eigenvalues: Floats, n: int) -> str | None:
    """Describe a problem with the eigenvalues s (m,) of a kernel of n individuals, or return None.

    Two problems are known. All eigenvalues are nearly equal, so the data cannot tell g from ε. Or
    some are zero, because there are fewer variants than individuals or duplicated individuals.
    """
    spread = float(np.var(eigenvalues))
    if spread < SPREAD:
        return (
            f"h² is not identified: the eigenvalues of the relationship matrix hardly differ "
            f"(variance {spread:.1e}), as for unrelated individuals; the posterior is the prior "
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


def restricted_lrt(
    eigenvalues: Floats, contrasts: Floats, *, simulations: int | None = None, seed: int = 1
) -> RestrictedLRT:
    """Test h² = 0 exactly, by simulation from the spectrum.

    The statistic depends only on the direction of e, whose density under h² is proportional to
    ``exp l(h²)``. Half of the data sets are drawn under h² = 0 and half under the estimate ĥ².
    With the weights ``2 / (1 + exp[l(ĥ²) - l(0)])`` p-values of any size have a small relative
    error.

    The contrasts of w eigenvalues zero enter by their sum of squares alone, which is χ² with w
    degrees of freedom under any h². Of a kernel of few variants it is drawn as one number.

    Where BLAS may use several threads, one draws the next data sets while another weighs these; the
    numbers are the same.

    Parameters
    ----------
    eigenvalues, contrasts
        s (m,) and e (m,).
    simulations
        Number of data sets, of m normal numbers each. Default: 10 000 to 50 000, fewer for large
        m.
    seed
        Seed of the simulation.

    References
    ----------
    Crainiceanu & Ruppert (2004) J R Stat Soc B 66:165 (the exact null distribution).
    """
    m = eigenvalues.size
    count = simulations or int(np.clip(4e7 // m, 10_000, 50_000))
    s, w, e2 = _merged(eigenvalues, contrasts)
    h = np.concatenate([[0.0], expit(np.linspace(-9.0, 9.0, 73))])
    d = h[:, None] * s + (1.0 - h)[:, None]
    weights, log_d = 1.0 / d, (w * np.log(d)).sum(axis=1)

    def gain(squares: Floats) -> Floats:
        """Return l(h²) - l(0) at every node (draws, nodes)."""
        likelihood = -0.5 * (m * np.log(squares @ weights.T) + log_d)
        return np.asarray(likelihood - likelihood[:, :1])

    found = gain(e2[None])[0]
    best, observed = int(np.argmax(found)), float(found.max())
    if observed <= 1e-9:
        return RestrictedLRT(0.0, 1.0, 0.0, 0)
    rng = np.random.default_rng(seed)
    block = max(2, int(4e6 // m))  # within one, every other data set is drawn under the estimate
    piece = max(2, 2 * int(1e5 // s.size))  # of a block: less memory, which is slow when it is new
    pieces = [
        min(piece, stop - start)
        for first in range(0, count, block)
        for stop in [min(first + block, count)]
        for start in range(first, stop, piece)
    ]

    def draw(size: int) -> Floats:
        """Return the squares of the next data sets (size, nodes), half under the estimate."""
        squares = rng.standard_normal((size, s.size))
        np.square(squares, out=squares)
        if w[0] > 1:
            squares[:, 0] = rng.chisquare(w[0], size)
        squares[::2] *= d[best]
        return squares

    total = squares = 0.0
    threads = blas_threads()
    with one_thread():
        for drawn in ahead(draw, pieces, threads=threads):
            gains = gain(drawn)
            extreme = gains.max(axis=1) >= observed - 1e-9
            counted = np.where(extreme, 2.0 * expit(-gains[:, best]), 0.0)
            total += float(counted.sum())
            squares += float((counted**2).sum())
    p = total / count
    error = float(np.sqrt(max(squares / count - p * p, 0.0) / count))
    return RestrictedLRT(2.0 * observed, min(p, 1.0), error, count)


def _merged(eigenvalues: Floats, contrasts: Floats) -> tuple[Floats, Floats, Floats]:
    """Return s, their numbers w and the sums of squares of e; many zeros become the first node."""
    zero, squares = eigenvalues == 0.0, contrasts**2
    count = np.count_nonzero(zero)
    if count < ZEROS:
        return eigenvalues, np.ones(eigenvalues.size), squares
    s = np.concatenate([[0.0], eigenvalues[~zero]])
    w = np.concatenate([[float(count)], np.ones(s.size - 1)])
    return s, w, np.concatenate([[squares[zero].sum()], squares[~zero]])
