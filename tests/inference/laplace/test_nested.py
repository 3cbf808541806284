"""Evidence without some kernels: against the exact engine, brute quadrature, and the grid."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from engine_oracles import effects_prior, gram, simulated
from numpy.typing import NDArray
from scipy import integrate, stats
from two_kernels import TRUTH, TRUTHS, kernels, two, two_kernels

from bayeslmm import models
from bayeslmm.comparison.evidence import Evidence
from bayeslmm.comparison.zero_tests import _evidence_ratio
from bayeslmm.errors import InputError, ModelError
from bayeslmm.inference.fit import fit
from bayeslmm.inference.laplace.importance import Weighted, importance_sample
from bayeslmm.inference.laplace.nested import nested_evidence
from bayeslmm.inference.laplace.share_likelihood import (
    ShareLikelihood,
    log_prior_of_ratios,
    share_likelihood,
)

pytestmark = pytest.mark.filterwarnings("ignore:GRM rank", "ignore:small sample")

type Floats = NDArray[np.float64]


@cache
def likelihood(truth: tuple[float, float] = TRUTH) -> ShareLikelihood:
    return share_likelihood(two(truth))


@pytest.mark.parametrize("truth", [TRUTHS["one at zero"], TRUTHS["both near zero"]])
def test_one_kernel_left_is_the_exact_engines_model(truth: tuple[float, float]) -> None:
    """The line's trapezoid rule is right to 10⁻⁵ although it stops e⁻¹⁸ below the maximum."""
    data, second = two_kernels(truth)
    shares = likelihood(truth)
    for kernel, gone in zip(kernels(data, second), ("two", "one"), strict=True):
        model = models.load("additive")(data.cohort(), kernel)
        attrs = fit(model, draws=16)["quadrature"].attrs
        found = nested_evidence(shares, [gone])
        assert found.log_evidence == pytest.approx(attrs["log_evidence"], abs=1e-5)
        assert found.mcse < 1e-4
        zero = nested_evidence(shares, ["one", "two"])
        assert zero.log_evidence == pytest.approx(attrs["log_evidence_h2_0"], abs=1e-5)
        assert zero.kept == ()


def test_all_kernels_give_the_models_own_evidence() -> None:
    """τ integrated out beforehand, or sampled with the shares: two importance samples."""
    tree = fit(two(), draws=2000)
    stats_ = tree["sample_stats"].attrs
    found = nested_evidence(likelihood(), [])
    error = np.hypot(found.mcse, stats_["log_evidence_mcse"])
    assert abs(found.log_evidence - stats_["log_evidence"]) < 4 * error
    assert 0 < error < 0.1


def test_density_against_brute_quadrature() -> None:
    """p(y | shares) by SciPy: a sum over τ of a dense normal density of y, β in its covariance."""
    data = simulated(8, 2, 0.5, seed=5, K=gram(8, 5, np.random.default_rng(1)))
    second = gram(8, 4, np.random.default_rng(2))
    model = models.load("partitioned")(data.cohort(), *kernels(data, second))
    shares = share_likelihood(model)
    b0, B = effects_prior(data)
    for s in ([0.3, 0.2, 0.5], [0.0, 0.4, 0.6], [0.0, 0.0, 1.0], [0.5, 0.49, 0.01]):
        H = s[0] * data.K + s[1] * second + s[2] * np.eye(8)

        def density(log_tau: float, H: Floats = H) -> float:
            tau = np.exp(log_tau)
            V = tau**2 * H + data.X @ B @ data.X.T
            log_p = stats.multivariate_normal.logpdf(data.y, data.X @ b0, V)
            scale = 2.5 * data.unit
            log_prior = stats.t.logpdf(tau / scale, 3) + np.log(2 / scale) + log_tau
            return float(np.exp(log_p + log_prior))

        middle = np.log(data.unit)
        value, _ = integrate.quad(
            density, middle - 6, middle + 9, points=[middle], limit=200, epsabs=0, epsrel=1e-9
        )
        assert shares.log_density(np.array(s)) == pytest.approx(np.log(value), abs=1e-6)


@pytest.mark.parametrize(("explained", "alpha"), [((1.0, 1.0), 1.0), ((2.0, 3.0), 1.5)])
def test_prior_of_log_ratios_integrates_to_one(
    explained: tuple[float, float], alpha: float
) -> None:
    u = np.linspace(-30, 30, 601)
    one = np.exp(log_prior_of_ratios(u[:, None], explained, alpha))
    assert one.sum() * (u[1] - u[0]) == pytest.approx(1, abs=1e-6)
    a, b = np.meshgrid(u, u)
    both = np.exp(log_prior_of_ratios(np.column_stack([a.ravel(), b.ravel()]), explained, alpha))
    assert both.sum() * (u[1] - u[0]) ** 2 == pytest.approx(1, abs=1e-4)


def test_flat_effects_share_the_constant_of_the_exact_engine() -> None:
    data, second = two_kernels(TRUTH)
    first, other = kernels(data, second)
    model = models.load("partitioned")(data.cohort(), first, other, beta="flat()")
    shares = share_likelihood(model)
    assert shares.flat_effects
    exact = fit(models.load("additive")(data.cohort(), other, beta="flat()"), draws=16)
    found = nested_evidence(shares, ["one"])
    assert found.log_evidence == pytest.approx(exact["quadrature"].attrs["log_evidence"], abs=1e-5)


def test_what_cannot_be_served() -> None:
    with pytest.raises(InputError, match="no component three"):
        nested_evidence(likelihood(), ["three"])
    data = simulated(30, 2, 0.5, seed=6)
    with pytest.raises(ModelError, match="not on shares of one total"):
        share_likelihood(data.model())


def test_points_beyond_what_float64_holds_have_no_density() -> None:
    shares = likelihood()
    target = shares.reduced([0, 1])
    inside = np.array([-1.0, 0.5])
    expected = float(shares.log_prior(inside[None])[0])
    e = np.exp(np.append(inside, 0.0))
    expected += shares.log_density(e / e.sum())
    assert target.log_density(inside) == pytest.approx(expected, abs=1e-10)
    assert target.log_density(np.array([-1.0, 400.0])) == -np.inf


def test_a_smaller_model_that_importance_sampling_fails_on_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def failing(*arguments: Any, **options: Any) -> Weighted:
        return replace(importance_sample(*arguments, **options), ok=False, pareto_k=0.93)

    shares = likelihood()
    monkeypatch.setattr("bayeslmm.inference.laplace.nested.importance_sample", failing)
    with pytest.raises(ModelError, match=r"the model with one, two failed \(k̂ = 0\.93, it must"):
        nested_evidence(shares, [])
    whole = Evidence(-100.0, 0.01, "importance", 0.3)
    found = _evidence_ratio(shares, (), whole, seed=1, workers=1)
    assert np.isnan(found.log10)
