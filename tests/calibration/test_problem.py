"""The simulated records and matrices for the calibration of every model of the gallery."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bayeslmm as bl
from bayeslmm import models
from bayeslmm.calibration.problem import small_problem
from bayeslmm.calibration.simulated_families import DAMS, SIRES, N, dam_of, pedigree_kernel, sire_of
from bayeslmm.likelihood.terms import Grouping
from bayeslmm.relationship.relationship import Relationship
from bayeslmm.relationship.variants import Variants


@pytest.mark.parametrize("name", models.names())
def test_every_model_can_be_built_on_its_problem(name: str) -> None:
    file, several = models.load(name), name == "repeated"
    found = small_problem(file, several=several)
    cohort = found.cohort
    traits = 2 if file.several_traits else 1
    assert cohort.n == traits * N
    each = 2 if several else 1
    people = cohort.people
    assert len(people) == N // each
    assert set(file.matrices()) <= set(found.matrices)
    for one in found.matrices.values():
        if isinstance(one, Relationship):
            assert np.linalg.eigvalsh(one.matrix)[0] > -1e-10
            assert people.isin(one.individuals).all()
        elif isinstance(one, Variants):
            assert people.isin(one.individuals).all()
        else:
            assert isinstance(one, Grouping)
    model = file(cohort, **found.matrices)
    assert {"h2", "variance"} <= set(model.named_vars)
    assert str(N if "dam" in file.columns else N // each) in found.description


def test_the_pedigree_is_hendersons(tmp_path: Path) -> None:
    """Against our own reader of pedigrees, which is checked against other programs."""
    names = [f"s{k}" for k in range(SIRES)] + [f"d{k}" for k in range(DAMS)]
    lines = [f"{name}\t0\t0" for name in names]
    lines += [f"o{k}\ts{sire_of(k)}\td{dam_of(k)}" for k in range(N)]
    path = tmp_path / "pedigree.tsv"
    path.write_text("\n".join(["id\tsire\tdam", *lines]) + "\n")
    expected = bl.additive_relationship(bl.read_pedigree(path))
    labels = [str(iid) for _, iid in expected.individuals]
    order = [labels.index(name) for name in [*names, *(f"o{k}" for k in range(N))]]
    np.testing.assert_allclose(
        pedigree_kernel(), expected.matrix[np.ix_(order, order)] * expected.factor, atol=1e-12
    )
