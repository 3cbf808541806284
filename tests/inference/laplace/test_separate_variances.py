"""Variances with priors of their own: log p(y) without a kernel, against brute-force quadrature."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pymc as pm
import pytest
from engine_oracles import Data, effects_prior, gram, log_marginal, simulated
from numpy.typing import NDArray
from scipy import integrate, stats
from two_kernels import kernels

from bayeslmm.checks.sensitivity import prior_sensitivity
from bayeslmm.comparison.zero_tests import weigh_zeros, why_no_zeros
from bayeslmm.errors import ModelError
from bayeslmm.inference.fit import fit
from bayeslmm.inference.laplace.nested import nested_evidence, parts_of
from bayeslmm.inference.laplace.separate_variances import separate_variances
from bayeslmm.modelling import (
    dense_normal,
    fixed_effects,
    kernel_term,
    phenotype_unit,
    spectral_normal,
    spectrum,
)
from bayeslmm.posterior.summary import heritability

pytestmark = pytest.mark.filterwarnings("ignore:small sample", "ignore:GRM rank", "ignore:weakly")

type Floats = NDArray[np.float64]

MINE: dict[str, Any] = {  # σ² in units of var(y | X)
    "inverse gamma": lambda name: pm.InverseGamma(name, 2.0, 1.0),
    "half-t": lambda name: pm.HalfStudentT(name, nu=3, sigma=2.5) ** 2,
    "half-normal": lambda name: pm.HalfNormal(name, sigma=1.5) ** 2,
}
LOG_P: dict[str, Any] = {  # its log density
    "inverse gamma": partial(stats.invgamma.logpdf, a=2.0, scale=1.0),
    "half-t": lambda v: stats.t.logpdf(np.sqrt(v) / 2.5, 3) - np.log(2.5) - 0.5 * np.log(v),
    "half-normal": lambda v: stats.halfnorm.logpdf(np.sqrt(v), scale=1.5) - 0.5 * np.log(4 * v),
}


def own(data: Data, prior: str, *names: str, second: Floats | None = None) -> pm.Model:
    """A model of the kernels `names`, all variances with the prior, each of its own."""
    cohort, mine = data.cohort(), MINE[prior]
    chosen = [K for K in kernels(data, data.K if second is None else second) if K.name in names]
    with pm.Model(coords=cohort.coords(*names, "residual")) as model:
        beta, unit = fixed_effects(cohort), phenotype_unit(cohort)
        parts = [mine(f"v_{name}") * unit**2 for name in (*names, "residual")]
        variance = pm.Deterministic("variance", pm.math.stack(parts), dims="component")
        pm.Deterministic("h2", variance[:-1].sum() / variance.sum())
        if len(names) == 1:
            spectral_normal(
                "phenotype", beta, variance,
                spectrum=spectrum(cohort, chosen[0]), observed=cohort.y,
            )  # fmt: skip
        else:
            dense_normal(
                "phenotype", beta, [variance[k] for k in range(len(names))], variance[-1],
                terms=[kernel_term(cohort, K) for K in chosen],
                design=cohort.X, observed=cohort.y,
            )  # fmt: skip
    return model


def brute_null(data: Data, prior: str) -> float:
    """log ∫ N(y; Xb₀, σ²_e I + XBXᵀ) p(σ²_e) dσ²_e by SciPy, over log σ_e."""

    def log_p(t: float) -> float:
        v = np.exp(2 * t) / data.unit**2
        log_like = log_marginal(data, np.full(1, -800.0), np.array([t]))[0]
        return float(log_like + LOG_P[prior](v) + np.log(2 * v))

    middle = float(np.log(data.unit))
    top = log_p(middle)
    found = integrate.quad(
        lambda t: np.exp(log_p(t) - top), middle - 2, middle + 3, epsabs=0, epsrel=1e-9, limit=200
    )[0]
    return float(np.log(found) + top)


def brute_one_kernel(data: Data, K: Floats, prior: str) -> float:
    """log p(y) with one kernel, by a sum over a grid of log σ_u and log σ_e."""
    b0, B = effects_prior(data)
    t = np.linspace(-5.0, 3.0, 160) + np.log(data.unit)
    step, wanted = t[1] - t[0], []
    v = np.exp(2 * t)
    log_p = LOG_P[prior](v / data.unit**2) + np.log(2 * v / data.unit**2)
    for a, prior_a in zip(v, log_p, strict=True):
        V = a * K + v[:, None, None] * np.eye(data.n) + data.X @ B @ data.X.T
        L = np.linalg.cholesky(V)
        r = np.linalg.solve(
            L, np.broadcast_to((data.y - data.X @ b0)[:, None], (t.size, data.n, 1))
        )
        log_like = -np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1) - 0.5 * (r**2).sum((1, 2))
        wanted.append(log_like + prior_a + log_p)
    total = np.logaddexp.reduce(np.concatenate(wanted)) + 2 * np.log(step)
    return float(total - 0.5 * data.n * np.log(2 * np.pi))


@pytest.mark.parametrize(
    ("prior", "h2"),
    [("inverse gamma", 0.0), ("inverse gamma", 0.6), ("half-t", 0.0), ("half-normal", 0.6)],
)
def test_bayes_factor_of_zero_is_of_the_model_without_g(prior: str, h2: float) -> None:
    """By the exact engine and by Laplace; inverse-gamma priors gave log10 BF = -1262 at h² = 0."""
    data = simulated(60, 2, h2, seed=8)
    model, null, at_zero = own(data, prior, "one"), brute_null(data, prior), {}
    for engine in ("exact", "laplace"):
        tree = fit(model, engine=engine, draws=400, seed=1)
        table = heritability(tree).set_index("quantity")["mean"]
        wanted = (null - table["log_evidence"]) / np.log(10)
        assert table["log10_bf_h2_0"] == pytest.approx(wanted, abs=1e-5), engine
        (test,) = weigh_zeros(tree, model)
        assert test.by_evidence.log10 == pytest.approx(wanted, abs=1e-5)
        # p(τ | h² = 0) is not the prior of σ_e, not even with half-normal sds, h² ⊥ τ
        assert np.isnan(test.by_density.log10)
        assert why_no_zeros(tree, model) == ""
        at_zero[engine] = wanted
    assert at_zero["exact"] == pytest.approx(at_zero["laplace"], abs=0.1)


def test_half_t_sds_have_one_bayes_factor() -> None:
    """The row of half-t sds in the sensitivity table is a model with those priors: 0.801, 0.371."""
    data = simulated(60, 2, 0.3, seed=4)
    shares = prior_sensitivity(fit(data.model(), draws=4000, seed=1)).set_index("prior")
    mine = fit(own(data, "half-t", "one"), draws=400, seed=1)
    table = heritability(mine).set_index("quantity")["mean"]
    reweighted = shares.loc["half-t", "log10_bf_h2_0"]
    assert reweighted == pytest.approx(table["log10_bf_h2_0"], abs=0.01)  # a fitted polynomial
    others = prior_sensitivity(mine)
    others = others[(others["quantity"] == "h2") & ~others["fitted"].astype(bool)]
    assert others["log10_bf_h2_0"].isna().all()  # h² = 0 is no limit of this model


def test_two_kernels_against_quadrature() -> None:
    """Without both, without either, and the test of each."""
    rng = np.random.default_rng(3)
    data = simulated(16, 2, 0.5, seed=2, K=gram(16, 12, rng))
    second = gram(16, 9, rng)
    prior = "inverse gamma"
    model = own(data, prior, "one", "two", second=second)
    parts = parts_of(model)
    assert parts.components == ("one", "two")
    assert parts.genetic == (True, True)
    none = nested_evidence(parts, ["one", "two"])
    assert none.log_evidence == pytest.approx(brute_null(data, prior), abs=1e-5)
    assert none.kept == ()
    for gone, K in (("two", data.K), ("one", second)):
        found = nested_evidence(parts, [gone], ess=800)
        assert 0 < found.mcse < 0.05
        wanted = brute_one_kernel(data, K, prior)
        assert abs(found.log_evidence - wanted) < 4 * found.mcse + 1e-3
    whole = nested_evidence(parts, [], ess=800)
    tree = fit(model, draws=400, seed=1)
    assert whole.log_evidence == pytest.approx(
        tree["sample_stats"].attrs["log_evidence"], abs=4 * whole.mcse + 0.1
    )
    h2, *each = weigh_zeros(tree, model)
    assert h2.of_h2
    assert [test.components for test in each] == [("one",), ("two",)]
    table = heritability(tree).set_index("quantity")["mean"]
    assert table["log10_bf_h2_0"] == pytest.approx(h2.by_evidence.log10, abs=1e-9)


def test_models_whose_variances_share_a_parameter_are_refused() -> None:
    data = simulated(30, 1, 0.3, seed=1)
    with pytest.raises(ModelError, match="several variances depend on h2, total_sd"):
        separate_variances(data.model())
    cohort, K = data.cohort(), kernels(data, data.K)[0]
    with pm.Model(coords=cohort.coords("one", "residual")) as model:
        beta, scale = fixed_effects(cohort), pm.HalfNormal("scale")
        parts = [pm.HalfNormal(name, sigma=scale) for name in ("u", "e")]
        variance = pm.Deterministic("variance", pm.math.stack(parts), dims="component")
        pm.Deterministic("h2", variance[0] / variance.sum())
        spectral_normal(
            "phenotype", beta, variance, spectrum=spectrum(cohort, K), observed=cohort.y
        )
    with pytest.raises(ModelError, match=r"the prior of [ue] depends on scale"):
        separate_variances(model)


def test_ratio_of_sds_has_no_bayes_factor_of_zero() -> None:
    """σ_e = λ σ_u: without g the model says nothing about σ_e."""
    data = simulated(40, 1, 0.3, seed=1)
    cohort, K = data.cohort(), kernels(data, data.K)[0]
    with pm.Model(coords=cohort.coords("one", "residual")) as model:
        beta, unit = fixed_effects(cohort), phenotype_unit(cohort)
        u, ratio = pm.HalfNormal("u", sigma=2) * unit, pm.LogNormal("ratio", 0, 1)
        variance = pm.Deterministic(
            "variance", pm.math.stack([u**2, (ratio * u) ** 2]), dims="component"
        )
        pm.Deterministic("h2", variance[0] / variance.sum())
        spectral_normal(
            "phenotype", beta, variance, spectrum=spectrum(cohort, K), observed=cohort.y
        )
    tree = fit(model, engine="exact", draws=100, seed=1)
    table = heritability(tree).set_index("quantity")["mean"]
    assert np.isnan(table["log10_bf_h2_0"])
    assert np.isfinite(table["log_evidence"])
    assert "several variances depend on u" in why_no_zeros(tree, model)
