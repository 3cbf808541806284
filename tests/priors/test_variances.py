"""Variance components of a model file: shares, total sd, correlations, groups; their priors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from kernel_problems import problems
from model_cases import case, made, text
from pytensor.compile.mode import Mode
from scipy import stats

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.tree import prior_descriptions
from bayeslmm.priors.fixed_effects import fixed_effects
from bayeslmm.priors.units import residual_sd, units
from bayeslmm.priors.variances import (
    component_variances,
    correlation_matrix,
    residual_by_group,
    trait_shares,
    variance_shares,
)

PYTHON = Mode(linker="py", optimizer="fast_compile")
PROBLEM = problems()["centred GRM, 4 covariates"]


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
    assert prior_descriptions(blocks[0]) == {
        "beta_std": "each standardised effect is normal with mean 0.5 and sd 3, "
        "in sd(y | X) per sd of the covariate",
        "h2": "Beta(2, 3)",
        "total_sd": "half-t with 4 degrees of freedom and scale 1.5, in units of sd(y | X)",
    }
    with pm.Model() as model:
        pm.Normal("own", 0, 2)
    assert prior_descriptions(model) == {"own": "Normal(0, 2)"}


@pytest.mark.parametrize(
    ("block", "priors", "message"),
    [
        (variance_shares, {"h2": "normal(0,1)"}, "prior h2=normal.* between 0 and 1"),
        (variance_shares, {"h2": "uniform(0,2)"}, "prior h2=uniform"),
        (variance_shares, {"total_sd": "beta(1,1)"}, "prior total_sd=beta.* positive"),
        (variance_shares, {"total_sd": "uniform(-1,1)"}, "prior total_sd=uniform"),
        (variance_shares, {"total_sd": "flat()"}, "prior total_sd=flat"),
        (fixed_effects, {"prior": "half_t(3,1)"}, "prior beta=half_t.* reals"),
        (trait_shares, {"h2": "normal(0,1)"}, "prior h2=normal.* between 0 and 1"),
        (trait_shares, {"total_sd": "beta(1,1)"}, "prior total_sd=beta.* positive"),
        (component_variances, {"genetic": (), "explained": "flat()"}, "prior explained=flat"),
        (component_variances, {"genetic": (), "explained": "uniform(0,1)"}, "uniform.* a Beta"),
        (component_variances, {"genetic": (), "parts": "beta(1,1)"}, "parts=beta.* sum to one"),
        (component_variances, {"genetic": (), "total_sd": "normal(0,1)"}, "total_sd=normal"),
    ],
)
def test_a_prior_that_does_not_fit_is_an_error(block: Any, priors: Any, message: str) -> None:
    cohort = PROBLEM.cohort
    coords = cohort.coords("additive", "residual")
    with pm.Model(coords=coords), pytest.raises(InputError, match=message):
        block(cohort, **priors)


def compiled(model: pm.Model, names: list[str]) -> Any:
    """``u (in the order of the value variables) → {"logp", names}``."""
    outputs = model.replace_rvs_by_values([model[name] for name in names])
    function = pytensor.function(model.value_vars, [model.logp(), *outputs], mode=PYTHON)
    return lambda *u: dict(zip(("logp", *names), function(*u), strict=True))


def test_component_variances_and_their_prior() -> None:
    """Beta(e) Dirichlet(w) half-t(τ) with the Jacobians; h² is the share of the genetic ones."""
    cohort = PROBLEM.cohort
    with pm.Model(coords=cohort.coords("a", "home", "d", "residual")) as model:
        component_variances(
            cohort, ("a", "d"), explained="beta(2, 3)", parts="dirichlet(1.5)",
            total_sd="half_t(4, 1.5)",
        )  # fmt: skip
    function = compiled(model, ["variance", "share", "h2", "total_sd"])
    unit = residual_sd(cohort.y, cohort.X)
    rng = np.random.default_rng(1)
    for log_total in (-2.0, 0.0, 3.0):
        u = rng.standard_normal(3)
        found = function(u, log_total)
        s = np.exp([*u, 0.0]) / np.exp([*u, 0.0]).sum()
        e, tau = s[:3].sum(), np.exp(log_total)
        expected = stats.beta(2, 3).logpdf(e) - 2 * np.log(e) + np.log(s).sum()
        expected += stats.dirichlet([1.5] * 3).logpdf(s[:3] / e)
        expected += np.log(2) + stats.t(4, scale=1.5 * unit).logpdf(tau) + log_total
        assert found["logp"] == pytest.approx(expected, abs=3e-9)
        np.testing.assert_allclose(found["variance"], s * tau**2, rtol=1e-12)
        assert found["h2"] == pytest.approx(s[0] + s[2], rel=1e-12)
    assert model.named_vars_to_dims["variance"] == ("component",)
    words = prior_descriptions(model)
    assert words["share"] == (
        "the share that a, home, d explain together is Beta(2, 3); "
        "its split among them is Dirichlet with concentration 1.5"
    )
    assert words["total_sd"].endswith("in units of sd(y | X)")


def test_components_that_are_not_there() -> None:
    cohort = PROBLEM.cohort
    coords = cohort.coords("a", "b", "residual")
    for genetic in (("a", "c"), ("residual",)):
        with (
            pm.Model(coords=coords),
            pytest.raises(ModelError, match=r"no component .* among a, b"),
        ):
            component_variances(cohort, genetic)
    with pm.Model(coords=coords) as model:
        component_variances(cohort, ())
    assert pm.draw(model["h2"]) == 0.0  # shared environments alone
    with pm.Model(coords={"part": ["a", "residual"]}) as model:
        component_variances(cohort, (), name="part_variance", dims="part")
    assert "h2" not in model.named_vars


GROUPS = ["field", "barn", "field", "roof"] * 4


def grouped(columns: Any) -> tuple[pm.Model, Any, Cohort]:
    cohort = made(np.arange(16), 1, seed=1, columns=columns)
    with pm.Model() as model:
        sigma2 = pm.HalfNormal("sigma2", np.float64(1.0))
        variance, classes = residual_by_group(cohort, sigma2)
    return model, (variance, classes), cohort


def test_residual_variances_by_group() -> None:
    """The mean over the records is σ²_e; the parts of the sum of squares are Dirichlet(2 K f)."""
    model, (_, classes), _ = grouped({"group": text(GROUPS)})
    assert classes.tolist() == [1, 0, 1, 2] * 4
    assert list(model.coords["group"]) == ["barn", "field", "roof"]
    function = compiled(model, ["residual_variance", "residual_part"])
    part = np.array([0.25, 0.5, 0.25])
    for u in (np.zeros(2), np.array([1.0, -0.5]), np.array([-20.0, 3.0])):
        found = function(0.3, u)
        rho = np.exp([*u, 0.0]) / np.exp([*u, 0.0]).sum()
        np.testing.assert_allclose(found["residual_part"], rho, rtol=1e-12)
        np.testing.assert_allclose(found["residual_variance"], np.exp(0.3) * rho / part, rtol=1e-12)
        assert found["residual_variance"][classes].mean() == pytest.approx(np.exp(0.3), rel=1e-12)
        prior = stats.dirichlet(6 * part).logpdf(rho / rho.sum()) + np.log(rho).sum()
        prior += stats.halfnorm.logpdf(np.exp(0.3)) + 0.3
        assert found["logp"] == pytest.approx(prior, rel=1e-9, abs=3e-9)
    assert [value.name for value in model.value_vars] == [
        "sigma2_log__",
        "residual_part_logratio__",
    ]


@pytest.mark.parametrize("columns", [None, {"other": np.arange(16.0)}, {"group": text(["a"] * 16)}])
def test_one_group_has_one_residual_variance(columns: Any) -> None:
    model, (variance, classes), _ = grouped(columns)
    assert variance is model["sigma2"]
    assert (classes == 0).all()
    assert list(model.named_vars) == ["sigma2"]


def stacked() -> Cohort:
    return case("bivariate", "3 traits, some missing").cohort


def test_shares_and_effects_of_several_traits() -> None:
    """The standardised effects count in each trait's own unit."""
    cohort = stacked()
    with pm.Model(coords={**cohort.coords("residual"), "trait": cohort.trait_names}) as model:
        fixed_effects(cohort)
        genetic, residual = trait_shares(cohort, "beta(2, 3)", "half_t(4, 1.5)")
        pm.Deterministic("genetic", genetic)
        pm.Deterministic("rest", residual)
    function = compiled(model, ["beta", "h2", "total_sd", "genetic", "rest"])
    gamma = np.array([0.3, -1.0, 0.5, 2.0, -0.7, 1.1])
    logit, log_tau = np.array([-1.0, 0.0, 3.0]), np.array([0.1, 2.0, 4.0])
    found = function(gamma, logit, log_tau)
    unit, centre = units(cohort.y, cohort.X, cohort.trait_index)
    h2 = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(found["genetic"], np.sqrt(h2) * np.exp(log_tau), rtol=1e-12)
    np.testing.assert_allclose(found["rest"], np.sqrt(1 - h2) * np.exp(log_tau), rtol=1e-12)
    expected = stats.norm(0, 10).logpdf(gamma).sum()
    expected += (stats.beta(2, 3).logpdf(h2) + np.log(h2) + np.log1p(-h2)).sum()
    scaled = stats.t(4, scale=1.5 * unit).logpdf(np.exp(log_tau))
    expected += (np.log(2) + scaled + log_tau).sum()
    assert found["logp"] == pytest.approx(expected, abs=1e-8)
    index = cohort.trait_index
    assert index is not None
    for t in range(3):
        rows = index == t
        x = cohort.X[rows, 2 * t + 1]
        z = (x - x.mean()) / x.std(ddof=1)
        fitted = centre[t] + unit[t] * (gamma[2 * t] + gamma[2 * t + 1] * z)
        np.testing.assert_allclose((cohort.X @ found["beta"])[rows], fitted, rtol=1e-10)


