"""Prior of the shares of several components: SciPy's density, its integral, draws, coordinates."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from pytensor.compile.mode import Mode
from scipy import stats
from scipy.special import log_softmax, logsumexp

from bayeslmm.priors.shares import LogRatio, shares

PYTHON = Mode(linker="py", optimizer="fast_compile")

PRIORS = [((1.0, 1.0), 1.0, 1), ((2.0, 3.0), 1.0, 1), ((1.0, 1.0), 1.0, 2), ((1.0, 1.0), 1.0, 19),
          ((2.0, 0.5), 1.0, 3), ((1.0, 1.0), 0.5, 2), ((0.7, 4.0), 2.5, 4)]  # fmt: skip
EACH_PRIOR = pytest.mark.parametrize(("explained", "alpha", "count"), PRIORS)


@cache
def model(explained: tuple[float, float], alpha: float, count: int) -> tuple[pm.Model, Any]:
    """The model, and ``u → (log p with the Jacobian, its gradient, shares)``."""
    coords = {"component": [*(f"k{k}" for k in range(count)), "residual"]}
    with pm.Model(coords=coords) as built:
        share = shares("share", explained, alpha, count)
    (value,) = built.value_vars
    outputs = [built.logp(), pt.grad(built.logp(), value), *built.replace_rvs_by_values([share])]
    return built, pytensor.function([value], outputs, mode=PYTHON)


def scipys(s: Any, explained: tuple[float, float], alpha: float) -> float:
    """Beta(e) × Dirichlet(w) × |∂(e, w)/∂s|, e = 1 - s_last, w = s/e."""
    K = len(s) - 1
    e = s[:-1].sum()
    out = stats.beta(*explained).logpdf(e) - (K - 1) * np.log(e)
    return float(out + (stats.dirichlet(np.full(K, alpha)).logpdf(s[:-1] / e) if K > 1 else 0.0))


@EACH_PRIOR
def test_the_density_is_scipys(explained: tuple[float, float], alpha: float, count: int) -> None:
    """At random shares and with one of them at 1e-8; the Jacobian of the log-ratios is Π s."""
    _, function = model(explained, alpha, count)
    rng = np.random.default_rng(count)
    for k in range(20):
        u = rng.standard_normal(count)
        if k < 5:
            u[k % count] = np.log(1e-8)
        s = np.exp(log_softmax([*u, 0.0]))
        logp, _, found = function(u)
        np.testing.assert_allclose(found, s, rtol=1e-12)
        expected = scipys(s, explained, alpha) + np.log(s).sum()
        assert logp == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("explained", "alpha", "count"), [p for p in PRIORS if p[2] == 2])
def test_the_density_integrates_to_one_and_its_marginals_are_known(
    explained: tuple[float, float], alpha: float, count: int
) -> None:
    """On a grid of (u_1, u_2) by the trapezoidal rule, which is exact for such smooth tails: 1e-6;
    P(e < q) of the explained share is that of its Beta, to the width of the grid.
    """
    with pm.Model(coords={"component": ["a", "b", "residual"]}) as built:
        shares("share", explained, alpha, count)
    points = pt.dmatrix()
    from pytensor.graph.replace import vectorize_graph

    (value,) = built.value_vars
    outputs = vectorize_graph(built.logp(), {value: points})
    reach = np.linspace(-45, 45, 901)
    u = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    density = np.exp(pytensor.function([points], outputs, mode=PYTHON)(u)) * 0.1**2
    assert density.sum() == pytest.approx(1.0, abs=1e-6)
    log_e = logsumexp(u, axis=1) - np.logaddexp(0.0, logsumexp(u, axis=1))
    mean = float(density @ np.exp(log_e))
    square = float(density @ np.exp(2 * log_e))
    beta = stats.beta(*explained)
    assert mean == pytest.approx(beta.mean(), abs=1e-6)
    assert square - mean**2 == pytest.approx(beta.var(), abs=1e-6)
    w = np.exp(log_softmax(u, axis=1)[:, 0])
    part = stats.beta(alpha, alpha)
    assert float(density @ w) == pytest.approx(0.5, abs=1e-6)
    assert float(density @ w**2) - 0.25 == pytest.approx(part.var(), abs=1e-6)


@EACH_PRIOR
def test_draws_are_those_of_the_density(
    explained: tuple[float, float], alpha: float, count: int
) -> None:
    """The explained share is Beta(a, b), a part Beta(α, (K - 1) α), the two independent.

    Kolmogorov-Smirnov on 4000 draws, seeds fixed, p above 1e-3 in 14 comparisons.
    """
    built, _ = model(explained, alpha, count)
    draws = pm.draw(built["share"], draws=4000, random_seed=count, mode=PYTHON)
    assert draws.shape == (4000, count + 1)
    np.testing.assert_allclose(draws.sum(axis=1), 1.0, rtol=1e-12)
    e = 1 - draws[:, -1]
    assert stats.kstest(e, stats.beta(*explained).cdf).pvalue > 1e-3
    if count > 1:
        w = draws[:, 0] / e
        assert stats.kstest(w, stats.beta(alpha, (count - 1) * alpha).cdf).pvalue > 1e-3
        assert abs(stats.spearmanr(w, e).statistic) < 4.5 / np.sqrt(4000)


def test_one_kernel_has_the_prior_of_h2() -> None:
    """K = 1: the log-ratio is the logit of h², and the density that of Beta(2, 3)."""
    _, function = model((2.0, 3.0), 1.0, 1)
    with pm.Model() as other:
        pm.Beta("h2", np.float64(2), np.float64(3))
    beta = pytensor.function(other.value_vars, other.logp(), mode=PYTHON)
    for u in (-30.0, -2.0, 0.0, 1.3, 9.0):  # beyond, PyMC takes 1 - h² from a rounded h²
        assert function([u])[0] == pytest.approx(float(beta(u)), rel=1e-9)


@EACH_PRIOR
@pytest.mark.parametrize("end", [-800.0, -40.0, 40.0, 800.0])
def test_no_coordinate_is_too_far_away(
    end: float, explained: tuple[float, float], alpha: float, count: int
) -> None:
    """Density, gradient and shares have no NaN where shares underflow; the density is no higher."""
    _, function = model(explained, alpha, count)
    centre = function(np.zeros(count))[0]
    for k in range(count + 1):
        u = np.zeros(count)
        u[slice(None) if k == count else k] = end
        logp, slope, s = function(u)
        assert not np.isnan(logp)
        assert np.isfinite(slope).all()
        assert (s >= 0).all()
        assert s.sum() == pytest.approx(1.0, rel=1e-12)
        assert logp < centre


def test_the_tails_fall_so_that_the_prior_is_proper() -> None:
    """Far out log p goes on falling, also where a share is zero in float64."""
    for prior in PRIORS:
        _, function = model(*prior)
        for sign in (-1, 1):
            far = [function(sign * t * np.ones(prior[2]))[0] for t in (30, 100, 300, 800, 2000)]
            assert (np.diff(far) < 0).all()


def transform_functions() -> tuple[Any, Any, Any]:
    u, s = pt.dvector(), pt.dvector()
    t = LogRatio()
    outputs = [t.backward(u), t.log_jac_det(u)]
    back = pytensor.function([u], outputs, mode=PYTHON)
    return pytensor.function([s], t.forward(s), mode=PYTHON), back, t


def test_the_log_ratios_and_their_jacobian() -> None:
    """There and back; log |∂s/∂u| against a numerical derivative, 1e-7."""
    forward, back, transform = transform_functions()
    rng = np.random.default_rng(1)
    for size in (1, 2, 5):
        u = 2 * rng.standard_normal(size)
        s, log_jacobian = back(u)
        np.testing.assert_allclose(forward(s), u, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(s, np.exp(log_softmax([*u, 0.0])), rtol=1e-12)
        step = 1e-5 * np.eye(size)
        slopes = np.stack([back(u + e)[0] - back(u - e)[0] for e in step])[:, :-1] / 2e-5
        assert log_jacobian == pytest.approx(np.linalg.slogdet(slopes)[1], abs=1e-7)
    assert (transform.name, transform.ndim_supp) == ("logratio", 1)


def test_many_points_at_once() -> None:
    """The last axis is that of the shares, whatever stands before it."""
    u = pt.dtensor3()
    t = LogRatio()
    outputs = [t.backward(u), t.log_jac_det(u), t.forward(t.backward(u))]
    points = np.random.default_rng(2).standard_normal((4, 3, 2))
    s, log_jacobian, same = pytensor.function([u], outputs, mode=PYTHON)(points)
    assert (s.shape, log_jacobian.shape) == ((4, 3, 3), (4, 3))
    np.testing.assert_allclose(log_jacobian, np.log(s).sum(axis=-1), rtol=1e-12)
    np.testing.assert_allclose(same, points, rtol=1e-10, atol=1e-13)


def test_what_the_model_knows_of_them() -> None:
    built, _ = model((1.0, 1.0), 1.0, 2)
    assert built.named_vars_to_dims["share"] == ("component",)
    assert [value.name for value in built.value_vars] == ["share_logratio__"]
    start = built.initial_point(1)["share_logratio__"]
    assert start.shape == (2,)
    assert np.isfinite(start).all()
