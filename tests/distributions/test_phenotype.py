"""The phenotype of a built model: its density and its data, and another in its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytest
from kernel_problems import people, problems
from pytensor.compile.mode import Mode

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.distributions.phenotype import (
    marginal_of,
    observed_phenotype,
    parameters_of,
    require_marginal,
    set_phenotype,
)
from bayeslmm.distributions.spectral_normal import spectral_normal
from bayeslmm.errors import InputError, ModelError
from bayeslmm.likelihood.decompose import spectrum
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.models.gallery import load

PYTHON = Mode(linker="py", optimizer="fast_compile")
PROBLEM = problems()["centred GRM, 4 covariates"]


def cohort_of(y: Any, X: Any) -> Cohort:
    names = ("intercept", *(f"x{j}" for j in range(1, X.shape[1])))
    return Cohort(np.ascontiguousarray(y), np.ascontiguousarray(X), people(len(y)), names, "trait")


@pytest.mark.parametrize("name", ["additive", "additive_cholesky"])
def test_a_model_with_another_phenotype_is_the_model_of_that_phenotype(name: str) -> None:
    cohort, K = PROBLEM.cohort, PROBLEM.relationship()
    y = np.exp(cohort.y / 30)
    other = cohort_of(y, cohort.X)
    swapped, fresh = load(name)(cohort, K), load(name)(other, K)
    values = swapped.value_vars
    function = pytensor.function(values, swapped.logp(), mode=PYTHON)
    expected = pytensor.function(fresh.value_vars, fresh.logp(), mode=PYTHON)
    point = [np.asarray(value) for value in swapped.initial_point(1).values()]
    before = function(*point)
    set_phenotype(swapped, y)
    assert function(*point) == pytest.approx(float(expected(*point)), rel=1e-10)
    assert abs(function(*point) - before) > 1e-3
    np.testing.assert_array_equal(swapped["phenotype_observed"].get_value(), y)
    for bad in (y[:-1], np.where(y > y.mean(), np.nan, y), y[None]):
        with pytest.raises(InputError, match=r"a phenotype of shape .* finite values of the shape"):
            set_phenotype(swapped, bad)
    assert function(*point) == pytest.approx(float(expected(*point)), rel=1e-10)


def test_a_model_that_holds_y_as_a_constant_is_told_so() -> None:
    with pm.Model() as model:
        pm.Normal("phenotype", 0, 1, observed=np.ones(3))
    with pytest.raises(ModelError, match="holds y as a constant"):
        set_phenotype(model, np.zeros(3))


def test_a_model_without_the_unit_can_exchange_its_phenotype_too() -> None:
    cohort, K = PROBLEM.cohort, PROBLEM.relationship()
    S = spectrum(cohort, K)
    with pm.Model(coords=cohort.coords("residual")) as model:
        variance = pm.HalfNormal("variance", 1, shape=2)
        beta = pm.Normal("beta", 0, 1, shape=4)
        spectral_normal("phenotype", beta, variance, spectrum=S, observed=cohort.y)
    set_phenotype(model, 2 * cohort.y)
    rotated = model["phenotype_rotated"].get_value()
    np.testing.assert_allclose(rotated, 2 * S.rotate(cohort.y), rtol=1e-12)


def test_the_density_the_data_and_the_parameters_of_a_model() -> None:
    cohort, K = PROBLEM.cohort, PROBLEM.relationship()
    model = load("additive")(cohort, K)
    marginal = marginal_of(model)
    assert isinstance(marginal, KernelMarginal)
    assert require_marginal(model) is marginal
    np.testing.assert_array_equal(observed_phenotype(model), cohort.y)
    (variance,) = parameters_of(model)
    both = [variance, model["variance"]]
    function = pytensor.function(model.free_RVs, both, mode=PYTHON, on_unused_input="ignore")
    one, other = function(*(rv.eval(mode=PYTHON) for rv in model.free_RVs))
    np.testing.assert_array_equal(one, other)


def test_a_model_with_the_genetic_values_as_parameters_has_no_density_of_that_kind() -> None:
    cohort, K = PROBLEM.cohort, PROBLEM.relationship()
    model = load("additive_cholesky")(cohort, K)
    assert marginal_of(model) is None
    np.testing.assert_array_equal(observed_phenotype(model), cohort.y)
    with pytest.raises(ModelError, match="not a marginal normal distribution: g is a parameter"):
        require_marginal(model)