def correlations(size: int, eta: Any) -> pm.Model:
    traits = [f"t{k}" for k in range(size)]
    with pm.Model(coords={"trait": traits, "other_trait": traits}) as model:
        correlation_matrix("r", size, eta)
    return model


# PyTensor looks for a BLAS of its own, once, when it meets the LKJ prior of three traits
BLAS = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")


@BLAS
@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("eta", [1.0, 2.5])
def test_correlations_are_lkj(size: int, eta: float) -> None:
    """(1 + r)/2 of every pair is Beta(η - 1 + T/2, the same); the matrices are correlations.

    Kolmogorov-Smirnov on 1500 draws of each of 20 pairs, p above 1e-3.
    """
    model = correlations(size, eta)
    draws = pm.draw(model["r"], draws=1500, random_seed=1, mode=PYTHON)
    np.testing.assert_allclose(np.diagonal(draws, axis1=1, axis2=2), 1.0, rtol=1e-10)
    np.testing.assert_allclose(draws, np.swapaxes(draws, 1, 2), atol=1e-14)
    assert (np.linalg.eigvalsh(draws) > -1e-10).all()
    shape = eta - 1 + size / 2
    for t, u in zip(*np.tril_indices(size, -1), strict=True):
        place = (1 + draws[:, t, u]) / 2
        assert stats.kstest(place, stats.beta(shape, shape).cdf).pvalue > 1e-3


