"""Every record against what all others say, and how extreme the most extreme is.

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

EXTREME = 0.001  # PIT below this or above one minus it
UNDETERMINED = 1e-10  # of P_ii, relative to that of the other records: rounding


@dataclass(frozen=True, slots=True, eq=False)
class RecordCheck:
    """Every record against what all others say.

    Parameters
    ----------
    labels
        (k,) names of the records of which the others say something.
    z
        (k,) residuals in leave-one-out predictive sds; the LOO-PIT is Φ(z).
    """

    labels: tuple[str, ...]
    z: Floats

    def outliers(self) -> list[int]:
        """Records with a PIT below 0.001 or above 0.999, the most extreme first."""
        found = np.flatnonzero(np.abs(self.z) > norm.isf(EXTREME))
        return [int(i) for i in found[np.argsort(-np.abs(self.z[found]), kind="stable")]]

    @property
    def expected(self) -> float:
        """How many such records a right model leads to expect."""
        return 2 * EXTREME * len(self.z)

    def p_outliers(self) -> float:
        """Probability of at least so many such records."""
        return float(binom.sf(len(self.outliers()) - 1, len(self.z), 2 * EXTREME))

    def p_worst(self) -> float:
        """Probability that the most extreme of so many records is at least as extreme."""
        return extreme_p(self.z)

    def kurtosis(self) -> float:
        """Kurtosis of z in excess of the normal's: above 0 with heavy tails."""
        return float(np.mean(((self.z - self.z.mean()) / self.z.std()) ** 4) - 3.0)

    def p_kurtosis(self) -> float:
        """Two-sided p-value of the kurtosis (Anscombe & Glynn); nan below 20 records."""
        return float(kurtosistest(self.z).pvalue) if len(self.z) >= 20 else np.nan


def check_records(centre: Whitened, scores: Floats, labels: Sequence[str]) -> RecordCheck:
    """z of each record: ``(Py)_i / √P_ii``.

    Where a covariate is a record's own, ``P_ii = 0``: the others say nothing of it, and it is left
    out.

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
    said = np.flatnonzero(diagonal > UNDETERMINED * np.median(diagonal))
    return RecordCheck(tuple(labels[int(i)] for i in said), scores[said] / np.sqrt(diagonal[said]))


def extreme_p(z: Floats) -> float:
    """Probability that the largest of so many |z| is at least as large; nan of none."""
    if not len(z):
        return float("nan")
    return float(-np.expm1(len(z) * np.log1p(-2 * norm.sf(np.abs(z).max()))))


def extreme_ones(z: Floats, level: float) -> list[int]:
    """Where |z| is beyond what `level` allows for the largest of all, the largest first."""
    if not len(z):
        return []
    found = np.flatnonzero(np.abs(z) > norm.isf(level / len(z) / 2))
    return [int(i) for i in found[np.argsort(-np.abs(z[found]), kind="stable")]]
