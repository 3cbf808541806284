"""Covariates that stand for the trait, or for the relationship: what they take cannot be told back.

A batch in which all cases were genotyped and another with all controls *is* the trait; a batch
that holds whole families or populations takes what those share. Numbers come out in either case.
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


DETERMINED = 1e-10  # 1 - R² at which a covariate is the trait
NEARLY = 0.98  # R² from which on a covariate is said to be nearly the trait
CHANCE = 1e-3  # probability below which a level of one trait value alone is no accident
DOMINATING = 0.05  # part of the variance of the relationships on one axis that dominates,
AHEAD = 2.0  # if it is so many times the next one, or
LARGE = 0.10  # if it is as large as this
APART = 3.0  # times the upper decile of the other eigenvalues: an axis that stands out
FEWEST = 100  # contrasts below which one axis easily has 5 %
ABSORBED = 0.10  # part of the kernel's variance, beyond chance, that a covariate may hold


def covariate_blocks(covariates: tuple[str, ...]) -> dict[str, list[int]]:
    """Columns of the design by covariate: ``batch[2]`` and ``batch[3]`` are one, "batch".

    Interactions of a formula stand for themselves; the intercept is left out.
    """
    blocks: dict[str, list[int]] = {}
    for position, column in enumerate(covariates[1:], 1):
        name, bracket, _ = column.rpartition("[")
        whole = name if bracket and column.endswith("]") and ":" not in column else column
        blocks.setdefault(whole, []).append(position)
    return blocks


def check_confounded_trait(cohort: Cohort) -> list[str]:
    """Refuse a covariate that determines the trait; say which nearly does.

    Parameters
    ----------
    cohort
        One trait (several are not looked at).

    Returns
    -------
    warnings
        A sentence for every covariate with R² above 0.98, and, of a trait with two values, for
        every categorical covariate that has levels of one value only and levels of the other
        only, each too large to be so by chance (1 in 1000).

    Raises
    ------
    InputError
        If one covariate explains all of the variance of the trait, with its name.
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
                f"everyone in the same of its {levels} levels has the same value"
                if len(columns) > 1 or is_dummy(cohort.X[:, columns[0]])
                else "they are the same up to a factor and a constant"
            )
            raise InputError(
                f"the covariate '{name}' determines the trait '{cohort.trait}': {how}",
                "a trait that varies among individuals with the same covariates",
                f"leave '{name}' out; if it is a batch that holds all cases or all controls, the "
                "trait cannot be told from the batch",
            )
        if unexplained < 1.0 - NEARLY:
            found.append(
                f"the covariate '{name}' explains {1 - unexplained:.1%} of the variance of the "
                f"trait '{cohort.trait}': is it the trait itself, or a part of it? Heritability is "
                "that of the rest"
            )
        elif len(np.unique(cohort.y)) == 2:
            found += _one_sided(cohort, name, columns)
    return found


def _one_sided(cohort: Cohort, name: str, columns: list[int]) -> list[str]:
    """Levels of a categorical covariate in which a trait of two values has only one of them."""
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
        f"{cohort.y.min():g}; between these levels the trait cannot be told from '{name}'"
    ]


def confounded_kernel(cohort: Cohort, relationship: Relationship) -> list[str]:
    """Say which categorical covariates hold whole families or populations.

    The part of the kernel's variance that lies between the levels is
    ``tr(QᵀKQ)/tr(PKP)``, Q an orthonormal basis of the centred dummies (k columns),
    ``P = I - 11ᵀ/n``; it is k/(n-1) for a covariate that has nothing to do with relatedness.

    Parameters
    ----------
    cohort
        One trait (several are not looked at).
    relationship
        Among the individuals of the cohort, in their order (``relationship.on(cohort.people)``).

    Returns
    -------
    warnings
        A sentence for every covariate that holds 10 % of the variance more than that.
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
                f"({chance:.1%} if they had nothing to do with each other); what differs between "
                f"them counts as '{name}', not as heritability. Is it a family or a population?"
            )
    return found


def centred_basis(columns: Floats) -> Floats:
    """Orthonormal basis (n, k) of the columns after centring."""
    centred = columns - columns.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    basis, triangle = np.linalg.qr(centred / np.where(length > 0, length, 1.0))
    return np.ascontiguousarray(basis[:, np.abs(np.diagonal(triangle)) > 1e-9])


def is_dummy(column: Floats) -> bool:
    """Has a column no other values than 0 and 1?"""
    return bool(((column == 0.0) | (column == 1.0)).all())


def level_codes(columns: Floats) -> NDArray[np.intp] | None:
    """Level (n,) of each record by its dummies, 0 for the reference; None for a numeric column."""
    if not is_dummy(columns) or (columns.sum(axis=1) > 1).any():
        return None
    first = (columns.sum(axis=1) == 0)[:, None]
    return np.asarray(np.argmax(np.hstack([first, columns > 0]), axis=1))


def level_names(covariates: tuple[str, ...], columns: list[int]) -> list[str]:
    """Names of the levels, the reference first."""
    return ["the reference level", *(covariates[k] for k in columns)]


def dominating_axis(
    eigenvalues: Floats, axis: Floats | None = None, labels: Sequence[str] = ()
) -> str | None:
    """A sentence where one axis of a kernel dominates its variance; None otherwise.

    It holds more than 5 % and twice as much as the next one, or more than 10 %; and it stands
    out from the others (three times their upper decile), which it does not where few variants make
    few axes. Large families without one that is larger than the others are no such axis.

    The covariates are projected out, so that an axis that they follow is not counted: with
    principal components among them the sentence goes away.

    Parameters
    ----------
    eigenvalues
        s (m,), of the scaled kernel among the error contrasts.
    axis
        Eigenvector (n,) of the largest one, if the individuals at its ends are to be named.
    labels
        (n,) their names.
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
        "structure, a batch or one large family. What goes with it, the environment too, counts as "
        "heritability; add the first principal components as covariates if that is not meant"
    )
