"""Building blocks of models: the unit of the priors, fixed effects, variances, swapping traits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytest
from kernel_problems import people, problems
from pytensor.compile.mode import Mode
from scipy import stats

from bayeslmm.cohort import Cohort
from bayeslmm.components import (
    fixed_effects,
    phenotype_unit,
    prior_words,
    residual_sd,
    set_phenotype,
    standardised_design,
    variance_shares,
)
from bayeslmm.distributions import spectral_normal
from bayeslmm.errors import InputError, ModelError
from bayeslmm.models import load
from bayeslmm.spectrum import spectrum

PYTHON = Mode(linker="py", optimizer="fast_compile")
PROBLEM = problems()["centred GRM, 4 covariates"]


def cohort_of(y: Any, X: Any) -> Cohort:
    names = ("intercept", *(f"x{j}" for j in range(1, X.shape[1])))
    return Cohort(np.ascontiguousarray(y), np.ascontiguousarray(X), people(len(y)), names, "trait")


def test_residual_sd_is_that_of_least_squares() -> None:
    y, X = PROBLEM.y, PROBLEM.X
    P = np.eye(16) - X @ np.linalg.pinv(X)
    assert residual_sd(y, X) == pytest.approx(np.sqrt(y @ P @ y / 12), rel=1e-9)
    assert residual_sd(y, X[:, :1]) == pytest.approx(y.std(ddof=1), rel=1e-12)
    assert residual_sd(3 * y - 50, X) == pytest.approx(3 * residual_sd(y, X), rel=1e-9)


@pytest.mark.parametrize("y", [np.full(16, 3.0), np.zeros(16), PROBLEM.X @ [1.0, 2.0, 3.0, 4.0]])
def test_a_phenotype_without_residual_has_no_unit(y: Any) -> None:
    with pytest.raises(InputError, match=r"the 4 covariates explain the phenotype .* exactly"):
        residual_sd(y, PROBLEM.X)


def test_more_covariates_than_individuals_have_no_unit() -> None:
    with pytest.raises(InputError, match="explain the phenotype of the 4 individuals"):
        residual_sd(np.arange(4.0) ** 2, np.vander(np.arange(4.0), 4, increasing=True))


def test_standardised_effects_are_in_sd_of_x_at_the_mean_of_x() -> None:
    """Xβ with β = Tγ is γ₀ + Σ γ_j (x_j - mean)/sd."""
    X = PROBLEM.X
    gamma = np.array([2.0, -1.0, 0.5, 3.0])
    z = stats.zscore(X[:, 1:], ddof=1)
    expected = gamma[0] + z @ gamma[1:]
    np.testing.assert_allclose(X @ standardised_design(X) @ gamma, expected, rtol=1e-10)


def effects(y: Any, X: Any, gamma: Any) -> Any:
    """β of a cohort at standardised effects γ."""
    cohort = cohort_of(y, X)
    with pm.Model(coords=cohort.coords("residual")) as model:
        beta = fixed_effects(cohort)
    return beta.eval({model["beta_std"]: gamma}, mode=PYTHON)


def test_the_prior_of_beta_follows_the_units_of_x_and_y() -> None:
    """Moving a covariate's zero changes the intercept only; scaling y or x scales β."""
    y, X = PROBLEM.y, PROBLEM.X
    gamma = np.array([0.3, -1.0, 0.5, 2.0])
    base = effects(y, X, gamma)
    z = stats.zscore(X[:, 1:], ddof=1)
    fitted = y.mean() + residual_sd(y, X) * (gamma[0] + z @ gamma[1:])
    np.testing.assert_allclose(X @ base, fitted, rtol=1e-10)
    moved = X + np.array([0.0, -1990.0, 0.0, 0.0])
    found = effects(y, moved, gamma)
    np.testing.assert_allclose(found[1:], base[1:], rtol=1e-9)
    assert found[0] == pytest.approx(base[0] + 1990 * base[1], rel=1e-9)
    np.testing.assert_allclose(effects(-5 * y, X, gamma * 1.0)[1:], 5 * base[1:], rtol=1e-9)
    np.testing.assert_allclose(
        effects(y, X * [1.0, 365.0, 1.0, 0.1], gamma), base / [1.0, 365.0, 1.0, 0.1], rtol=1e-9
    )


