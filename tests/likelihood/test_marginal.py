"""The verb `quadratic` of every density at the edges of c: no density, or a number, never NaN."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from compiled_models import compiled
from engine_oracles import Data, log_marginal, small
from model_cases import case
from numpy.typing import NDArray
from scipy import stats

from bayeslmm.distributions.phenotype import observed_phenotype, require_marginal
from bayeslmm.inference.laplace.hyper import hyper
from bayeslmm.likelihood.decompose import spectrum
from bayeslmm.likelihood.fixed_effects import BetaQuadratic, integrate_beta
from bayeslmm.likelihood.kernel_marginal import KernelMarginal
from bayeslmm.likelihood.marginal import Quadratic
from bayeslmm.models.gallery import load

type Floats = NDArray[np.float64]

SEVERAL = case("bivariate", "2 traits")


def quadratic_of(model: Any) -> Quadratic:
    """The verb at the phenotype that a model holds."""
    return require_marginal(model).quadratic(observed_phenotype(model))


def integrated(at: BetaQuadratic | None, mean: Floats, factor: Floats) -> float:
    """log p(y | c), β ~ N(mean, factor factorᵀ); -inf where there is no density."""
    return -np.inf if at is None else integrate_beta(at, mean, factor)


def correlated(r: float, scale: float = 1.0) -> Floats:
    return scale * np.array([[1.0, r], [r, 1.0]])


def test_the_names_of_what_is_drawn_and_what_shares_a_covariance() -> None:
    one = require_marginal(small().model("additive"))
    assert one.effect_groups == (("additive",),)
    assert one.effect_names == ("additive",)
    both = require_marginal(compiled(SEVERAL).model)
    assert len(both.effect_groups) == 1
    assert both.effect_groups[0] == both.effect_names
    assert len(both.effect_names) == 2


def test_covariances_that_are_not_definite_have_no_density() -> None:
    quadratic = quadratic_of(compiled(SEVERAL).model)
    good = correlated(0.5)
    assert quadratic([good, good]) is not None
    for pair in ([-good, good], [good, -good], [good, 0 * good], [good, correlated(1.5)]):
        assert quadratic(pair) is None


def test_correlations_next_to_one_give_a_number_or_no_density() -> None:
    """Correlations within 1e-17 to 0.1 of ±1, on scales 1e-10 to 1e10."""
    model = compiled(SEVERAL).model
    quadratic, split = quadratic_of(model), hyper(model)
    effects = split.effects_prior(*split.data)
    rng = np.random.default_rng(61)
    impossible = 0
    for _ in range(300):
        gap, scale = 1 - 10 ** rng.uniform(-17, -1, 2), 10 ** rng.uniform(-10, 10, 2)
        signs = rng.choice([-1, 1], 2)
        G, R = (correlated(s * g, x) for s, g, x in zip(signs, gap, scale, strict=True))
        value = integrated(quadratic([G, R]), effects.mean, effects.factor)
        assert not np.isnan(value)
        assert value < 24 * 40.0  # 24 records, no direction with a variance below e^-80
        impossible += value == -np.inf
        assert value > -np.inf or gap.max() > 1 - 1e-4  # only next to an edge
    assert impossible > 10


def test_one_kernel_has_no_density_where_its_covariance_is_not_definite() -> None:
    data = small()
    model = data.model()
    quadratic, split = quadratic_of(model), hyper(model)
    effects = split.effects_prior(*split.data)
    for variance in ((0.0, 0.0), (1.0, 0.0), (1.0, -1.0), (-9.0, 1.0)):
        assert quadratic([np.array(variance)]) is None
    value = integrated(quadratic([np.array([4.0, 4.0])]), effects.mean, effects.factor)
    t = np.array([0.5 * np.log(8.0)])
    assert value == pytest.approx(log_marginal(data, np.zeros(1), t)[0], abs=1e-9)


def test_a_kernel_without_variance_along_the_covariates_and_next_to_no_residual() -> None:
    """Of full rank among the contrasts, of rank two among five fixed effects."""
    impossible = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = np.column_stack([np.ones(30), rng.standard_normal((30, 4))])
        Q = np.linalg.qr(X)[0]
        B = Q @ np.linalg.qr(rng.standard_normal((5, 5)))[0][:, :2]
        K = np.eye(30) - Q @ Q.T + 20.0 * B @ B.T
        data = Data(rng.standard_normal(30), X, 0.5 * (K + K.T))
        S = spectrum(data.cohort(), data.relationship())
        quadratic = KernelMarginal(S, 1, ("g",), matrices=False).quadratic(data.y)
        found = [quadratic([np.array([0.5, e])]) for e in (0.5, 1e-8, 1e-20, 1e-40)]
        values = [integrated(q, np.zeros(5), 10.0 * np.eye(5)) for q in found]
        V = 0.5 * data.K + 0.5 * np.eye(30) + 100.0 * X @ X.T
        dense = stats.multivariate_normal.logpdf(data.y, np.zeros(30), V)
        assert values[0] == pytest.approx(dense, abs=1e-8)
        assert np.isfinite(values[1])
        assert not np.isnan(values).any()
        impossible += sum(q is None for q in found)
    assert impossible > 0  # where rounding hides the residual


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("additive", ""),
        ("dominance", ""),
        ("gxe", "records and groups"),
        ("bivariate", "2 traits"),
        ("bivariate", "2 traits, some missing"),
    ],
)
def test_the_mean_of_the_phenotype_costs_no_digits(model: str, name: str) -> None:
    """y and y + 2³⁰ have one log p(y), β integrated out, the prior moved along.

    Of the terms of the density at β = 0, about n 2⁶⁰, rounding alone is a thousand.
    """
    one = case(model, name)
    values = []
    for shift in (0.0, 2.0**30):
        y = np.round(one.cohort.y * 1024) / 1024 + shift  # exact
        built = load(model)(replace(one.cohort, y=y), *one.matrices)
        split = hyper(built)
        effects = split.effects_prior(*split.data)
        _, parameters = split.parameters(split.start[None], *split.data)
        at = [np.asarray(x)[0] for x in parameters]
        found = quadratic_of(built)(at)
        assert found is not None
        values.append(integrate_beta(found, effects.mean, effects.factor))
    assert values[1] == pytest.approx(values[0], abs=1e-5)
