"""Whom the random effects of a model are extended to: what has to be given."""

from __future__ import annotations

import numpy as np
import pytest
from engine_oracles import simulated
from model_cases import case

from bayeslmm import models
from bayeslmm.distributions.phenotype import require_marginal
from bayeslmm.errors import InputError
from bayeslmm.inference.effects_candidates import extend_effects
from bayeslmm.likelihood.candidates import find_candidates


@pytest.mark.parametrize("name", ["additive", "additive_cholesky"])
def test_one_kernel_wants_its_relationship_by_name(name: str) -> None:
    data = simulated(20, 2, 0.5, seed=51)
    model, cohort = data.model(name), data.cohort()
    known = {"additive": data.relationship()}
    terms, _ = require_marginal(data.model("additive")).terms(cohort, known)
    alone = find_candidates(cohort, terms, {})  # no kernel is known: the cohort's own people
    assert alone.people.equals(cohort.people)
    assert dict(alone.rows) == {}
    assert alone.order.tolist() == list(range(20))
    for given in ({}, {"dominance": data.relationship()}):
        with pytest.raises(InputError, match=r"no relationship 'additive'"):
            extend_effects(model, cohort, given)
    found = extend_effects(model, cohort, {"additive": data.relationship()})
    assert [term.name for term in found.terms] == ["additive"]
    assert found.residual is not None
    assert np.array_equal(found.residual, np.zeros(20))


def test_several_traits_want_their_relationship_by_name() -> None:
    one = case("bivariate", "2 traits")
    model = models.load("bivariate")(one.cohort, *one.matrices)
    with pytest.raises(InputError, match=r"no relationship 'additive'"):
        extend_effects(model, one.cohort, {"genomic": one.matrices[0]})