@pytest.fixture(scope="module")
def blocks() -> tuple[pm.Model, Any]:
    """fixed_effects and variance_shares with priors that are not the default, in one function."""
    cohort = PROBLEM.cohort
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        fixed_effects(cohort, "normal(0.5, 3)")
        variance_shares(cohort, "beta(2, 3)", "half_t(4, 1.5)")
    names = ("h2", "total_sd", "sigma2_u", "sigma2_e", "variance", "beta")
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    values = {v.name: v for v in model.value_vars}
    inputs = [values["beta_std"], values["h2_logodds__"], values["total_sd_log__"]]
    function = pytensor.function(inputs, [model.logp(), *outputs], mode=PYTHON)
    return model, lambda *x: dict(zip(("logp", *names), function(*x), strict=True))


def test_the_prior_is_scipys_with_the_jacobians(blocks: tuple[pm.Model, Any]) -> None:
    """At (logit h², log τ, γ): Beta, half-t in sd(y | X), normal.

    To 3e-9: PyMC takes the constant log 2 of its half-t in single precision.
    """
    _, function = blocks
    unit = residual_sd(PROBLEM.y, PROBLEM.X)
    for h2, total in ((0.3, 1.0), (1e-8, 20.0), (0.999, 0.01)):
        gamma = np.array([0.3, -1.0, 0.5, 2.0])
        found = function(gamma, np.log(h2) - np.log1p(-h2), np.log(total))
        expected = stats.beta(2, 3).logpdf(h2) + np.log(h2) + np.log1p(-h2)
        expected += np.log(2) + stats.t(4, scale=1.5 * unit).logpdf(total) + np.log(total)
        expected += stats.norm(0.5, 3).logpdf(gamma).sum()
        assert found["logp"] == pytest.approx(expected, abs=3e-9)
        assert found["h2"] == pytest.approx(h2, rel=1e-12)
        assert found["total_sd"] == pytest.approx(total, rel=1e-12)
        assert found["sigma2_u"] == pytest.approx(h2 * total**2, rel=1e-12)
        assert found["sigma2_e"] == pytest.approx((1 - h2) * total**2, rel=1e-12)
        np.testing.assert_array_equal(found["variance"], [found["sigma2_u"], found["sigma2_e"]])


def test_dimensions(blocks: tuple[pm.Model, Any]) -> None:
    model, _ = blocks
    dims = model.named_vars_to_dims
    assert dims["beta"] == dims["beta_std"] == ("covariate",)
    assert dims["variance"] == ("component",)
    assert "h2" not in dims


def test_prior_words(blocks: tuple[pm.Model, Any]) -> None:
    assert prior_words(blocks[0]) == {
        "beta_std": "each standardised effect is normal with mean 0.5 and sd 3, "
        "in sd(y | X) per sd of the covariate",
        "h2": "Beta(2, 3)",
        "total_sd": "half-t with 4 degrees of freedom and scale 1.5, in units of sd(y | X)",
    }
    with pm.Model() as model:
        pm.Normal("own", 0, 2)
    assert prior_words(model) == {"own": "Normal(0, 2)"}


@pytest.mark.parametrize(
    ("block", "priors", "message"),
    [
        (variance_shares, {"h2": "normal(0,1)"}, "prior h2=normal.* between 0 and 1"),
        (variance_shares, {"h2": "uniform(0,2)"}, "prior h2=uniform"),
        (variance_shares, {"total_sd": "beta(1,1)"}, "prior total_sd=beta.* positive"),
        (variance_shares, {"total_sd": "uniform(-1,1)"}, "prior total_sd=uniform"),
        (variance_shares, {"total_sd": "flat()"}, "prior total_sd=flat"),
        (fixed_effects, {"prior": "half_t(3,1)"}, "prior beta=half_t.* reals"),
    ],
)
def test_a_prior_that_does_not_fit_is_an_error(block: Any, priors: Any, message: str) -> None:
    cohort = PROBLEM.cohort
    with pm.Model(coords=cohort.coords("residual")), pytest.raises(InputError, match=message):
        block(cohort, **priors)


def test_the_unit_is_registered_once() -> None:
    cohort = PROBLEM.cohort
    with pm.Model() as model:
        assert phenotype_unit(cohort) is phenotype_unit(cohort)
    assert model["phenotype_centre"].get_value() == pytest.approx(cohort.y.mean())


# Exchanging the trait


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
