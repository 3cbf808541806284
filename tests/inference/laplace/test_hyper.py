"""The split of a model for the Laplace engine: its density with β integrated out, by dense oracles.

The prior of the hyperparameters is PyMC's (tested against SciPy with the blocks of the models), the
likelihood N(Xm, V + XFFᵀXᵀ) in extended precision with the covariance that `model_cases` writes
out, and with m and F as the model's β = m + Fγ shows them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from compiled_models import PYTHON, Compiled, compiled
from model_cases import Case, case
from oracles import log_marginal_density, relative

from bayeslmm.distributions.dense_normal import dense_normal
from bayeslmm.distributions.phenotype import require_marginal, set_phenotype
from bayeslmm.errors import ModelError
from bayeslmm.inference.laplace.hyper import Hyper, hyper, why_not_laplace
from bayeslmm.inference.laplace.laplace import target_of
from bayeslmm.likelihood.incomplete_marginal import IncompleteMarginal
from bayeslmm.likelihood.terms import kernel_term
from bayeslmm.models.gallery import load
from bayeslmm.priors.fixed_effects import fixed_effects

# PyTensor looks for a BLAS of its own, once, when it meets the LKJ prior of three traits
pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link to a BLAS")

CASES = [
    case("additive", "centred GRM, 4 covariates"),
    case("snp_effects"),
    case("dominance"),
    case("epistasis"),
    case("partitioned", "with groups"),
    case("household"),
    case("repeated"),
    case("maternal"),
    case("gxe", "records and groups"),
    case("bivariate", "2 traits"),
    case("bivariate", "3 traits, some missing"),
]
EACH_CASE = pytest.mark.parametrize("one", CASES, ids=str)


class Oracle:
    """log p(u, y) of a model with β ~ N(m, FFᵀ) (or flat) integrated out by dense formulas."""

    def __init__(self, one: Case, model: Compiled, split: Hyper) -> None:
        self.one, self.model, self.split = one, model, split
        named = {rv.name: rv for rv in model.model.free_RVs}
        chosen = list(dict.fromkeys(name.split("[")[0] for name in split.names))
        self.hyper = [named[name] for name in chosen]
        prior = model.model.logp(vars=self.hyper)
        self.start = model.model.initial_point(1)
        inputs = model.values
        self.prior = pytensor.function(inputs, prior, mode=PYTHON, on_unused_input="ignore")

    def point(self, u: Any, gamma: Any) -> list[Any]:
        """Values of all variables at hyperparameters u and standardised effects γ."""
        start, found, used = self.start, {}, 0
        for rv in self.hyper:
            name = self.model.model.rvs_to_values[rv].name
            size = np.size(start[name])
            found[name] = u[used : used + size].reshape(np.shape(start[name]))
            used += size
        assert used == u.size
        return [np.asarray(found.get(value.name, gamma)) for value in self.model.values]

    def beta(self, u: Any) -> tuple[Any, Any]:
        """m and F with β = m + F z, z standard normal."""
        p = self.one.cohort.p
        centre = self.model.parts(self.point(u, np.zeros(p)))[2][0]
        slopes = [self.model.parts(self.point(u, row))[2][0] - centre for row in np.eye(p)]
        return centre, 10.0 * np.column_stack(slopes)

    def __call__(self, u: Any, y: Any, flat: bool = False) -> float:
        one, p = self.one, self.one.cohort.p
        point = self.point(u, np.zeros(p))
        c = self.model.parts(point)[2][1]
        mean, factor = (None, None) if flat else self.beta(u)
        matrices = [*one.parts, np.eye(one.cohort.n)]
        likelihood = log_marginal_density(y, one.cohort.X, matrices, c, mean, factor)[0]
        return likelihood + float(self.prior(*point))


@cache
def split_of(one: Case) -> tuple[Hyper, Oracle]:
    model = compiled(one)
    split = hyper(model.model)
    return split, Oracle(one, model, split)


def around(split: Hyper, count: int, seed: int = 1) -> Any:
    """Points about the start."""
    rng = np.random.default_rng(seed)
    return split.start + 0.7 * rng.standard_normal((count, split.start.size))


@EACH_CASE
def test_the_density_is_the_dense_one(one: Case) -> None:
    """1e-8 of max(1, |.|)."""
    split, oracle = split_of(one)
    assert why_not_laplace(compiled(one).model) is None
    target = target_of(split, split.effects_prior(*split.data))
    assert target.names == split.names
    for u in around(split, 5):
        assert relative(target.log_density(u), oracle(u, one.cohort.y)) < 1e-8


@EACH_CASE
def test_the_gradient_is_that_of_the_density(one: Case) -> None:
    """Against differences of fourth order, 1e-6 of max(1, the largest entry)."""
    split, _ = split_of(one)
    target = target_of(split, split.effects_prior(*split.data))
    cheap = one.spectral or isinstance(require_marginal(compiled(one).model), IncompleteMarginal)
    if cheap:
        assert target.gradient is None  # an evaluation costs next to nothing
        return
    assert target.gradient is not None
    for u in around(split, 3, seed=2):
        value, slope = target.gradient(u)
        assert value == pytest.approx(target.log_density(u), rel=1e-12)
        steps = 1e-3 * np.eye(u.size)
        ends = [[target.log_density(u + k * e) for e in steps] for k in (2, 1, -1, -2)]
        far, near = (np.subtract(ends[i], ends[3 - i]) for i in (0, 1))
        differences = (8 * near - far) / 12e-3
        assert np.abs(slope - differences).max() < 1e-6 * max(1.0, np.abs(differences).max())


@EACH_CASE
def test_all_variables_at_draws(one: Case) -> None:
    """`variables` gives β back, every variance as the model computes it, and the prior's parts."""
    split, oracle = split_of(one)
    model = compiled(one)
    effects = split.effects_prior(*split.data)
    points = around(split, 3, seed=3)
    centre, factor = oracle.beta(points[0])
    np.testing.assert_allclose(effects.mean, centre, rtol=1e-9, atol=1e-9)
    V, W = effects.factor @ effects.factor.T, factor @ factor.T
    np.testing.assert_allclose(V, W, rtol=1e-8, atol=1e-9 * np.abs(W).max())
    beta = effects.mean + np.random.default_rng(4).standard_normal((3, one.cohort.p))
    found = split.variables(points, beta, effects, *split.data)
    np.testing.assert_allclose(found["beta"], beta, rtol=1e-8, atol=1e-8)
    names = ["variance", *(rv.name for rv in model.model.free_RVs)]
    assert set(found["log_prior"]) == {rv.name for rv in model.model.free_RVs}
    graphs = model.model.replace_rvs_by_values([model.model[name] for name in names])
    prior = model.model.logp(vars=model.model.free_RVs, jacobian=False)
    expected = pytensor.function(model.values, [prior, *graphs], mode=PYTHON)
    for k in range(3):
        gamma = np.linalg.solve(effects.A, beta[k] - effects.origin)
        logp, *values = expected(*oracle.point(points[k], gamma))
        total = sum(part[k] for part in found["log_prior"].values())
        assert total == pytest.approx(float(logp), rel=1e-8)
        for name, value in zip(names, values, strict=True):
            np.testing.assert_allclose(found[name][k], value, rtol=1e-8, atol=1e-10)


