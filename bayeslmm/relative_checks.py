"""Does a fitted model describe how alike relatives are? Checks on pairs, records and families.

All of them look at the residuals ``r = My`` after the fixed effects, M the projection off X, or at
the error contrasts behind them: ``r = Qe``, ``e ~ N(0, QᵀVQ)``, so that no prior of β matters.
With ``P = Q (QᵀVQ)⁻¹ Qᵀ``, what the rest of the data say of records F (one, or a family) is ::

    y_F | y_-F ~ N(y_F - P_FF⁻¹ (Py)_F,  P_FF⁻¹)

β and the random effects integrated out, the variances at their posterior mean.

References
----------
Haseman & Elston (1972) Behav Genet 2:3 (likeness of pairs by relationship); Gelman, Meng & Stern
(1996) Stat Sinica 6:733 (posterior predictive checks); Sundararajan & Keerthi (2001) Neural Comput
13:1103 (leave-one-out of a normal model).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, kurtosistest, norm

from bayeslmm.relationship import row_blocks
from bayeslmm.relative_pairs import Pairs, sum_by_relationship
from bayeslmm.residual_contrasts import Contrasts, Whitened, contrasts_of

if TYPE_CHECKING:
    import pandas as pd
    import pymc as pm
    import xarray as xr

    from bayeslmm.relationship import Relationship

type Floats = NDArray[np.float64]

REPLICATES = 400
REPLICATES_LARGE = 100  # beyond LARGE records
LARGE = 5000
COVARIANCES = 8  # factorisations, of several kernels
EXTREME = 0.001  # PIT below this or above one minus it
KIN = 0.177  # relationship that joins two into a family where there are no family IDs
LARGEST_FAMILY = 400
TINY = 1e-9  # of a predictive band, relative to the variance: a sum that is the same in all data


@dataclass(frozen=True, slots=True, eq=False)
class PairCheck:
    """Likeness of pairs, observed and replicated, by their relationship.

    Parameters
    ----------
    pairs
        The bins.
    observed
        Mean of ``r_i r_j`` over the pairs of each bin, over the variance of r (bins,).
    replicated
        The same of data drawn from the posterior predictive (replicates, bins).
    """

    pairs: Pairs
    observed: Floats
    replicated: Floats

    def band(self, prob: float = 0.95) -> Floats:
        """Lower end, middle and upper end of the predictive band of each bin (3, bins)."""
        tail = (1 - prob) / 2
        return np.asarray(np.quantile(self.replicated, [tail, 0.5, 1 - tail], axis=0))

    def z(self) -> Floats:
        """Distance of each bin from what the model expects (bins,): ±1 at the ends of the band."""
        return self._distance(self.observed)

    def _distance(self, values: Floats) -> Floats:
        low, middle, high = self.band()  # each side by itself: products are skewed
        width = np.where(values > middle, high - middle, middle - low)
        return np.asarray((values - middle) / np.maximum(width, TINY))

    def p_value(self) -> float:
        """Share of replicates whose most deviating bin deviates as much: of all bins together."""
        worst = np.abs(self._distance(self.replicated)).max(axis=1)
        found = np.count_nonzero(worst >= np.abs(self.z()).max())
        return float((1 + found) / (1 + len(worst)))


@dataclass(frozen=True, slots=True, eq=False)
class FamilyCheck:
    """The mean of each family against what everybody outside it says.

    Parameters
    ----------
    names, size
        (families,) families of two records or more, and their records.
    z
        (families,) mean residual of the family in leave-family-out predictive sds.
    basis
        What makes a family: "family IDs" or "relationship", or why there are none.
    """

    names: tuple[str, ...]
    size: NDArray[np.int64]
    z: Floats
    basis: str

    def outside(self, prob: float = 0.95) -> int:
        """Families outside the predictive interval."""
        return int(np.count_nonzero(np.abs(self.z) > norm.isf((1 - prob) / 2)))

    def usual(self, prob: float = 0.95) -> tuple[int, int]:
        """From how many to how many families a right model has inside, 95 % of the time."""
        low, high = binom.interval(0.95, len(self.z), prob)
        return int(low), int(high)

    def p_value(self, prob: float = 0.95) -> float:
        """Binomial p-value of the number outside; nan without families."""
        count = len(self.z)
        return float(binomtest(self.outside(prob), count, 1 - prob).pvalue) if count else np.nan

    def p_worst(self) -> float:
        """Probability that the most extreme of so many families is at least as extreme."""
        return extreme_p(self.z)

    def named(self, level: float = 0.05) -> list[int]:
        """Families beyond what `level` allows for the most extreme of all, the worst first."""
        return extreme_ones(self.z, level)


@dataclass(frozen=True, slots=True, eq=False)
class RecordCheck:
    """Every record against what all others say.

    Parameters
    ----------
    labels
        (n,) names of the records.
    z
        (n,) residuals in leave-one-out predictive sds; the LOO-PIT is Φ(z).
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