@BLAS
@pytest.mark.parametrize("eta", [1.0, 2.5])
def test_the_prior_of_three_correlations_integrates_to_one(eta: float) -> None:
    """Over the unconstrained space of the factor, u = sinh v, by the trapezoidal rule: 1e-3.

    And at every point the density is |C|^(η-1), up to the Jacobian: η = 1 beside another.
    """
    from pytensor.graph.replace import vectorize_graph

    model = correlations(3, eta)
    (value,) = model.value_vars
    points = pt.dmatrix()
    outputs = vectorize_graph(
        [model.logp(), *model.replace_rvs_by_values([model["r"]])], {value: points}
    )
    function = pytensor.function([points], outputs, mode=PYTHON)
    v = np.linspace(-7, 7, 45)
    grid = np.stack(np.meshgrid(v, v, v, indexing="ij"), axis=-1).reshape(-1, 3)
    logp, C = function(np.sinh(grid))
    weight = np.exp(logp + np.log(np.cosh(grid)).sum(axis=1)) * (v[1] - v[0]) ** 3
    assert weight.sum() == pytest.approx(1.0, abs=1e-3)
    shape = eta - 1 + 1.5
    assert weight @ C[:, 0, 1] ** 2 == pytest.approx(4 * stats.beta(shape, shape).var(), abs=1e-3)
    assert weight @ C[:, 1, 2] ** 2 == pytest.approx(4 * stats.beta(shape, shape).var(), abs=1e-3)


def test_words_of_the_correlations() -> None:
    assert prior_descriptions(correlations(2, 1)) == {"r_place": "r is uniform between -1 and 1"}
    assert prior_descriptions(correlations(2, "2")) == {"r_place": "r is LKJ with η = 2"}
    words = {"r_factor": "uniform on the correlation matrices"}
    assert prior_descriptions(correlations(3, 1.0)) == words
    assert prior_descriptions(correlations(3, "2.5")) == {"r_factor": "LKJ with η = 2.5"}
    for bad in (0.0, -1.0, np.nan, np.inf, "0", "two"):
        with pytest.raises(InputError, match=f"eta = {bad} -> a positive number"):
            correlations(2, bad)