@EACH_CASE
def test_many_points_are_the_single_ones(one: Case) -> None:
    split, _ = split_of(one)
    points = around(split, 4, seed=5)
    log_prior, parameters = split.parameters(points, *split.data)
    for k, u in enumerate(points):
        alone, single = split.parameters(u, *split.data)
        assert log_prior[k] == pytest.approx(alone[0], rel=1e-12)
        for many, each in zip(parameters, single, strict=True):
            np.testing.assert_allclose(many[k], each[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["dominance", "bivariate"])
def test_a_flat_prior_of_beta(name: str) -> None:
    one = case(name)
    model = Compiled(load(name)(one.cohort, *one.matrices, beta="flat()"), one)
    split = hyper(model.model)
    effects = split.effects_prior(*split.data)
    assert effects.factor is None
    target = target_of(split, effects)
    oracle = Oracle(one, model, split)
    for u in around(split, 4, seed=6):
        assert relative(target.log_density(u), oracle(u, one.cohort.y, flat=True)) < 1e-8


@pytest.mark.parametrize("one", [c for c in CASES if c.model != "epistasis"], ids=str)
def test_another_phenotype_compiles_nothing(one: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    split, oracle = split_of(one)
    model, old = compiled(one).model, one.cohort.y
    y = old[::-1] * np.linspace(1.0, 2.0, old.size)
    u = around(split, 1, seed=7)[0]
    oracle(u, old)  # its own functions are compiled
    before = target_of(split, split.effects_prior(*split.data)).log_density(u)
    with monkeypatch.context() as patch:
        patch.setattr(pytensor, "function", _no_compilation)
        try:
            set_phenotype(model, y)
            again = hyper(model)
            found = target_of(again, again.effects_prior(*again.data)).log_density(u)
            assert relative(found, oracle(u, y)) < 1e-8
            assert abs(found - before) > 1e-3
        finally:
            set_phenotype(model, old)


def _no_compilation(*_: Any, **__: Any) -> Any:
    raise AssertionError("a function was compiled")


# What the engine cannot serve


def made(change: str) -> pm.Model:
    """A model that the engine serves, but for one change."""
    cohort, kernel = case("dominance").cohort, case("dominance").matrices[0]
    with pm.Model(coords=cohort.coords("additive", "residual")) as model:
        if change == "kind":
            beta = pm.StudentT("beta", nu=3.0, mu=0.0, sigma=1.0, dims="covariate")
        elif change == "nested":
            beta = pm.Normal("beta", 0, pm.HalfNormal("spread", 1), dims="covariate")
        elif change == "hierarchy":
            beta = pm.Normal("beta", pm.Normal("centre", 0, 1), 1, dims="covariate")
        elif change == "mixed":
            parts = [pm.Flat("first"), pm.Normal("second", 0, 1)]
            beta = pm.Deterministic("beta", pt.stack(parts), dims="covariate")
        elif change == "curved":
            gamma = pm.Normal("gamma", 0, 1, dims="covariate")
            beta = pm.Deterministic("beta", gamma**3, dims="covariate")
        else:
            beta = fixed_effects(cohort)
        sd: Any = pm.HalfNormal("sd", 1.0, shape=41 if change == "many" else 2)
        if change == "shared":
            sd = sd * pt.exp(model["beta_std"][0])
        if change == "discrete":
            sd = sd * (1 + pm.Bernoulli("switch", 0.5))
        variance = pm.Deterministic("variance", (sd**2)[-2:], dims="component")
        if change == "potential":
            pm.Potential("penalty", -variance.sum())
        if change == "other":
            pm.Normal("other", 0, 1)
        dense_normal(
            "phenotype", beta, [variance[0]], variance[1], terms=[kernel_term(cohort, kernel)],
            design=cohort.X, observed=cohort.y,
        )  # fmt: skip
    return model


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("kind", "the prior of beta is not normal, so β cannot be integrated out"),
        ("nested", "the prior of spread is not normal"),
        ("hierarchy", "the prior of beta depends on other parameters"),
        ("mixed", "β mixes flat and normal priors"),
        ("curved", "β is not an affine function of its normal parameters"),
        ("many", "41 hyperparameters; importance sampling supports up to 40"),
        ("shared", "beta_std drive both β and the variances"),
        ("discrete", "switch can take whole numbers only"),
        ("potential", "the potential penalty belongs to neither part"),
        ("other", "other belong to neither part"),
    ],
)
def test_what_the_engine_cannot_serve(change: str, reason: str) -> None:
    found = why_not_laplace(made(change))
    assert found is not None
    assert reason in found


def test_a_latent_g_stays_a_parameter() -> None:
    one = case("additive_cholesky")
    assert why_not_laplace(compiled(one).model) == (
        "the phenotype is not a marginal normal distribution: g is a parameter"
    )
    with pytest.raises(ModelError, match="g is a parameter"):
        hyper(compiled(one).model)


def test_the_model_without_a_change_is_served() -> None:
    model = made("")
    assert why_not_laplace(model) is None
    assert hyper(model).names == ("sd[0]", "sd[1]")
