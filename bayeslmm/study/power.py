"""Power of a study, before there are data: expected standard error, interval width, power.

As in `bayeslmm.study.coverage`, everything depends on the eigenvalues of the kernel among the error
contrasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from bayeslmm.estimates.boundary import expected_se
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import sharing
from bayeslmm.priors.prior import Prior
from bayeslmm.study.coverage import BLOCK, check_share, chi_squares, simulator
from bayeslmm.study.grid import merge_eigenvalues

if TYPE_CHECKING:
    import pandas as pd


H2 = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
COLUMNS = ("n", "h2", "se_expected", "width", "p_excludes_0", "p_rlrt", "n_reps")
LEVEL = 0.05  # size of the restricted likelihood ratio test
NULLS = 20_000  # data sets at h² = 0 that give its critical value
NODES = 73  # of h² > 0 in the maximum, as in `bayeslmm.estimates.boundary.restricted_lrt`


def expected_power(
    eigenvalues: Floats,
    h2: Iterable[float] = H2,
    *,
    n: int | None = None,
    reps: int = 1000,
    prob: float = 0.95,
    priors: Mapping[str, str | Prior] | None = None,
    seed: int = 1,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Compute expected standard error, interval width and power over a grid of h².

    Parameters
    ----------
    eigenvalues
        s (m,) of the scaled kernel among the error contrasts: `Spectrum.eigenvalues`, or
        from `bayeslmm.study.eigenvalues` for a planned study.
    h2
        True values of h², 0 to 1. Default: `H2`.
    n
        Number of individuals, for the table. Default: m + 1.
    reps
        Data sets for each h².
    prob
        Probability of the interval.
    priors, seed, threads, progress
        As for `bayeslmm.study.coverage.estimate_coverage`.

    Returns
    -------
    pandas.DataFrame
        ``n h2 se_expected width p_excludes_0 p_rlrt n_reps``: `se_expected` comes from the REML
        information (`bayeslmm.estimates.boundary.expected_se`); `width` is the mean width of the
        highest density interval; `p_excludes_0` is how often it begins above 0; `p_rlrt` is how
        often the exact restricted likelihood ratio test rejects h² = 0 at 5 %.

    Raises
    ------
    InputError
        If eigenvalues, h², counts or priors are out of range.
    """
    import pandas as pd

    values = [check_share(value) for value in h2]
    simulate = simulator(eigenvalues, prob=prob, priors=priors, seed=seed, threads=threads)
    s = np.sort(eigenvalues)
    critical = critical_value(s, seed=seed, threads=simulate.threads)
    rows = []
    for done, value in enumerate(values, 1):
        study = simulate.at(value, reps)
        lower, upper = study.fits.hdi.T
        rows.append(
            (
                s.size + 1 if n is None else n,
                value,
                expected_se(s, value) if value < 1 or s[0] > 0 else 0.0,
                float((upper - lower).mean()),
                float((lower > 0).mean()),
                float((study.fits.statistic > critical).mean()),
                reps,
            )
        )
        if progress is not None:
            progress(done, len(values))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def critical_value(
    eigenvalues: Floats, *, level: float = LEVEL, seed: int = 1, threads: int = 1
) -> float:
    """Simulate the critical value of the restricted likelihood ratio test of h² = 0.

    Parameters
    ----------
    eigenvalues
        s (m,) of the scaled kernel among the error contrasts.
    level
        Size of the test; default 0.05.
    seed
        Seed of the simulation.
    threads
        Number of threads; the value does not depend on it.

    Returns
    -------
    float
        The 1 - `level` quantile of ``2 [max l(h²) - l(0)]`` under h² = 0 for this spectrum
        (Crainiceanu & Ruppert 2004). The chi-square mixture would give 2.71 for any spectrum.
    """
    from scipy.special import expit

    s, counts = merge_eigenvalues(np.sort(eigenvalues))
    m = eigenvalues.size
    h = np.concatenate([[0.0], expit(np.linspace(-9.0, 9.0, NODES))])
    d = h[:, None] * s + (1.0 - h)[:, None]
    log_d, weights = np.log(d) @ counts, np.ascontiguousarray(np.reciprocal(d).T)
    size = int(np.clip(BLOCK // s.size, 1, 500))
    sizes = [min(size, NULLS - start) for start in range(0, NULLS, size)]
    streams = np.random.SeedSequence([seed, 3]).spawn(len(sizes))

    def statistics(rows: int, stream: np.random.SeedSequence) -> Floats:
        e2 = chi_squares(counts, rows, np.random.default_rng(stream))
        likelihood = -(m * np.log(e2 @ weights) + log_d)
        return np.asarray(likelihood.max(axis=1) - likelihood[:, 0])

    with sharing(threads) as share:
        found = list(share(statistics, sizes, streams))
    return float(np.quantile(np.concatenate(found), 1.0 - level))
