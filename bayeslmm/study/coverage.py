"""Coverage of the intervals of h² for a given kernel: posterior intervals, and REML ± 1.96 SE.

For a Gaussian phenotype everything about h² depends on the eigenvalues s of the kernel among the
error contrasts. The covariates' effects, the scale of y and the eigenvectors do not matter. So a
simulated data set is m normal numbers with variances ``d = h² s + 1 - h²``.

References
----------
Schweiger et al. (2016) Am J Hum Genet 98:1181 (coverage of heritability intervals).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from bayeslmm.errors import InputError, warn_user
from bayeslmm.numerics.arrays import Floats
from bayeslmm.numerics.threads import sharing
from bayeslmm.priors.prior import Prior
from bayeslmm.system.memory import available_cores

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.study.fits import ShareFits, ShareModel


H2 = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
METHODS = ("hdi", "eti", "reml_wald")
COLUMNS = ("h2", "method", "coverage", "width", "bias", "n_reps")
BLOCK = 1_000_000  # numbers that a thread draws at once
MOST = 400  # data sets in a block, at most


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Simulated data sets of one kernel: the true h² and the fits.

    Parameters
    ----------
    truth
        True h² (r,).
    fits
        Posterior and REML estimate of each data set.
    prob
        Probability of the intervals.
    """

    truth: Floats
    fits: ShareFits
    prob: float

    def interval(self, method: str) -> Floats:
        """Return the intervals (r, 2) by "hdi", "eti" or "reml_wald"; the last is cut to [0, 1]."""
        if method == "reml_wald":
            half = float(ndtri(0.5 + 0.5 * self.prob)) * self.fits.se
            return np.clip(self.fits.reml[:, None] + half[:, None] * [-1.0, 1.0], 0.0, 1.0)
        return self.fits.hdi if method == "hdi" else self.fits.eti

    def row(self, h2: float | str, method: str) -> dict[str, Any]:
        """Return a row of the table: coverage, mean width and bias."""
        lower, upper = self.interval(method).T
        estimate = self.fits.reml if method == "reml_wald" else self.fits.mean
        covered = (lower <= self.truth) & (self.truth <= upper)
        values = (covered.mean(), (upper - lower).mean(), (estimate - self.truth).mean())
        return dict(zip(COLUMNS, (h2, method, *map(float, values), self.truth.size), strict=True))


