"""Leave-one-out check: each record against its prediction from all others; outliers.

References
----------
Sundararajan & Keerthi (2001) Neural Comput 13:1103 (leave-one-out of a normal model).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, kurtosistest, norm

from bayeslmm.likelihood.contrasts import Whitened
from bayeslmm.numerics.arrays import Floats

EXTREME = 0.001  # an outlier has a PIT below this, or above one minus it
UNDETERMINED = 1e-10  # P_ii below this times its median is rounding error


@dataclass(frozen=True, slots=True, eq=False)
class RecordCheck:
    """Leave-one-out residuals of the records.

    Parameters
    ----------
    labels
        (k,) names of the records that the others predict (``P_ii > 0``).
    z
        (k,) residuals in leave-one-out predictive sds; the LOO-PIT is Φ(z).
    """

    labels: tuple[str, ...]
    z: Floats

    def outliers(self) -> list[int]:
        """Return the records with a PIT below 0.001 or above 0.999, most extreme first."""
        found = np.flatnonzero(np.abs(self.z) > norm.isf(EXTREME))
        return [int(i) for i in found[np.argsort(-np.abs(self.z[found]), kind="stable")]]

    @property
    def expected(self) -> float:
        """Expected number of outliers if the model is right."""
        return 2 * EXTREME * len(self.z)

    def p_outliers(self) -> float:
        """Return the binomial probability of at least as many outliers."""
        return float(binom.sf(len(self.outliers()) - 1, len(self.z), 2 * EXTREME))

    def p_worst(self) -> float:
        """Return the p-value of the largest |z| of all records."""
        return extreme_p(self.z)

    def kurtosis(self) -> float:
        """Compute the excess kurtosis of z, above 0 for heavy tails."""
        return float(np.mean(((self.z - self.z.mean()) / self.z.std()) ** 4) - 3.0)

    def p_kurtosis(self) -> float:
        """Return the two-sided p-value of the kurtosis (Anscombe & Glynn); nan below 20 records."""
        return float(kurtosistest(self.z).pvalue) if len(self.z) >= 20 else np.nan


def check_records(centre: Whitened, scores: Floats, labels: Sequence[str]) -> RecordCheck:
    """Compute z of each record: ``(Py)_i / √P_ii``.

    Records with ``P_ii = 0`` are excluded: a covariate fits them alone, and the other records do
    not predict them.

    Parameters
    ----------
    centre
        Contrasts whitened by the posterior mean of V.
    scores
        ``Py`` (n,).
    labels
        (n,) names of the records.
    """
    diagonal = centre.diagonal()
    kept = np.flatnonzero(diagonal > UNDETERMINED * np.median(diagonal))
    return RecordCheck(tuple(labels[int(i)] for i in kept), scores[kept] / np.sqrt(diagonal[kept]))


def extreme_p(z: Floats) -> float:
    """Return the p-value of the largest |z| of independent z; nan for none."""
    if not len(z):
        return float("nan")
    return float(-np.expm1(len(z) * np.log1p(-2 * norm.sf(np.abs(z).max()))))


def significant_z(z: Floats, level: float) -> list[int]:
    """Return the indices of |z| significant at `level` (Bonferroni), largest first."""
    if not len(z):
        return []
    found = np.flatnonzero(np.abs(z) > norm.isf(level / len(z) / 2))
    return [int(i) for i in found[np.argsort(-np.abs(z[found]), kind="stable")]]