@dataclass(frozen=True, slots=True, eq=False)
class RelativeChecks:
    """The checks of one trait.

    Parameters
    ----------
    pairs
        None where no relationship is known.
    families, records
        Families and records.
    whitened
        (m,) error contrasts made independent and of variance one by the model.
    """

    pairs: PairCheck | None
    families: FamilyCheck
    records: RecordCheck
    whitened: Floats


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


def check_relatives(
    tree: xr.DataTree,
    relationship: Relationship | None = None,
    *,
    model: pm.Model | None = None,
    levels: NDArray[np.intp] | None = None,
    people: pd.MultiIndex | None = None,
    seed: int = 1,
) -> RelativeChecks:
    """Check a fit of one trait on its pairs of relatives, its families and its records.

    Parameters
    ----------
    tree
        What `bayeslmm.fit` returned.
    relationship
        The (genetic) relationship by which pairs are binned, of the individuals analysed, in
        their order (`Relationship.on`). None: no bins.
    model
        Where the tree does not know its model (`bayeslmm.fitted.model_of`).
    levels
        (n,) which individual of the relationship each record is of. Default: record i of
        individual i.
    people
        (q,) the individuals, for their family IDs; default the relationship's.
    seed
        Of the replicated data.

    Raises
    ------
    InputError
        If the model is not known, or has no marginal normal phenotype of one trait.
    """
    from bayeslmm.fitted import model_of

    contrasts = contrasts_of(model_of(tree, model))
    labels = [str(one) for one in tree["observed_data"]["individual"].to_numpy()]
    return check_contrasts(
        contrasts,
        contrasts.coefficients(tree),
        labels,
        relationship,
        levels=levels,
        people=people,
        seed=seed,
    )


def check_contrasts(
    contrasts: Contrasts,
    variance: Floats,
    labels: Sequence[str],
    relationship: Relationship | None = None,
    *,
    levels: NDArray[np.intp] | None = None,
    people: pd.MultiIndex | None = None,
    seed: int = 1,
) -> RelativeChecks:
    """The checks of `check_relatives` from contrasts and posterior draws alone.

    Parameters
    ----------
    contrasts
        Error contrasts of the n records.
    variance
        Draws (draws, K) of the coefficients of V.
    labels
        (n,) names of the records.
    relationship, levels, people, seed
        As for `check_relatives`.
    """
    centre = contrasts.at(variance.mean(axis=0))
    n = contrasts.n
    owner = np.arange(n, dtype=np.intp) if levels is None else np.asarray(levels, dtype=np.intp)
    individuals = relationship.individuals if relationship is not None else people
    if individuals is not None and (owner.size != n or owner.max() >= len(individuals)):
        raise ValueError(f"{owner.size} levels of {len(individuals)} individuals, {n} records")
    pairs = None
    if relationship is not None and n > 2:
        replicated = _replicates(contrasts, variance, np.random.default_rng(seed))
        pairs = check_pairs(relationship, owner, contrasts.residuals(), replicated)
    scores = centre.scores()
    groups, basis = families_of(individuals, relationship, owner)
    return RelativeChecks(
        pairs,
        _check_families(centre, scores, groups, basis),
        RecordCheck(tuple(labels), scores / np.sqrt(np.maximum(centre.diagonal(), 1e-300))),
        centre.white,
    )