def estimate_coverage(
    eigenvalues: Floats,
    h2: Iterable[float] = H2,
    *,
    reps: int = 2000,
    prior_reps: int | None = None,
    prob: float = 0.95,
    priors: Mapping[str, str | Prior] | None = None,
    seed: int = 1,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Estimate coverage, width and bias of intervals of h², by simulation from the spectrum.

    Parameters
    ----------
    eigenvalues
        s (m,) of the scaled kernel among the error contrasts (`Spectrum.eigenvalues`).
    h2
        True values of h², 0 to 1. Default: `H2`.
    reps
        Data sets for each h². With 2000 a coverage of 0.95 has a Monte Carlo error of 0.005.
    prior_reps
        Data sets with h² drawn from its prior; 0 for none. Default: `reps`.
    prob
        Probability of the intervals.
    priors
        Priors of ``h2`` and ``total_sd`` (in units of sd(y | X)). Default: as in the model
        ``additive``.
    seed
        Seed. A row depends on the seed, h² and `reps`, not on the other rows or on `threads`.
    threads
        Largest number of threads. Default: the processor's cores.
    progress
        Called as ``progress(done, total)`` after each value of h².

    Returns
    -------
    pandas.DataFrame
        ``h2 method coverage width bias n_reps``. Methods: ``hdi`` and ``eti`` are the highest
        density and the equal-tailed interval of the exact posterior; ``reml_wald`` is the REML
        estimate on [0, 1] ± z SE (average information), cut to [0, 1]. `width` is the mean
        width. `bias` is the mean of the posterior mean, or of the REML estimate, minus h². Rows
        with h2 = "prior" average over h² drawn from its prior.

    Raises
    ------
    InputError
        If eigenvalues, h², counts or priors are out of range.
    """
    import pandas as pd

    values = [check_share(value) for value in h2]
    simulate = simulator(eigenvalues, prob=prob, priors=priors, seed=seed, threads=threads)
    if simulate.model.grid.singular and 1.0 in values:
        warn_user(
            "h² = 1 is left out: the kernel is singular (fewer independent variants than "
            "individuals, or duplicates); a phenotype without residual then shows h² = 1 with "
            "certainty, and its posterior is improper"
        )
        values.remove(1.0)
    count = reps if prior_reps is None else prior_reps
    work: list[float | str] = [*values, *(["prior"] if count else [])]
    rows = []
    for done, value in enumerate(work, 1):
        study = simulate.at(value, count if value == "prior" else reps)
        rows += [study.row(value, method) for method in METHODS]
        if progress is not None:
            progress(done, len(work))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"h2": object, "n_reps": int})


def check_share(value: float) -> float:
    """Return a true h²; raise `InputError` unless it is between 0 and 1."""
    if not 0.0 <= value <= 1.0:
        raise InputError(f"a true h² of {value:g}", "a number from 0 to 1", "change it")
    return float(value)


@dataclass(frozen=True, slots=True, eq=False)
class Simulator:
    """Simulate data sets of one kernel and fit them; made by `simulator`.

    Parameters
    ----------
    model
        Kernel, priors, probability of the intervals.
    seed, threads
        As for `estimate_coverage`.
    """

    model: ShareModel
    seed: int
    threads: int

    def at(self, h2: float | str, reps: int) -> Study:
        """Simulate and fit `reps` data sets at one h², or with h² drawn from its "prior"."""
        from bayeslmm.study.fits import join

        if reps < 1:
            raise InputError(f"{reps} data sets", "1 or more", "give more --reps")
        # h² is part of the seed, so each row has its own stream
        key = (
            [2, 0] if h2 == "prior" else [1, *np.float64(h2).view(np.uint64).reshape(1).view("u4")]
        )
        stream = np.random.SeedSequence([self.seed, *(int(word) for word in key)])
        first = np.random.default_rng(stream.spawn(1)[0])
        if h2 == "prior":
            # sorted, because the data sets of a block then need the same few nodes
            truth = np.sort(self.model.prior.rvs(size=reps, random_state=first))
        else:
            truth = np.full(reps, float(h2))
        size = int(np.clip(BLOCK // self.model.grid.eigenvalues.size, 1, MOST))
        blocks = [slice(i, min(i + size, reps)) for i in range(0, reps, size)]
        truths = [truth[block] for block in blocks]
        with sharing(self.threads) as share:
            parts = list(share(self._block, truths, stream.spawn(len(blocks))))
        return Study(truth, join(parts), self.model.prob)

    def _block(self, truth: Floats, seed: np.random.SeedSequence) -> ShareFits:
        from bayeslmm.study.fits import fit_contrasts

        s = self.model.grid.eigenvalues
        squares = chi_squares(self.model.grid.count, truth.size, np.random.default_rng(seed))
        squares *= truth[:, None] * s + (1.0 - truth)[:, None]
        window = self.model.grid.window(float(truth.min()), float(truth.max()))
        return fit_contrasts(self.model, squares, window)


def chi_squares(count: Floats, rows: int, rng: np.random.Generator) -> Floats:
    """Draw χ² numbers (rows, k) with `count` (k,) degrees of freedom."""
    out = np.empty((rows, count.size))
    single = count == 1
    out[:, single] = rng.standard_normal((rows, int(single.sum()))) ** 2
    out[:, ~single] = 2.0 * rng.standard_gamma(0.5 * count[~single], (rows, int((~single).sum())))
    return out


def simulator(
    eigenvalues: Floats,
    *,
    prob: float = 0.95,
    priors: Mapping[str, str | Prior] | None = None,
    seed: int = 1,
    threads: int | None = None,
) -> Simulator:
    """Prepare a `Simulator` for a kernel; parameters as for `estimate_coverage`."""
    from bayeslmm.study.fits import share_model
    from bayeslmm.study.grid import check_eigenvalues, merge_eigenvalues, share_grid

    if not 0.0 < prob < 1.0:
        raise InputError(f"a probability of {prob:g}", "between 0 and 1", "for instance 0.95")
    grid = share_grid(*merge_eigenvalues(check_eigenvalues(eigenvalues)))
    return Simulator(share_model(grid, priors, prob), seed, threads or available_cores())
