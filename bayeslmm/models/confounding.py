"""Covariates that are confounded with the trait or with relatedness.

A batch of cases only beside a batch of controls only determines the trait. A batch that holds whole
families or populations absorbs the variance between them. The fit gives numbers in either case, so
the checks here have to warn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bayeslmm.errors import InputError
from bayeslmm.numerics.arrays import Flags, Floats
from bayeslmm.relationship.relationship import Relationship

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort


DETERMINED = 1e-10  # 1 - R² below which a covariate determines the trait
NEARLY = 0.98  # R² above which a covariate nearly determines the trait
CHANCE = 1e-3  # p-value below which a level with one trait value only is not chance
DOMINATING = 0.05  # share of the relationship variance on one axis above which it may dominate:
AHEAD = 2.0  # it does if its eigenvalue is so many times the second,
LARGE = 0.10  # or if its share is above this
APART = 3.0  # and its eigenvalue is so many times the upper decile of the others
FEWEST = 100  # fewest error contrasts; with fewer an axis often holds 5 % by chance
ABSORBED = (
    0.10  # largest share of the kernel's variance, beyond chance, between a covariate's levels
)


def covariate_blocks(covariates: tuple[str, ...]) -> dict[str, list[int]]:
    """Group the columns of X by covariate: ``batch[2]`` and ``batch[3]`` belong to "batch".

    Each interaction of a formula is a covariate of its own; the intercept is excluded.
    """
    blocks: dict[str, list[int]] = {}
    for position, column in enumerate(covariates[1:], 1):
        name, bracket, _ = column.rpartition("[")
        whole = name if bracket and column.endswith("]") and ":" not in column else column
        blocks.setdefault(whole, []).append(position)
    return blocks


def check_confounded_trait(cohort: Cohort) -> list[str]:
    """Refuse a covariate that determines the trait; warn of one that nearly does.

    Parameters
    ----------
    cohort
        One trait; several traits are not checked.

    Returns
    -------
    warnings
        A sentence for every covariate with R² above 0.98. For a trait with two values also for
        every categorical covariate with levels that hold one value only and levels that hold the
        other only, each too large for chance (p < 0.001).

    Raises
    ------
    InputError
        If one covariate explains all of the variance of the trait; it names the covariate.
    """
    if cohort.trait_index is not None:
        return []
    y = cohort.y - cohort.y.mean()
    total = float(y @ y)
    found = []
    for name, columns in covariate_blocks(cohort.covariates).items():
        basis = centred_basis(cohort.X[:, columns])
        left = y - basis @ (basis.T @ y)
        unexplained = float(left @ left) / total if total > 0 else 1.0
        if unexplained < DETERMINED:
            levels = len(columns) + 1
            how = (
                f"all individuals in one of its {levels} levels have the same value"
                if len(columns) > 1 or is_dummy(cohort.X[:, columns[0]])
                else "one is a linear function of the other"
            )
            raise InputError(
                f"the covariate '{name}' determines the trait '{cohort.trait}': {how}",
                "a trait that varies among individuals with the same covariates",
                f"remove '{name}'; if it is a batch that holds all cases or all controls, trait "
                "and batch are confounded",
            )
        if unexplained < 1.0 - NEARLY:
            found.append(
                f"the covariate '{name}' explains {1 - unexplained:.1%} of the variance of the "
                f"trait '{cohort.trait}': is it the trait itself, or a part of it? h2 is the "
                "heritability of the residual trait"
            )
        elif len(np.unique(cohort.y)) == 2:
            found += _separated_levels(cohort, name, columns)
    return found


def _separated_levels(cohort: Cohort, name: str, columns: list[int]) -> list[str]:
    """Warn of levels of a categorical covariate in which a binary trait has one value only."""
    codes = level_codes(cohort.X[:, columns])
    if codes is None:
        return []
    high = cohort.y == cohort.y.max()
    counts, highs = np.bincount(codes), np.bincount(codes, weights=high)
    part = float(high.mean())
    log_chance = np.log(CHANCE / counts.size)
    only_high = (highs == counts) & (counts * np.log(part) < log_chance)
    only_low = (highs == 0) & (counts * np.log1p(-part) < log_chance)
    if not (only_high.any() and only_low.any()):
        return []
    names = level_names(cohort.covariates, columns)

    def shown(which: Flags) -> str:
        return ", ".join(f"{names[k]} (n = {counts[k]})" for k in np.flatnonzero(which)[:5])

    return [
        f"the covariate '{name}' is confounded with the trait '{cohort.trait}': all individuals of "
        f"{shown(only_high)} have {cohort.y.max():g}, all of {shown(only_low)} have "
        f"{cohort.y.min():g}; between these levels the data cannot separate the trait from '{name}'"
    ]


def confounded_kernel(cohort: Cohort, relationship: Relationship) -> list[str]:
    """Warn of categorical covariates whose levels are families or populations.

    The share of the kernel's variance between the levels is ``tr(QᵀKQ)/tr(PKP)``, with Q (n, k) an
    orthonormal basis of the centred dummies and ``P = I - 11ᵀ/n``. For a covariate independent of
    relatedness it is about k/(n-1).

    Parameters
    ----------
    cohort
        One trait; several traits are not checked.
    relationship
        Among the individuals of the cohort, in their order (``relationship.on(cohort.people)``).

    Returns
    -------
    warnings
        A sentence for every covariate whose share exceeds k/(n-1) by more than 0.10.
    """
    blocks = {
        name: columns
        for name, columns in covariate_blocks(cohort.covariates).items()
        if level_codes(cohort.X[:, columns]) is not None
    }
    if cohort.trait_index is not None or not blocks:
        return []
    n, K, levels = cohort.n, relationship.matrix, cohort.levels
    found = []
    counts = np.bincount(levels, minlength=len(K)).astype(np.float64)
    total = float(counts @ np.diagonal(K)) - float(counts @ (K @ counts)) / n
    for name, columns in blocks.items():
        Q = centred_basis(cohort.X[:, columns])
        by_person = np.zeros((len(K), Q.shape[1]))
        np.add.at(by_person, levels, Q)
        held = float(np.einsum("ij,ij->", by_person, K @ by_person)) / total
        chance = Q.shape[1] / (n - 1)
        if held - chance > ABSORBED:
            found.append(
                f"the covariate '{name}' goes with the {relationship.name} relationship: "
                f"{held:.0%} of its variance lies between the {len(columns) + 1} levels "
                f"({chance:.1%} if they were independent); differences between the levels count "
                f"as '{name}', not as heritability. Is it a family or a population?"
            )
    return found


def centred_basis(columns: Floats) -> Floats:
    """Return an orthonormal basis (n, k) of the centred columns."""
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    basis, triangle = np.linalg.qr(centred / np.where(length > 0, length, 1.0))
    return np.ascontiguousarray(basis[:, np.abs(np.diagonal(triangle)) > 1e-9])


def is_dummy(column: Floats) -> bool:
    """Return whether a column holds only 0 and 1."""
    return bool(((column == 0.0) | (column == 1.0)).all())


def level_codes(columns: Floats) -> NDArray[np.intp] | None:
    """Return each record's level (n,), 0 for the reference; None for a numeric column."""
    if not is_dummy(columns) or (columns.sum(axis=1) > 1).any():
        return None
    first = (columns.sum(axis=1) == 0)[:, None]
    return np.asarray(np.argmax(np.hstack([first, columns > 0]), axis=1))


