"""Posterior predictive check of the likeness of relatives, by their relationship.

References
----------
Haseman & Elston (1972) Behav Genet 2:3 (likeness of pairs by relationship); Gelman, Meng & Stern
(1996) Stat Sinica 6:733 (posterior predictive checks).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslmm.checks.pairs import Pairs, sum_by_relationship
from bayeslmm.numerics.arrays import Floats

if TYPE_CHECKING:
    from bayeslmm.relationship.relationship import Relationship


TINY = 1e-9  # smallest width of a predictive band, in variances: some sums are constant


@dataclass(frozen=True, slots=True, eq=False)
class PairCheck:
    """Likeness of pairs, observed and replicated, by their relationship.

    Parameters
    ----------
    pairs
        The bins.
    observed
        (bins,) mean of ``r_i r_j`` over the pairs of each bin, divided by the variance of r.
    replicated
        (replicates, bins) the same for data drawn from the posterior predictive.
    """

    pairs: Pairs
    observed: Floats
    replicated: Floats

    def band(self, prob: float = 0.95) -> Floats:
        """Return lower end, median and upper end of the predictive band of each bin (3, bins)."""
        tail = (1 - prob) / 2
        return np.asarray(np.quantile(self.replicated, [tail, 0.5, 1 - tail], axis=0))

    def z(self) -> Floats:
        """Compute each bin's deviation from its prediction (bins,); ±1 at the ends of the band."""
        return self._distance(self.observed)

    def _distance(self, values: Floats) -> Floats:
        low, middle, high = self.band()  # one scale for each side: products are skewed
        width = np.where(values > middle, high - middle, middle - low)
        return np.asarray((values - middle) / np.maximum(width, TINY))

    def p_value(self) -> float:
        """Return the joint p-value of all bins: replicates with as large a maximal deviation."""
        worst = np.abs(self._distance(self.replicated)).max(axis=1)
        found = np.count_nonzero(worst >= np.abs(self.z()).max())
        return float((1 + found) / (1 + len(worst)))


def check_pairs(
    relationship: Relationship,
    levels: NDArray[np.intp],
    residuals: Floats,
    replicated: Floats,
) -> PairCheck:
    """Bin the products of pairs of residuals (n,) and of replicated residuals (n, r)."""
    values = np.column_stack([residuals, replicated])
    values -= values.mean(axis=0)
    values /= np.sqrt(np.mean(values**2, axis=0))
    unit = unit_of(relationship)
    pairs, sums = sum_by_relationship(relationship.matrix, levels, values, unit)
    mean = sums / np.maximum(pairs.count, 1)[:, None]
    return PairCheck(pairs, mean[:, 0], np.ascontiguousarray(mean[:, 1:].T))


def unit_of(relationship: Relationship) -> float:
    """Return the factor that gives full sibs a relationship of about 0.5: `factor`, or 1.

    The matrix before scaling is on that scale if its diagonal is near one. This holds for
    pedigrees and GCTA's matrices, and not for GEMMA's.
    """
    mean = float(np.diagonal(relationship.matrix).mean())
    return relationship.factor if 0.7 < relationship.factor * mean < 2.2 else 1.0
