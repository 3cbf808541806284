"""Families, households, relatives and folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.comparison.loo.grouping import blocks_of, folds_of, group_labels
from bayeslmm.errors import InputError
from bayeslmm.individuals import individual_index
from bayeslmm.relationship.relationship import Relationship


def six() -> Cohort:
    """Five individuals of two families, one with two records."""
    fids, iids = ["A", "A", "B", "B", "B", "A"], ["1", "2", "1", "2", "3", "1"]
    columns = pd.DataFrame({"household": [7.0, 8.0, 7.0, 9.0, 9.0, 8.0]})
    rng = np.random.default_rng(1)
    return Cohort(
        rng.standard_normal(6), np.ones((6, 1)), individual_index(fids, iids), ("intercept",),
        "trait", records=tuple("abcdef"), columns=columns,
    )  # fmt: skip


def test_families_and_households() -> None:
    assert group_labels(six()).tolist() == ["A", "A", "B", "B", "B", "A"]
    assert group_labels(six(), "household").tolist() == ["7", "8", "7", "9", "9", "8"]


def test_relatives_are_connected_through_others() -> None:
    """1 - 2 and 2 - 3 related by 0.25: one group, though 1 and 3 are not; the scale is G's own."""
    cohort = six()
    G = np.eye(5)
    for i, j in ((0, 2), (2, 4)):
        G[i, j] = G[j, i] = 0.25
    order = np.array([3, 1, 4, 0, 2])
    relationship = Relationship(G[np.ix_(order, order)], cohort.people[order])
    found = group_labels(cohort, "relatedness", relationship=relationship, threshold=0.2)
    who = cohort.levels
    assert len(set(found)) == 3
    assert len({found[i] for i in range(6) if who[i] in (0, 2, 4)}) == 1
    alone = group_labels(cohort, "relatedness", relationship=relationship, threshold=0.3)
    assert len(set(alone)) == 5
    assert alone[0] == alone[5]  # two records of one individual
    with pytest.raises(InputError, match="without a relationship"):
        group_labels(cohort, "relatedness")


def test_blocks_stand_in_the_order_of_their_first_record() -> None:
    blocks, names = blocks_of(["b", "a", "b", "c"], 4)
    assert names == ["b", "a", "c"]
    assert [one.tolist() for one in blocks.members] == [[0, 2], [1], [3]]
    assert blocks.starts.tolist() == [0, 2, 3, 4]
    assert not blocks.single
    single, none = blocks_of(None, 3)
    assert single.single
    assert none == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b"], r"of the shape \(2,\)"),
        (["a", None, "b"], "without a group"),
        ([1.0, np.nan, 2.0], "without a group"),
        (["a", "a", "a"], "one group"),
    ],
)
def test_bad_labels(labels: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        blocks_of(labels, 3)


def test_folds_keep_groups_together_and_are_even() -> None:
    groups = np.repeat(np.arange(30), np.tile([1, 2, 6], 10))
    fold = folds_of(groups, len(groups), 5, seed=2)
    assert all(len(set(fold[groups == g])) == 1 for g in range(30))
    assert np.bincount(fold).tolist() == [18] * 5
    assert fold.tolist() == folds_of(groups, len(groups), 5, seed=2).tolist()
    assert fold.tolist() != folds_of(groups, len(groups), 5, seed=3).tolist()
    for k in (1, 31):
        with pytest.raises(InputError, match="folds of 30 groups"):
            folds_of(groups, len(groups), k, seed=1)
