"""Leave-family-out check: the mean of each family against its prediction from all others.

With ``P = Q (QᵀVQ)⁻¹ Qᵀ`` of `bayeslmm.likelihood.contrasts` the records F of a family have the
predictive distribution ``y_F | y_-F ~ N(y_F - P_FF⁻¹ (Py)_F, P_FF⁻¹)``. The mean of the family
deviates from it by ``z = 1ᵀP_FF⁻¹(Py)_F / √(1ᵀP_FF⁻¹1)`` standard deviations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm

from bayeslmm.checks.pair_likeness import unit_of
from bayeslmm.checks.records import extreme_p, significant_z
from bayeslmm.likelihood.contrasts import Whitened
from bayeslmm.numerics.arrays import Floats
from bayeslmm.relationship.relationship import row_blocks

if TYPE_CHECKING:
    import pandas as pd

    from bayeslmm.relationship.relationship import Relationship


RELATED = 0.177  # relationship above which two are of one family, without family IDs
LARGEST_FAMILY = 400


@dataclass(frozen=True, slots=True, eq=False)
class FamilyCheck:
    """The mean of each family against its prediction from all other families.

    Parameters
    ----------
    names, size
        (families,) names and numbers of records, at least two each.
    z
        (families,) mean residual of the family in leave-family-out predictive sds.
    basis
        What defines a family: "family IDs" or "relationship"; or why there are none.
    """

    names: tuple[str, ...]
    size: NDArray[np.int64]
    z: Floats
    basis: str

    def outside(self, prob: float = 0.95) -> int:
        """Count the families outside their predictive interval."""
        return int(np.count_nonzero(np.abs(self.z) > norm.isf((1 - prob) / 2)))

    def expected_inside(self, prob: float = 0.95) -> tuple[int, int]:
        """Return the central 95 % interval of the number inside, if the model is right."""
        low, high = binom.interval(0.95, len(self.z), prob)
        return int(low), int(high)

    def p_value(self, prob: float = 0.95) -> float:
        """Return the binomial p-value of the number outside; nan without families."""
        count = len(self.z)
        return float(binomtest(self.outside(prob), count, 1 - prob).pvalue) if count else np.nan

    def p_worst(self) -> float:
        """Return the p-value of the largest |z| of all families."""
        return extreme_p(self.z)

    def outliers(self, level: float = 0.05) -> list[int]:
        """Return the families with |z| significant at `level` (Bonferroni), largest first."""
        return significant_z(self.z, level)


def families_of(
    individuals: pd.MultiIndex | None,
    relationship: Relationship | None,
    levels: NDArray[np.intp],
) -> tuple[dict[str, NDArray[np.intp]], str]:
    """Return the records of each family of at least two records, and what defines a family.

    Families come from the family IDs, if there are several and not one for each individual.
    Otherwise they are connected components of relationships above 0.177; none are returned if one
    component holds more than a third of the individuals.
    """
    if individuals is not None:
        fids = individuals.get_level_values("FID").to_numpy(dtype=str)
        if 1 < np.unique(fids).size < fids.size:
            return _groups(fids[levels], set("0")), "family IDs"
    if relationship is None:
        return {}, "no family IDs and no relationship"
    label = _components(relationship.matrix, RELATED / unit_of(relationship))
    if np.bincount(label).max() > relationship.n / 3:
        return {}, "no family IDs, and relationships connect more than a third of the individuals"
    iids = relationship.individuals.get_level_values("IID").to_numpy(dtype=str)
    first = iids[np.unique(label, return_index=True)[1]]
    return _groups(first[label][levels], set()), "relationship"


def _components(K: Floats, threshold: float) -> NDArray[np.intp]:
    """Label (q,) the connected components of the pairs with K above a threshold."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    found = [np.argwhere(K[r] > threshold) + np.array([r.start, 0]) for r in row_blocks(len(K))]
    i, j = np.concatenate(found).T
    related: Any = coo_array((np.ones(i.size, dtype=bool), (i, j)), shape=K.shape)
    return np.asarray(connected_components(related, directed=False)[1], dtype=np.intp)


def _groups(names: NDArray[Any], none: set[str]) -> dict[str, NDArray[np.intp]]:
    found, code = np.unique(names, return_inverse=True)
    order = np.argsort(code, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(code))[:-1])
    return {
        str(name): part for name, part in zip(found, parts, strict=True)
        if 2 <= part.size <= LARGEST_FAMILY and str(name) not in none
    }  # fmt: skip


def check_families(
    centre: Whitened, scores: Floats, groups: dict[str, NDArray[np.intp]], basis: str
) -> FamilyCheck:
    """Compute z of the mean of each family: ``1ᵀP_FF⁻¹(Py)_F / √(1ᵀP_FF⁻¹1)``."""
    names, sizes, z = [], [], []
    for name, records in groups.items():
        P = centre.block(records)
        ones = np.ones(records.size)
        try:
            weights = np.linalg.solve(P, ones)
        except np.linalg.LinAlgError:
            continue
        variance = float(ones @ weights)
        if np.linalg.cond(P) > 1e10 or variance <= 0.0:  # confounded with a covariate
            continue
        names.append(name)
        sizes.append(records.size)
        z.append(float(weights @ scores[records]) / np.sqrt(variance))
    return FamilyCheck(tuple(names), np.array(sizes, dtype=np.int64), np.array(z), basis)