def _replicates(contrasts: Contrasts, variance: Floats, rng: np.random.Generator) -> Floats:
    """Residuals (n, replicates) of data drawn from the posterior predictive."""
    count = REPLICATES if contrasts.n <= LARGE else REPLICATES_LARGE
    sets = count if contrasts.cheap else COVARIANCES
    picked = np.linspace(0, len(variance) - 1, sets).astype(int)
    drawn = [contrasts.at(variance[i]).draw(count // sets, rng) for i in picked]
    return contrasts.spread(np.hstack(drawn))


def check_pairs(
    relationship: Relationship,
    levels: NDArray[np.intp],
    residuals: Floats,
    replicated: Floats,
) -> PairCheck:
    """Bin the products of residuals (n,), and of replicated ones (n, r)."""
    values = np.column_stack([residuals, replicated])
    values -= values.mean(axis=0)
    values /= np.sqrt(np.mean(values**2, axis=0))
    unit = unit_of(relationship)
    pairs, sums = sum_by_relationship(relationship.matrix, levels, values, unit)
    mean = sums / np.maximum(pairs.count, 1)[:, None]
    return PairCheck(pairs, mean[:, 0], np.ascontiguousarray(mean[:, 1:].T))


def unit_of(relationship: Relationship) -> float:
    """What to multiply a matrix by so that full sibs have about 0.5: its factor, or 1.

    The scale before the matrix was scaled is taken if it has a diagonal near one there, as
    pedigrees and GCTA's matrices have; GEMMA's, for instance, has not.
    """
    mean = float(np.diagonal(relationship.matrix).mean())
    return relationship.factor if 0.7 < relationship.factor * mean < 2.2 else 1.0


def families_of(
    individuals: pd.MultiIndex | None,
    relationship: Relationship | None,
    levels: NDArray[np.intp],
) -> tuple[dict[str, NDArray[np.intp]], str]:
    """Records of every family of two records or more, and what makes a family.

    Family IDs, if there are several and not one for each individual; otherwise connected
    components of relationships above 0.177, unless most individuals hang together so.
    """
    if individuals is not None:
        fids = individuals.get_level_values("FID").to_numpy(dtype=str)
        if 1 < np.unique(fids).size < fids.size:
            return _groups(fids[levels], set("0")), "family IDs"
    if relationship is None:
        return {}, "no family IDs and no relationship"
    label = _components(relationship.matrix, KIN / unit_of(relationship))
    if np.bincount(label).max() > relationship.n / 3:
        return {}, "there are no family IDs, and by relationship most individuals hang together"
    iids = relationship.individuals.get_level_values("IID").to_numpy(dtype=str)
    first = iids[np.unique(label, return_index=True)[1]]
    return _groups(first[label][levels], set()), "relationship"


def _components(K: Floats, threshold: float) -> NDArray[np.intp]:
    """Connected components (q,) of the pairs with K above a threshold."""
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


def _check_families(
    centre: Whitened, scores: Floats, groups: dict[str, NDArray[np.intp]], basis: str
) -> FamilyCheck:
    """z of the mean of each family: ``1ᵀP_FF⁻¹(Py)_F / √(1ᵀP_FF⁻¹1)``."""
    names, sizes, z = [], [], []
    for name, records in groups.items():
        half = centre.half(records)
        P = half @ half.T
        ones = np.ones(records.size)
        try:
            weights = np.linalg.solve(P, ones)
        except np.linalg.LinAlgError:
            continue
        variance = float(ones @ weights)
        if np.linalg.cond(P) > 1e10 or variance <= 0.0:  # a covariate is only theirs
            continue
        names.append(name)
        sizes.append(records.size)
        z.append(float(weights @ scores[records]) / np.sqrt(variance))
    return FamilyCheck(tuple(names), np.array(sizes, dtype=np.int64), np.array(z), basis)
