"""Result of a calibration: ranks of every quantity, their table, a verdict.

Each quantity is tested with a simultaneous 95 % band of the empirical distribution of its ranks
(Säilynoja et al. 2022, Stat Comput 32:32), with Holm's correction over the quantities.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayeslmm.calibration.ecdf_band import proportions, simultaneous_band
from bayeslmm.numerics.arrays import Floats

LEVEL = 0.05  # of the verdict over all quantities
MOST_FAILED = 0.01  # largest share of failed fits of a calibrated model


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The result of a calibration of n simulations and q quantities.

    Parameters
    ----------
    model, words
        Name of the model, and a description of the data it was calibrated on.
    engine, engine_reason
        The engine and the reason for its choice.
    draws, seed
        Requested draws per simulation; seed.
    names
        (q,) quantities.
    u
        (n, q) normalised ranks in (0, 1) of the truths; NaN for a failed fit.
    z
        (n, q) (truth - posterior mean) / posterior sd.
    p
        (q,) p-values of uniformity (`bayeslmm.calibration.ecdf_band.p_value`); NaN without ranks.
    sizes
        (n,) number of near-independent draws among which the truths were ranked.
    pareto_k
        (n,) k̂ of the importance weights; 0 without weights.
    fell_back
        (n,) Did importance sampling fail, so that the draws come from NUTS?
    problems
        (n,) reason why a fit counts as failed; "" for the others.
    seconds
        (n,) wall time of each simulation.
    """

    model: str
    words: str
    engine: str
    engine_reason: str
    draws: int
    seed: int
    names: tuple[str, ...]
    u: Floats
    z: Floats
    p: Floats
    sizes: NDArray[np.int64]
    pareto_k: Floats
    fell_back: NDArray[np.bool_]
    problems: tuple[str, ...]
    seconds: Floats

    @property
    def n_sims(self) -> int:
        """Number of simulations."""
        return len(self.sizes)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Flags (n,) of the failed fits, which have no ranks."""
        return np.array([bool(text) for text in self.problems], dtype=np.bool_)

    def ranks(self, name: str) -> Floats:
        """Return the normalised ranks of a quantity over the successful fits."""
        values = self.u[:, self.names.index(name)]
        return np.asarray(values[np.isfinite(values)])

    def ecdf(self, name: str) -> pd.DataFrame:
        """Return the empirical distribution of a quantity's ranks, with its simultaneous band.

        Columns
        -------
        z
            Normalised rank, 0.01 to 0.99.
        proportion
            Proportion of ranks of at most z.
        lower, upper
            Limits of the simultaneous 95 % band of as many uniform ranks.
        """
        u = self.ranks(name)
        band = simultaneous_band(u.size)
        return pd.DataFrame(
            {"z": band.z, "proportion": proportions(u), "lower": band.lower, "upper": band.upper}
        )

    def table(self) -> pd.DataFrame:
        """Summarise the ranks, one row per quantity.

        Columns
        -------
        quantity, n_sims, n_ranked
            Simulations, and those whose fit did not fail.
        p, p_holm
            Exact p-value of uniform ranks; the same after Holm's correction.
        inside
            Is the curve within its simultaneous 95 % band?
        mean_z
            Mean of (truth - posterior mean)/posterior sd: 0 ± 1/√n if calibrated.
        coverage_50, coverage_95
            Coverage of the central 50 % and 95 % intervals.
        ok
            Is p_holm at least 0.05?
        n_fell_back, n_failed, pareto_k_max
            Over all fits, the same in every row.
        """
        rows = []
        for k, name in enumerate(self.names):
            u = self.ranks(name)
            z = self.z[:, k][np.isfinite(self.z[:, k]) & ~self.failed]
            rows.append(
                {
                    "quantity": name,
                    "n_sims": self.n_sims,
                    "n_ranked": u.size,
                    "p": self.p[k],
                    "inside": bool(u.size and inside(u)),
                    "mean_z": float(z.mean()) if z.size else np.nan,
                    "coverage_50": covered(u, 0.5),
                    "coverage_95": covered(u, 0.95),
                }
            )
        table = pd.DataFrame(rows)
        table.insert(4, "p_holm", holm(table["p"].to_numpy()))
        table["ok"] = table["p_holm"] >= LEVEL
        table["n_fell_back"] = int(self.fell_back.sum())
        table["n_failed"] = int(self.failed.sum())
        table["pareto_k_max"] = float(self.pareto_k[~self.fell_back].max(initial=0.0))
        return table

    @property
    def ok(self) -> bool:
        """Are all ranks uniform (Holm, 5 %), with at most one fit in a hundred failed?"""
        return bool(self.table()["ok"].all() and self.failed.mean() <= MOST_FAILED)

    def verdict(self) -> str:
        """Return the verdict as a sentence."""
        table = self.table()
        bad = table[~table["ok"]].sort_values("p")
        count = self.n_sims - int(self.failed.sum())
        problems = []
        if len(bad):
            ranks = [
                f"{q} (p = {p:.2g})" for q, p in zip(bad["quantity"], bad["p_holm"], strict=True)
            ]
            more = f" and {len(ranks) - 5} more" if len(ranks) > 5 else ""
            problems.append(f"the ranks of {', '.join(ranks[:5])}{more} are not uniform")
        if self.failed.mean() > MOST_FAILED:
            common, times = Counter(p for p in self.problems if p).most_common(1)[0]
            problems.append(
                f"{int(self.failed.sum())} of {self.n_sims} fits failed, more than 1 in 100 "
                f"(for instance, {times} times: {common})"
            )
        if problems:
            return f"NOT CALIBRATED: {'; '.join(problems)}"
        least = table.iloc[int(table["p_holm"].to_numpy().argmin())]
        return (
            f"calibrated: in {count} simulations the ranks of all {len(table)} quantities are "
            f"uniform as far as can be seen (smallest p after Holm's correction "
            f"{least['p_holm']:.2g}, {least['quantity']})"
        )


def inside(u: Floats, prob: float = 0.95) -> bool:
    """Is the empirical distribution of u within its simultaneous band?"""
    band = simultaneous_band(u.size, prob)
    curve = proportions(u)
    return bool(np.all((curve >= band.lower - 1e-12) & (curve <= band.upper + 1e-12)))


def covered(u: Floats, prob: float) -> float:
    """Return the coverage of the central interval of probability `prob`."""
    return float(np.mean(np.abs(u - 0.5) <= 0.5 * prob)) if u.size else np.nan


def holm(p: Floats) -> Floats:
    """Adjust p-values (m,) by Holm's method; NaN stays NaN.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.5]))
    array([0.03, 0.08, 0.5 ])
    """
    order = np.argsort(p)
    factors = np.arange(np.isfinite(p).sum(), 0, -1)
    adjusted = np.full(p.size, np.nan)
    known = order[: factors.size]
    adjusted[known] = np.minimum(1.0, np.maximum.accumulate(p[known] * factors))
    return adjusted
