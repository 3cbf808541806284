"""What is behind a variable of a graph."""

from __future__ import annotations

import pymc as pm
import pytensor.tensor as pt
import pytest

from bayeslmm.distributions.variables import IMPROPER, inputs_of, kind, operation, parameters
from bayeslmm.inference.tree import improper_priors


def test_an_input_has_no_operation_and_no_inputs() -> None:
    assert operation(pt.dscalar()) is None
    assert inputs_of(pt.dscalar()) == []


def test_the_parameters_of_a_normal_are_its_mean_and_sd() -> None:
    rv = pm.Normal.dist(1.5, 0.25)
    assert kind(rv) == "NormalRV"
    assert [float(x.eval()) for x in parameters(rv)] == [1.5, 0.25]
    assert set(parameters(rv)) <= set(inputs_of(rv))


@pytest.mark.parametrize("improper", [pm.Flat, pm.HalfFlat])
def test_improper_priors_are_known_by_their_kind(improper) -> None:
    with pm.Model() as model:
        rv = improper("level")
        pm.HalfNormal("sd")
    assert kind(rv) in IMPROPER
    assert improper_priors(model) == ["level"]