def level_names(covariates: tuple[str, ...], columns: list[int]) -> list[str]:
    """Return the names of the levels, the reference first."""
    return ["the reference level", *(covariates[k] for k in columns)]


def dominating_axis(
    eigenvalues: Floats, axis: Floats | None = None, labels: Sequence[str] = ()
) -> str | None:
    """Return a warning if one axis of a kernel dominates its variance; None otherwise.

    An axis dominates if it holds more than 5 % of the variance and twice as much as the second, or
    more than 10 %. Its eigenvalue must also be three times the upper decile of the others, so that
    a kernel of few variants gives no warning. Nor do many large families of similar size.

    The eigenvalues are those among the error contrasts: covariates are projected out. With
    principal components among them the warning goes away.

    Parameters
    ----------
    eigenvalues
        s (m,) of the scaled kernel among the error contrasts.
    axis
        Eigenvector (n,) of the largest eigenvalue, to name the individuals at its ends.
    labels
        (n,) names of the individuals.
    """
    s = np.sort(eigenvalues[eigenvalues > 0])
    if eigenvalues.size < FEWEST or s.size < 2:
        return None
    part = float(s[-1] / s.sum())
    ahead = s[-1] >= AHEAD * s[-2] or part > LARGE
    if part <= DOMINATING or not ahead or s[-1] < APART * float(np.quantile(s[:-1], 0.9)):
        return None
    ends = ""
    if axis is not None and len(labels) == axis.size:
        order = np.argsort(axis)
        low, high = (", ".join(labels[k] for k in pick) for pick in (order[:3], order[:-4:-1]))
        ends = f" (at its ends {low} and {high})"
    return (
        f"one axis of the relationship matrix holds {part:.0%} of its variance{ends}: population "
        "structure, a batch or one large family. Differences along it, also environmental ones, "
        "count as heritability; to avoid this add the first principal components as covariates"
    )
