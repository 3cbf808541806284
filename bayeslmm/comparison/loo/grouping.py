"""Groups of records to leave out together: families, households, relatives, folds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from bayeslmm.errors import InputError
from bayeslmm.likelihood.blocks import Blocks
from bayeslmm.numerics.arrays import Codes

if TYPE_CHECKING:
    from bayeslmm.cohort.cohort import Cohort
    from bayeslmm.relationship.relationship import Relationship


def group_labels(
    cohort: Cohort,
    by: str = "FID",
    *,
    relationship: Relationship | None = None,
    threshold: float = 0.05,
) -> NDArray[Any]:
    """Return a group label (n,) for every record of a cohort, for `loo` and `kfold`.

    Parameters
    ----------
    cohort
        The records that the model was built for.
    by
        "FID": the family ID; "relatedness": connected components of the graph of individuals
        related by more than `threshold`; otherwise a column of the cohort (a household).
    relationship
        Relationship matrix for "relatedness"; aligned by ID.
    threshold
        Relationship coefficient (twice the kinship) above which two individuals are connected, on
        the matrix's own scale.

    Raises
    ------
    InputError
        If "relatedness" comes without a relationship, or the cohort lacks the column.
    """
    if by == "FID":
        return np.asarray(cohort.individuals.get_level_values(0).astype(str))
    if by != "relatedness":
        return np.asarray([str(label) for label in cohort.column_text(by)])
    if relationship is None:
        raise InputError(
            "groups by relatedness without a relationship",
            "the relationship between the individuals",
            "give it: relationship=...",
        )
    near = relationship.on(cohort.people, "none").matrix > threshold
    i, j = np.nonzero(near)
    graph = sparse.coo_array((np.ones(len(i)), (i, j)), shape=near.shape)
    _, component = connected_components(graph, directed=False)
    return np.asarray([f"relatives {k + 1}" for k in component])[cohort.levels]


def blocks_of(groups: ArrayLike | None, n: int) -> tuple[Blocks, list[str]]:
    """Return the blocks of records with the same label, by first record, and their labels.

    With `groups` None every record is a block, without labels.

    Raises
    ------
    InputError
        If the number of labels is not n, or labels are missing or all the same.
    """
    if groups is None:
        return Blocks(tuple(np.arange(n, dtype=np.intp)[:, None])), []
    labels = np.asarray(groups, dtype=object)
    if labels.shape != (n,):
        raise InputError(
            f"group labels of the shape {labels.shape}",
            f"one for each of the {n} records",
            "take them from the cohort (group_labels)",
        )
    if any(label is None or label != label for label in labels):
        raise InputError("records without a group", "a label for every record", "add them")
    names: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        names.setdefault(str(label), []).append(i)
    if len(names) < 2:
        raise InputError("one group", "two or more", "leave single records out: groups=None")
    return Blocks(tuple(np.array(rows, dtype=np.intp) for rows in names.values())), list(names)


def folds_of(groups: ArrayLike | None, n: int, k: int, seed: int) -> Codes:
    """Assign every record (n,) at random to folds 0, ..., k - 1 of even size; keep groups whole.

    Raises
    ------
    InputError
        If there are fewer than two folds, or more folds than groups.
    """
    blocks, _ = blocks_of(groups, n)
    count = len(blocks.members)
    if not 2 <= k <= count:
        raise InputError(f"{k} folds of {count} groups", f"2 to {count}", "choose another k")
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort([-len(blocks.members[g]) for g in order], kind="stable")]
    fold, load = np.empty(n, dtype=np.intp), np.zeros(k)
    for g in order:  # the largest group first, always into the smallest fold
        smallest = int(np.argmin(load))
        fold[blocks.members[g]] = smallest
        load[smallest] += len(blocks.members[g])
    return fold
